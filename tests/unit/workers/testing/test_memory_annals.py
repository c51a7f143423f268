"""A worker in memory: commands come back as outcomes, events are in the journal, and a restart changes nothing."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

from annals import NoAnswerError, NotSendableError, command
from annals.testing import MemoryAnnals, MemoryClock, ShardStoppedError
from lamp import ChangeBulb, HangLamp, Lamp, SwitchOn, decide, lamp

LAMP = lamp()


def hang(name: str = "l-1", bulb: str = "e27"):
    return command("lamp", name, HangLamp(bulb=bulb))


async def test_a_command_is_decided_and_its_event_stands_in_the_journal() -> None:
    clock = MemoryClock()
    async with MemoryAnnals(LAMP, clock=clock) as annals:
        outcome = await annals.send(hang().by("ada"))
        assert (outcome.status, outcome.version, outcome.command_id) == ("accepted", 1, "command-1")
        clock.advance(90)
        assert (await annals.send(command("lamp", "l-1", SwitchOn()))).version == 2
        hung, on = annals.events("lamp", "l-1")
    assert (hung.type, hung.data, hung.actor, hung.recorded_at) == (
        "LampHung",
        {"bulb": "e27"},
        "ada",
        "2026-01-01T12:00:00.000000Z",
    )
    assert (on.type, on.previous, on.recorded_at) == ("SwitchedOn", hung.cid, "2026-01-01T12:01:30.000000Z")


async def test_what_a_worker_refuses_is_refused_and_an_id_sent_twice_is_a_duplicate() -> None:
    async with MemoryAnnals(LAMP) as annals:
        first = await annals.send(hang().with_id("once"))
        again = await annals.send(hang(bulb="e14").with_id("once"))
        assert (again.status, again.events) == ("duplicate", first.events)
        await annals.send(command("lamp", "l-1", SwitchOn()))
        refused = await annals.send(command("lamp", "l-1", ChangeBulb(bulb="e14")))
        assert refused.error is not None
        assert (refused.error.code, refused.error.details) == ("rule_violated", {"rule": "too_hot"})
        unknown = await annals.send_members("lamp", {"type": "Dim", "aggregate_id": "l-1", "data": {}})
        assert unknown.error is not None
        assert unknown.error.code == "unknown_command"
        with pytest.raises(NotSendableError):
            await annals.send_members("lamp", {"type": "SwitchOn"})
        assert [event.type for event in annals.events("lamp", "l-1")] == ["LampHung", "SwitchedOn"]
        assert annals.telemetry.statuses == {"accepted": 2, "duplicate": 1, "rejected": 2}


async def test_many_commands_at_once_are_each_answered_over_several_partitions() -> None:
    async with MemoryAnnals(LAMP, partitions=3) as annals:
        outcomes = await asyncio.gather(*(annals.send(hang(f"l-{number}")) for number in range(100)))
        assert [outcome.aggregate_id for outcome in outcomes] == [f"l-{number}" for number in range(100)]
        assert all(len(annals.events("lamp", f"l-{number}")) == 1 for number in range(100))
        ends = [annals.cluster.logs["events.lamp", number].end for number in range(3)]
        assert all(ends)


@pytest.mark.parametrize("keeps_stores", [True, False])
async def test_through_a_restart_nothing_is_lost_or_decided_again(*, keeps_stores: bool) -> None:
    async with MemoryAnnals(LAMP) as annals:
        await annals.send(hang().with_id("once"))
        await annals.restart(keeps_stores=keeps_stores)
        assert (await annals.send(hang().with_id("once"))).status == "duplicate"
        assert (await annals.send(command("lamp", "l-1", ChangeBulb(bulb="e14")))).version == 2
        assert [event.type for event in annals.events("lamp", "l-1")] == ["LampHung", "BulbChanged"]


async def test_a_defect_of_a_decider_is_answered_and_a_shard_that_stops_says_why() -> None:
    def broken(asked, state: Lamp, at):
        if isinstance(asked, SwitchOn):
            raise ZeroDivisionError
        return decide(asked, state, at)

    async with MemoryAnnals(lamp(decide=broken)) as annals:
        await annals.send(hang())
        for _ in range(4):
            outcome = await annals.send(command("lamp", "l-1", SwitchOn()))
            assert outcome.error is not None
            assert outcome.error.code == "internal_error"
        with pytest.raises(ShardStoppedError, match="failed with ZeroDivisionError"):
            await annals.send(command("lamp", "l-1", SwitchOn()))


async def test_a_command_that_nobody_answers_is_waited_for_no_longer_than_said() -> None:
    async with MemoryAnnals(LAMP, timeout_s=0) as annals:
        with pytest.raises((NoAnswerError, ShardStoppedError)):
            await annals.send(hang())


async def test_without_deciders_it_has_all_that_are_registered() -> None:
    async with MemoryAnnals() as annals:
        outcome = await annals.send_members(
            "person", {"type": "RegisterPerson", "aggregate_id": "p-1", "data": {"name": "Ada"}}
        )
        assert outcome.status == "accepted"


async def test_commands_are_sent_while_it_is_open() -> None:
    with pytest.raises(RuntimeError, match="async with"):
        await MemoryAnnals(LAMP).send(hang())


def test_the_how_to_works_as_it_is_written() -> None:
    page = (Path(__file__).parents[4] / "docs/how-to/test-without-kafka.md").read_text()
    (example,) = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(example, "test-without-kafka.md", "exec"), names)
    names["test_a_person_is_renamed"]()
