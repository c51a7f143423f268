"""A re-keyed reaction on the broker: aggregates of all partitions are one process, while those who react are killed."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from aiokafka.structs import TopicPartition

from annals.workers.client.history import history
from annals.workers.kafka.connections import connect, partitions_of
from annals.workers.kafka.read.ranges import bounds, read_range
from annals.workers.settings import client_options
from grouped import SOON_MISSED, Group, GroupWorker, group
from processes import annals, own_environment

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
    site = tmp_path / "site"
    (site / "annals_gather-1.dist-info").mkdir(parents=True)
    (site / "gather.py").write_text(REACTION)
    (site / "annals_gather-1.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: annals-gather\nVersion: 1\n")
    (site / "annals_gather-1.dist-info/entry_points.txt").write_text("[annals.reactions]\ngather = gather:GATHER\n")
    monkeypatch.setenv("PYTHONPATH", str(site))
    with group(bootstrap, topic_prefix, tmp_path, partitions=3) as made:
        yield made


def start(crew: Group, name: str) -> GroupWorker:
    return crew.worker(name, SOON_MISSED, ROLES="write,read", API_PORT="0").until_ready()


def run(crew: Group, *arguments: str, said: str = "") -> str:
    environment = own_environment(
        ANNALS_BOOTSTRAP_SERVERS=crew.settings.bootstrap_servers, ANNALS_TOPIC_PREFIX=crew.settings.topic_prefix
    )
    done = annals(*arguments, environment=environment, said=said, within_s=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def send(crew: Group, numbers: range) -> None:
    """Register people, each of one correlation and in a partition of its own."""
    lines = [
        json.dumps(
            {
                "kind": "person",
                "aggregate_id": f"p-{correlation}-{number}",
                "type": "RegisterPerson",
                "correlation_id": correlation,
                "data": {"name": "Ada"},
            }
        )
        for number in numbers
        for correlation in CORRELATIONS
    ]
    run(crew, "send", said="".join(f"{line}\n" for line in lines))


def versions(crew: Group, people: list[str]) -> dict[str, int]:
    async def read() -> dict[str, int]:
        settings = crew.settings
        return {each: len([0 async for _ in history(settings, "person", each)]) for each in people}

    return asyncio.run(read())


def commands(crew: Group) -> list[dict[str, Any]]:
    """All committed commands."""

    async def read() -> list[dict[str, Any]]:
        name = f"{crew.settings.topic_prefix}commands.person"
        client = await connect(client_options(crew.settings), [name])
        try:
            wheres = [TopicPartition(name, partition) for partition in range(partitions_of(client, name))]
            found: list[dict[str, Any]] = []
            for where, (first, end) in (await bounds(client, wheres)).items():
                async for records in read_range(client, where, first, end):
                    found += [msgspec.json.decode(value or b"") for _, _, value, _ in records]
            return found
        finally:
            await client.close()

    return asyncio.run(read())


@pytest.mark.untraced
def test_each_event_is_in_one_process_once_whatever_is_killed(crew: Group) -> None:
    one = start(crew, "one")
    run(crew, "reactions", "resume", "gather")
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
    sent = [each for each in commands(crew) if not each["aggregate_id"].startswith("p-")]
    assert Counter(each["aggregate_id"] for each in sent) == Counter([*seen, *timers])
    assert set(Counter(each["id"] for each in sent).values()) == {1}

    def has_reached() -> bool:
        return bool(json.loads(run(crew, "reactions", "status", "gather", "--json"))["lag"] == {"events": 0})

    two.until(has_reached, "nothing is left to copy, nor in the stream")
    status = json.loads(run(crew, "reactions", "status", "gather", "--json"))
    assert {topic: len(offsets) for topic, offsets in status["positions"].items()} == {"person": 3, "rekeyed.gather": 3}
    assert status["timers"] == {"pending": 0, "next_due": None}
    assert two.end() == 0
