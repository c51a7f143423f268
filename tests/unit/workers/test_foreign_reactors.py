"""Who reacts to which partition of another deployment, and what is said where it is not known or not found."""

import asyncio
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry

from annals.agents.aggregates import REGISTRY
from annals.agents.publishing.administration import Refused
from annals.schemas.progress import Progress, decode_progress
from annals.workers.clock import SystemClock
from annals.workers.kafka.connections import connect
from annals.workers.kafka.read.invalid_records import PASSED_OVER
from annals.workers.memory.cluster import MemoryCluster, Topic
from annals.workers.reacting import wiring
from annals.workers.reacting.service import ReactionService
from annals.workers.reacting.telemetry import ReactionMetrics
from annals.workers.reacting.wiring import Reacting
from annals.workers.settings import Settings, foreign_deployments
from chained import chain
from following import until
from publishing import World
from reactors import COUNTING, THERE, Switches

FOLLOWING = replace(COUNTING, deployment="there")
OURS = 2
TOPICS = ("progress", "commands.person", "reactions", "timers.counting")


class Alike:
    """A partition of ours: all that is asked of it is its number."""

    def __init__(self, partition):
        self.kind, self.partition = "person", partition


class Crossing(World):
    """This deployment, and another one in the same cluster whose journal has another number of partitions."""

    def __init__(self, folder, partitions=5, text='[there]\ntopic_prefix = "there."\n'):
        super().__init__()
        there = {THERE: Topic(partitions)} if partitions else {}
        self.model = MemoryCluster({name: Topic(1) for name in TOPICS} | there, transaction_version=2)
        file = folder / "foreign.toml"
        file.write_text(text)
        self.settings = Settings(deployment="here", foreign_journals_file=file)
        self.registry = CollectorRegistry()
        self.switches = Switches()

    @asynccontextmanager
    async def reacting(self, monkeypatch, *partitions):
        monkeypatch.setattr(wiring, "FollowedControls", lambda *_: self.switches)
        metrics = ReactionMetrics(self.registry)
        made = Reacting(
            self.settings,
            self.options(),
            REGISTRY,
            {"counting": FOLLOWING},
            {"person": OURS},
            SystemClock(),
            metrics,
            PASSED_OVER,
            foreign_deployments(self.settings),
        )
        actors = [each for at in partitions for each in made.reactors(Alike(at), self.journal)]
        tasks = [asyncio.create_task(each.run()) for each in actors]
        try:
            yield made, actors
        finally:
            for task in tasks:
                task.cancel()
            for task in tasks:
                with suppress(asyncio.CancelledError):
                    await task
            for each in actors:
                await each.close()

    def up(self, partition):
        labels = {"reaction": "counting", "kind": "person", "partition": str(partition)}
        return self.registry.get_sample_value("annals_reaction_up", labels)


@pytest.mark.parametrize(("ours", "theirs"), [((0,), {0, 2, 4}), ((1,), {1, 3}), ((0, 1), {0, 1, 2, 3, 4})])
async def test_each_partition_there_is_read_beside_one_of_ours(tmp_path, monkeypatch, ours, theirs):
    world = Crossing(tmp_path)
    world.switches.set("counting", "active")
    async with world.reacting(monkeypatch, *ours) as (made, _):
        await until(lambda: all(world.up(at) == 1 for at in theirs))
        assert {at for at in range(6) if world.up(at) is not None} == theirs
        assert made.problems() == []


async def test_with_fewer_partitions_there_than_here_some_have_none(tmp_path, monkeypatch):
    world = Crossing(tmp_path, partitions=1)
    world.switches.set("counting", "active")
    async with world.reacting(monkeypatch, 0, 1) as (_, actors):
        await until(lambda: world.up(0) == 1)
        await until(lambda: world.up(1) is None and actors[1].problem is None)


async def test_until_it_is_resumed_nothing_is_connected_to(tmp_path, monkeypatch):
    world = Crossing(tmp_path)
    async with world.reacting(monkeypatch, 0):
        asked = []

        def connecting(*wanted):
            asked.append(wanted)
            return connect(*wanted)

        monkeypatch.setattr("annals.workers.reacting.topic_reactors.connect", connecting)
        for _ in range(20):
            await asyncio.sleep(0)
        assert not asked
        world.switches.set("counting", "active")
        await until(lambda: bool(asked))


async def test_a_deployment_that_no_file_names_is_told_in_readiness_while_it_is_to_run(tmp_path, monkeypatch):
    world = Crossing(tmp_path, text='[elsewhere]\ntopic_prefix = "there."\n')
    async with world.reacting(monkeypatch, 0) as (_, (actor,)):
        assert actor.problem is None
        world.switches.set("counting", "active")
        await until(lambda: actor.problem is not None)
        assert actor.problem == "counting does not react: ANNALS_FOREIGN_JOURNALS_FILE names no deployment 'there'"
        assert world.up(0) == 0
        world.switches.set("counting", "paused")
        await until(lambda: actor.problem is None and world.up(0) is None)


async def test_a_journal_that_is_not_there_is_waited_for_and_never_made(tmp_path, monkeypatch):
    world = Crossing(tmp_path, partitions=0)
    world.switches.set("counting", "active")
    async with world.reacting(monkeypatch, 0) as (_, (actor,)):
        await until(lambda: world.up(0) == 0)
        assert actor.problem is None  # this deployment is ready
        assert (THERE, 0) not in world.model.logs


async def test_what_resumes_it_says_where_the_other_journal_ends(tmp_path):
    world = Crossing(tmp_path, partitions=1)
    service = ReactionService(world.settings, world.options(), {"counting": FOLLOWING})
    (event,) = chain("p-1", 1)
    await world.send(THERE, event.key, event.value)
    shown = await service.get("counting")
    assert (shown.body["deployment"], shown.body["positions"]) == ("there", {"person": [None]})
    resumed = await service.resume("counting")
    assert resumed.body["positions"] == {"person": [0]}
    records = {key: decode_progress(value) for key, value, _ in await world.received("", "progress")}
    assert records == {f"reaction:counting@there/{THERE}/0".encode(): Progress(0, version=1, quiet_until=2)}
    assert resumed.body["lag"] == {"events": 1}


async def test_one_whose_deployment_is_not_known_is_shown_and_not_resumed(tmp_path):
    world = Crossing(tmp_path, text='[elsewhere]\ntopic_prefix = "there."\n')
    service = ReactionService(world.settings, world.options(), {"counting": FOLLOWING})
    (shown,) = await service.all()
    assert shown.body["lag"] == {"events": None}
    with pytest.raises(Refused, match=r"names no deployment 'there'"):
        await service.resume("counting")
    assert not await world.received("", "reactions")


async def test_one_whose_journal_is_not_there_is_shown_with_why(tmp_path):
    world = Crossing(tmp_path, partitions=0)
    service = ReactionService(world.settings, world.options(), {"counting": FOLLOWING})
    (shown,) = await service.all()
    assert shown.body["lag"] == {"events": None}
    with pytest.raises(Refused, match=THERE):
        await service.resume("counting")


@pytest.mark.parametrize("text", ['[there]\ntopic_prefix = "there."\n', '[elsewhere]\ntopic_prefix = "there."\n'])
async def test_a_pause_needs_no_other_deployment(tmp_path, text):
    world = Crossing(tmp_path, partitions=0, text=text)
    service = ReactionService(world.settings, world.options(), {"counting": FOLLOWING})
    paused = await service.pause("counting", "for now")
    assert (paused.body["status"], paused.body["reason"]) == ("paused", "for now")
    assert len(await world.received("", "reactions")) == 1
