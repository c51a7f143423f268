"""A re-keyed reaction on the broker: aggregates of all partitions are one process, while those who react are killed."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from annals.workers.client.history import history
from distributions import installed
from grouped import SOON_MISSED, Group, GroupWorker, group

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.broker

EACH = 6
CORRELATIONS = ("c-1", "c-2", "c-3", "c-4")
REACTION = """
from msgspec import Struct

from annals.agents.reactions.reaction import Reacted, Reaction, TimerFired, after
from annals.schemas.commands import command
from annals.schemas.kinds import person as say


class Seen(Struct, frozen=True):
    people: int = 0


def react(state, event):
    if isinstance(event.message, TimerFired):
        told = say.RegisterPerson(name=f"{state.people} people")
        return Reacted(state, [command("person", f"timer-{event.aggregate_id}", told)])
    if not event.aggregate_id.startswith("p-"):
        return Reacted(state)
    seen = Seen(state.people + 1)
    told = command("person", f"seen-{event.correlation_id}-{seen.people}", say.RegisterPerson(name="Ada"))
    return Reacted(seen, [told], [after("late", 1)] if seen.people == 1 else [])


GATHER = Reaction(
    "gather", 1, "person", frozenset({say.PersonRegistered}), Seen, react, key="correlation_id", rekeyed=True
)
"""


@pytest.fixture
def crew(bootstrap: str, topic_prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Group]:
    """A group whose processes have a distribution with the reaction."""
    entry_point = "[annals.reactions]\ngather = gather:GATHER\n"
    monkeypatch.setenv("PYTHONPATH", installed(tmp_path / "site", "annals-gather", entry_point, gather=REACTION))
    with group(bootstrap, topic_prefix, tmp_path, partitions=3) as made:
        yield made


def start(crew: Group, name: str) -> GroupWorker:
    return crew.worker(name, SOON_MISSED, ROLES="write,read", API_PORT="0").until_ready()


def send(crew: Group, numbers: range) -> None:
    """Register people, each of one correlation and in a partition of its own."""
    crew.send(
        {
            "kind": "person",
            "aggregate_id": f"p-{correlation}-{number}",
            "type": "RegisterPerson",
            "correlation_id": correlation,
            "data": {"name": "Ada"},
        }
        for number in numbers
        for correlation in CORRELATIONS
    )


def versions(crew: Group, people: list[str]) -> dict[str, int]:
    async def read() -> dict[str, int]:
        settings = crew.settings
        return {each: len([0 async for _ in history(settings, "person", each)]) for each in people}

    return asyncio.run(read())


@pytest.mark.untraced
def test_each_event_is_in_one_process_once_whatever_is_killed(crew: Group) -> None:
    one = start(crew, "one")
    crew.said("reactions", "resume", "gather")
    send(crew, range(2))
    one.kill_reader()
    two = start(crew, "two")  # partitions of journal and stream move
    send(crew, range(2, 4))
    two.kill_reader()
    send(crew, range(4, 5))
    one.kill()
    send(crew, range(5, EACH))

    seen = [f"seen-{each}-{number}" for each in CORRELATIONS for number in range(1, EACH + 1)]
    timers = [f"timer-{each}" for each in CORRELATIONS]
    two.until(lambda: set(versions(crew, [*seen, *timers]).values()) == {1}, "every event and timer was reacted to")
    commands = [json.loads(record.value()) for record in crew.records("commands.person")]
    sent = [each for each in commands if not each["aggregate_id"].startswith("p-")]
    assert Counter(each["aggregate_id"] for each in sent) == Counter([*seen, *timers])
    assert set(Counter(each["id"] for each in sent).values()) == {1}

    def has_reached() -> bool:
        return bool(json.loads(crew.said("reactions", "status", "gather", "--json"))["lag"] == {"events": 0})

    two.until(has_reached, "nothing is left to copy, nor in the stream")
    status = json.loads(crew.said("reactions", "status", "gather", "--json"))
    assert {topic: len(offsets) for topic, offsets in status["positions"].items()} == {"person": 3, "rekeyed.gather": 3}
    assert status["timers"] == {"pending": 0, "next_due": None}
    assert two.end() == 0
