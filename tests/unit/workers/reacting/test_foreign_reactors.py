"""Who reacts to which partition of another deployment, and what is said where it is not known or not found."""

import asyncio
import socket
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from aiokafka.errors import KafkaConnectionError, TopicAuthorizationFailedError
from click.testing import CliRunner
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from annals.agents.aggregates import REGISTRY
from annals.agents.publishing.administration import Refused
from annals.schemas.progress import Progress, decode_progress
from annals.workers.cli import reactions as command
from annals.workers.clock import SystemClock
from annals.workers.kafka.connections import connect
from annals.workers.kafka.read.invalid_records import PASSED_OVER
from annals.workers.memory.cluster import MemoryCluster, Topic
from annals.workers.publishing.followed_writer import Answered
from annals.workers.reacting import wiring
from annals.workers.reacting.foreign import foreign_problem
from annals.workers.reacting.service import ReactionService
from annals.workers.reacting.telemetry import ReactionMetrics
from annals.workers.reacting.wiring import Reacting
from annals.workers.settings import ForeignDeployment, Settings, foreign_deployments
from chained import chain
from following import run_meanwhile, until
from publishing import World
from reactors import COUNTING, THERE, Switches

FOLLOWING = replace(COUNTING, deployment="there")
BOTH = {"counting": FOLLOWING, "second": replace(FOLLOWING, name="second")}
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
        async with run_meanwhile(*actors):
            yield made, actors

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
        unknown = "ANNALS_FOREIGN_JOURNALS_FILE names no deployment there: it has elsewhere."
        assert actor.problem == f"counting does not react: {unknown}"
        assert world.up(0) == 0
        world.switches.set("counting", "paused")
        await until(lambda: actor.problem is None and world.up(0) is None)


async def test_a_journal_that_is_not_there_is_waited_for_and_never_made(tmp_path, monkeypatch):
    world = Crossing(tmp_path, partitions=0)
    world.switches.set("counting", "active")
    async with world.reacting(monkeypatch, 0) as (_, (actor,)):
        with capture_logs() as logs:
            await until(lambda: world.up(0) == 0 and any("reason" in each for each in logs))
        assert actor.problem is None  # this deployment is ready
        assert logs[0]["reason"].startswith(f"the deployment there has no topic {THERE}: its own operators create it")
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
    unknown = "ANNALS_FOREIGN_JOURNALS_FILE names no deployment there: it has elsewhere."
    assert shown.body["reason"] == f"nobody has resumed it yet; {unknown}"
    with pytest.raises(Refused, match=unknown):
        await service.resume("counting")
    assert not await world.received("", "reactions")


async def test_one_whose_journal_is_not_there_is_shown_with_why(tmp_path):
    world = Crossing(tmp_path, partitions=0)
    service = ReactionService(world.settings, world.options(), {"counting": FOLLOWING})
    (shown,) = await service.all()
    assert shown.body["lag"] == {"events": None}
    whose = f"the deployment there has no topic {THERE}: its own operators create it, with `annals topics create` there"
    assert shown.body["reason"].startswith(f"nobody has resumed it yet; {whose}")
    assert "create it with" not in shown.body["reason"]
    with pytest.raises(Refused) as caught:
        await service.resume("counting")
    assert str(caught.value).startswith(whose)


async def test_without_a_file_the_reason_says_that_it_is_not_set(tmp_path):
    """Goes red when a reaction to another deployment's events is `? behind`, and nothing says why."""
    world = Crossing(tmp_path)
    service = ReactionService(replace(world.settings, foreign_journals_file=None), world.options(), BOTH)
    for shown in await service.all():
        said = "ANNALS_FOREIGN_JOURNALS_FILE is not set, or empty: it must say where the deployment there is"
        assert shown.body["reason"] == f"nobody has resumed it yet; {said}"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            KafkaConnectionError(f"No way from {[('h', 1, socket.AF_INET)]}"),
            "does not answer at b:2 (No way from h:1): ",
        ),
        (TimeoutError(), "does not answer at b:2 (TimeoutError): look at bootstrap_servers of [there] in "),
        (
            TopicAuthorizationFailedError("events.person"),
            "at b:2 refuse (events.person): this deployment's user needs ",
        ),
    ],
)
def test_what_is_said_of_another_cluster_has_no_object_of_ours(error, said):
    """Goes red when the addresses are shown as Python keeps them."""
    known = {"there": ForeignDeployment("", {"bootstrap_servers": "b:2"})}
    found = foreign_problem("there", known, {"bootstrap_servers": "a:1"}, error)
    assert said in found
    assert "<" not in found


SHOWN = {
    "name": "counting",
    "version": 1,
    "status": "paused",
    "reason": "nobody has resumed it yet",
    "deployment": "there",
    "positions": {"person": [4, None]},
    "lag": {"events": 1},
    "failed": [],
    "timers": {"pending": 0, "next_due": None},
}


@pytest.mark.parametrize(
    ("change", "lines"),
    [
        (
            {},
            [
                "counting  version 1  paused  1 event behind  on events of there: nobody has resumed it yet",
                "  next offsets in the journal of person of there, by partition: 4 -",
            ],
        ),
        (
            {"deployment": None, "reason": None, "lag": {"events": 2}},
            [
                "counting  version 1  paused  2 events behind",
                "  next offsets in the journal of person, by partition: 4 -",
            ],
        ),
        (
            {"positions": {"person": []}, "lag": {"events": None}, "reason": "why"},
            [
                "counting  version 1  paused  how far behind is not known  on events of there: why",
                "  next offsets in the journal of person of there, by partition: not known",
            ],
        ),
    ],
)
def test_a_status_says_whose_journal_its_numbers_are_of(monkeypatch, change, lines):
    monkeypatch.setattr(command, "_asked", lambda *_: Answered({**SHOWN, **change}, "0"))
    found = CliRunner().invoke(command.reactions, ["status", "assign-tasks"])
    assert found.output.splitlines() == [*lines, "  timers: 0"]


@pytest.mark.parametrize("text", ['[there]\ntopic_prefix = "there."\n', '[elsewhere]\ntopic_prefix = "there."\n'])
async def test_a_pause_needs_no_other_deployment(tmp_path, text):
    world = Crossing(tmp_path, partitions=0, text=text)
    service = ReactionService(world.settings, world.options(), {"counting": FOLLOWING})
    paused = await service.pause("counting", "for now")
    assert (paused.body["status"], paused.body["reason"].split("; ")[0]) == ("paused", "for now")
    assert len(await world.received("", "reactions")) == 1


def test_a_status_says_where_it_failed_and_ends_so(monkeypatch):
    failed = [{"kind": "person", "partition": 1, "reason": "person 'p-1' version 1, offset 0: ValueError at mine:7"}]
    monkeypatch.setattr(command, "_asked", lambda *_: Answered({**SHOWN, "failed": failed, "status": "active"}, "0"))
    found = CliRunner().invoke(command.reactions, ["status", "assign-tasks"], standalone_mode=False)
    first, _, why, _ = found.output.splitlines()
    assert first.startswith("counting  version 1  active  failed  1 event behind")
    assert why == "  person-1: person 'p-1' version 1, offset 0: ValueError at mine:7"
    assert found.return_value == 1
