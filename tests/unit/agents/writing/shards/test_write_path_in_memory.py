"""What shells promise that no part shows alone: order, headers, snapshots and caches, from commands to records."""

from __future__ import annotations

import asyncio

import orjson

from annals import On, command, event_from
from annals.agents.writing.shards.shard import Phase
from annals.schemas.kinds.person import RegisterPerson
from annals.schemas.snapshot import decode_snapshot
from annals.testing import MemoryAnnals, MemoryStore
from lamp import BulbChanged, ChangeBulb, HangLamp, Lamp, SwitchOn, decide, lamp, lamp_machine
from shard_scene import PERSON, TOPIC, Scene, patience, running  # noqa: F401 - `patience` is for all tests here


def twice(asked, state: Lamp, at):
    """Decide as a lamp does, but change the bulb in two events."""
    if isinstance(asked, ChangeBulb):
        return [BulbChanged(bulb="between"), event_from(asked, BulbChanged)]
    return decide(asked, state, at)


LAMP = lamp(decide=twice, machine=lamp_machine(change=On(ChangeBulb, (BulbChanged,))))


def hang(aggregate_id: str = "l-1"):
    return command("lamp", aggregate_id, HangLamp(bulb="e27"))


async def test_events_stand_in_the_order_of_their_commands_also_where_one_causes_several() -> None:
    async with MemoryAnnals(LAMP) as annals:
        change = command("lamp", "l-1", ChangeBulb(bulb="e14"))
        await asyncio.gather(annals.send(hang("l-0")), annals.send(hang()), annals.send(change))
        assert annals.telemetry.batches == 1
        assert [event.type for event in annals.events("lamp", "l-1")] == ["LampHung", "BulbChanged", "BulbChanged"]
        await annals.restart(keeps_stores=False)
        assert (await annals.send(command("lamp", "l-1", SwitchOn()))).version == 4
        assert not annals.telemetry.folded_records["void"]


async def test_aggregates_of_two_kinds_may_have_one_id() -> None:
    async with MemoryAnnals(LAMP, PERSON) as annals:
        for number in range(2):
            assert (await annals.send(hang("same"))).status == "accepted"
            person = command("person", "same", RegisterPerson(name="Ada"))
            assert (await annals.send(person)).version == 1, number
        assert (await annals.send(command("lamp", "same", SwitchOn()))).version == 2


async def test_an_aggregate_without_events_does_not_exist() -> None:
    async with MemoryAnnals(LAMP) as annals:
        outcome = await annals.send(hang().expecting("exists"))
        assert outcome.error is not None
        assert (outcome.error.code, outcome.error.details) == ("version_conflict", {"expected": "exists", "actual": 0})
        await annals.send(hang())
        assert (await annals.send(command("lamp", "l-1", SwitchOn()).expecting("exists"))).status == "accepted"


async def test_a_snapshot_is_written_when_its_version_is_passed_not_only_when_it_is_met() -> None:
    async with MemoryAnnals(LAMP, snapshot_every=2) as annals:
        await annals.send(hang())
        await annals.send(command("lamp", "l-1", ChangeBulb(bulb="e14")))  # from version 1 to 3
        (record,) = annals.cluster.logs["snapshots.lamp", 0].committed(0, 10)[0]
        assert decode_snapshot(record.value).version == 3


async def test_an_outcome_says_where_the_journal_will_end_and_what_its_command_was_forwarded_from() -> None:
    scene = Scene()
    value = orjson.dumps({"id": "c", "type": "RegisterPerson", "aggregate_id": "p-1", "data": {"name": "Ada"}})
    scene.log.write((TOPIC, 0), b"p-1", value, [("origin-partition", b"7"), ("origin-offset", b"41")])
    scene.command("Bea", type_="RenamePerson")
    async with running(scene):
        assert await scene.answered(2) == ["accepted", "accepted"]
        assert scene.log.end == 3  # two events and their marker
    forwarded, plain = (dict(record.headers) for record in scene.log.records(("outcomes.person", 0)))
    assert (forwarded["origin-partition"], forwarded["origin-offset"]) == (b"7", b"41")
    assert (forwarded["journal-offset"], plain["journal-offset"]) == (b"2", b"3")
    assert "origin-partition" not in plain


async def test_the_deployments_that_a_command_came_through_are_carried_to_its_events_alone() -> None:
    scene = Scene()
    said = {"id": "c", "type": "RegisterPerson", "aggregate_id": "p-1", "data": {"name": "Ada"}}
    trace = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    headers = [("traceparent", trace), ("annals-via", b"hr,payroll")]
    scene.log.write((TOPIC, 0), b"p-1", orjson.dumps(said), headers)
    wrong = said | {"id": "d", "aggregate_id": "p-2"}
    scene.log.write((TOPIC, 0), b"p-2", orjson.dumps(wrong), [("annals-via", b"HR")])
    async with running(scene):
        assert await scene.answered(2) == ["accepted", "accepted"]
    event, without = (dict(record.headers) for record in scene.log.records(("events.person", 0)))
    assert (event["ce_annalsvia"], event["traceparent"]) == (b"hr,payroll", trace)
    assert "ce_annalsvia" not in without
    for record in scene.log.records(("outcomes.person", 0)):
        assert not {"annals-via", "ce_annalsvia"} & dict(record.headers).keys()


async def test_after_a_failure_that_nobody_knows_the_store_is_closed_and_opened_again(monkeypatch) -> None:
    scene = Scene()
    apply, failures = MemoryStore.apply, [OSError("no space left on device")]

    def failing_once(store, changes):
        if failures:
            raise failures.pop()
        apply(store, changes)

    monkeypatch.setattr(MemoryStore, "apply", failing_once)
    scene.command("Ada")
    async with running(scene):
        await scene.answered(1)
        await scene.until_it(lambda: not failures)
        await scene.until(Phase.OPEN)
        assert scene.stores.closed == 1
