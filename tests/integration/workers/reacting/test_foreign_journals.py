"""Two deployments in one cluster that react to one another's events, while those who react are killed."""

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
from annals.workers.tools.broker import Broker
from distributions import installed
from grouped import Group, GroupWorker, group

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.broker

PEOPLE = 40
REACTIONS = """
from msgspec import Struct

from annals.agents.reactions.reaction import Reacted, Reaction
from annals.schemas.commands import command
from annals.schemas.kinds import person as say


class Nothing(Struct, frozen=True):
    pass


def react(state, event):
    data = event.message
    if isinstance(data, say.PersonRegistered):
        return Reacted(state, [command("person", event.aggregate_id, say.RegisterPerson(name=data.name))])
    return Reacted(state, [command("person", event.aggregate_id, say.RenamePerson(name=data.name))])


def following(deployment):
    wanted = frozenset({say.PersonRegistered, say.PersonRenamed})
    return Reaction(f"follow-{deployment}", 1, "person", wanted, Nothing, react, deployment=deployment)


EAST, WEST = following("east"), following("west")
"""


class Deployment:
    """One of the two: its id, its workers, and the settings that tell it of the other."""

    def __init__(self, name: str, other: str, crew: Group, where: str) -> None:
        self.name = name
        self.crew = crew
        self.follows = f"follow-{other}"
        crew.folder.mkdir(exist_ok=True)
        file = crew.folder / "foreign.toml"
        file.write_text(f"[{other}]\n{where}\n")
        self.settings = {"DEPLOYMENT": name, "FOREIGN_JOURNALS_FILE": str(file)}

    def worker(self, name: str) -> GroupWorker:
        return self.crew.worker(name, {}, ROLES="write,read", API_PORT="0", **self.settings)

    def annals(self, *arguments: str, said: str = "") -> str:
        return self.crew.said(*arguments, said=said, **self.settings)

    def send(self, name: str, people: list[str], /, **data: Any) -> None:
        lines = [json.dumps({"kind": "person", "aggregate_id": each, "type": name, "data": data}) for each in people]
        self.annals("send", said="".join(f"{line}\n" for line in lines))

    def events(self, people: list[str]) -> dict[str, list[dict[str, Any]]]:
        async def read() -> dict[str, list[dict[str, Any]]]:
            settings = self.crew.settings
            return {each: [found.event async for found in history(settings, "person", each)] for each in people}

        return asyncio.run(read())

    def records(self, topic: str) -> list[tuple[bytes, bytes]]:
        """Value and headers, as they stand, of all committed records of a topic."""

        async def read() -> list[tuple[bytes, bytes]]:
            name = f"{self.crew.settings.topic_prefix}{topic}"
            client = await connect(client_options(self.crew.settings), [name])
            try:
                wheres = [TopicPartition(name, partition) for partition in range(partitions_of(client, name))]
                found: list[tuple[bytes, bytes]] = []
                for where, (start, end) in (await bounds(client, wheres)).items():
                    async for records in read_range(client, where, start, end):
                        found += [(value or b"", headers) for _, _, value, headers in records]
                return found
            finally:
                await client.close()

        return asyncio.run(read())


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a distribution with the two reactions is installed, for all processes of the test."""
    entry_points = "[annals.reactions]\nfollow-east = crossing:EAST\nfollow-west = crossing:WEST\n"
    site = tmp_path / "site"
    monkeypatch.setenv("PYTHONPATH", installed(site, "annals-crossing", entry_points, crossing=REACTIONS))
    return site


@pytest.fixture
def both(bootstrap: str, topic_prefix: str, tmp_path: Path, site: Path) -> Iterator[tuple[Deployment, Deployment]]:
    del site
    prefixes = f"{topic_prefix}e.", f"{topic_prefix}w."
    with (
        group(bootstrap, prefixes[0], tmp_path / "east", partitions=3) as east,
        group(bootstrap, prefixes[1], tmp_path / "west", partitions=2) as west,
    ):
        yield (
            Deployment("east", "west", east, f'topic_prefix = "{prefixes[1]}"'),
            Deployment("west", "east", west, f'topic_prefix = "{prefixes[0]}"'),
        )


def metric(worker: GroupWorker, name: str) -> float:
    """The sum of a metric over its labels."""
    lines = [line for line in worker.metrics().splitlines() if line.startswith(name)]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


@pytest.mark.untraced
def test_each_event_of_another_deployment_is_reacted_to_once_and_none_goes_round(
    both: tuple[Deployment, Deployment],
) -> None:
    east, west = both
    of_east, of_west = east.worker("one").until_ready(), west.worker("one").until_ready()
    east.send("RegisterPerson", ["p-before"], name="Old")  # recorded before anybody reacts
    for each in both:
        each.annals("reactions", "resume", each.follows)
    listed = json.loads(west.annals("reactions", "status", "follow-east", "--json"))
    assert (listed["deployment"], len(listed["positions"]["person"])) == ("east", 3)

    people = [f"p-{number}" for number in range(PEOPLE)]
    east.send("RegisterPerson", people[: PEOPLE // 2], name="Ada")
    of_west.kill_reader()
    east.send("RegisterPerson", people[PEOPLE // 2 :], name="Ada")
    of_west.kill_reader()
    east.send("RenamePerson", people, name="Ada Lovelace")

    def all_there() -> bool:
        return all(len(events) == 2 for events in west.events(people).values())

    of_west.until(all_there, "each event of east has led to one of west")
    of_east.until(lambda: metric(of_east, "annals_reaction_foreign_loops_total") >= 2 * PEOPLE, "none goes round")
    sent = [msgspec.json.decode(value) for value, _ in west.records("commands.person")]
    assert len(sent) == 2 * PEOPLE
    assert set(Counter(each["id"] for each in sent).values()) == {1}
    recorded = east.events(people)
    for name, events in west.events(people).items():
        assert [each["type"] for each in events] == ["PersonRegistered", "PersonRenamed"]
        assert [each["correlation_id"] for each in events] == [each["correlation_id"] for each in recorded[name]]
    assert west.events(["p-before"]) == {"p-before": []}
    through = [headers for _, headers in west.records("events.person")]
    assert len(through) == 2 * PEOPLE
    assert all(b"ce_annalsvia" in headers and b"east" in headers for headers in through)

    # Back in east nothing has come of it: only what was sent there by hand.
    assert len(east.records("commands.person")) == 2 * PEOPLE + 1
    assert len(east.records("events.person")) == 2 * PEOPLE + 1

    def behind_nothing() -> bool:
        """Whether the progress that east has committed, once a second at most, is at the end of west's journal."""
        return json.loads(east.annals("reactions", "status", "follow-west", "--json"))["lag"] == {"events": 0}

    of_east.until(behind_nothing, "what was passed over is committed")
    assert [worker.end() for worker in (of_east, of_west)] == [0, 0]


def test_a_journal_in_another_cluster_is_reacted_to(
    bootstrap: str, topic_prefix: str, tmp_path: Path, cache_dir: Path | None, site: Path
) -> None:
    del site
    with (
        Broker(tmp_path / "other", cache_dir=cache_dir) as other,
        group(other.bootstrap, "", tmp_path / "east", partitions=3) as east,
        group(bootstrap, topic_prefix, tmp_path / "west", partitions=2) as west,
    ):
        there = Deployment("east", "west", east, f'bootstrap_servers = "{bootstrap}"')
        here = Deployment("west", "east", west, f'bootstrap_servers = "{other.bootstrap}"')
        east_worker = east.worker("one", ROLES="write").until_ready()
        worker = here.worker("one").until_ready()
        here.annals("reactions", "resume", here.follows)
        people = [f"p-{number}" for number in range(10)]
        there.send("RegisterPerson", people, name="Ada")
        worker.until(lambda: all(here.events(people).values()), "each event there has led to one here")
        worker.kill_reader()
        there.send("RenamePerson", people, name="Ada Lovelace")
        worker.until(
            lambda: all(len(events) == 2 for events in here.events(people).values()),
            "also after its process was killed",
        )
        assert len(here.records("commands.person")) == 2 * len(people)
        assert worker.end() == east_worker.end() == 0
