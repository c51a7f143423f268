"""A worker stays in its group, or comes back to it, whatever happens there; and a stop is heard all the while."""

import asyncio
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from aiokafka import AIOKafkaConsumer

from grouped import ONE_KIND, Group, GroupWorker, group, within

pytestmark = pytest.mark.broker

POLL_INTERVAL_S = 3
IMPATIENT = {**ONE_KIND, "annals.workers.kafka.group.transport:MAX_POLL_INTERVAL_MS": POLL_INTERVAL_S * 1000}


@pytest.fixture
def one_partition(bootstrap: str, topic_prefix: str, tmp_path: Path) -> Iterator[Group]:
    with group(bootstrap, topic_prefix, tmp_path, 1) as made:
        yield made


@pytest.fixture
def crew(bootstrap: str, topic_prefix: str, tmp_path: Path) -> Iterator[Group]:
    with group(bootstrap, topic_prefix, tmp_path, 2) as made:
        yield made


def test_a_worker_in_reserve_stays_in_the_group_and_takes_over(one_partition: Group) -> None:
    owner = one_partition.worker("owner", IMPATIENT).until_ready()
    reserve = one_partition.worker("reserve", IMPATIENT).until_ready()
    for _ in within(3 * POLL_INTERVAL_S):
        assert one_partition.members() == 2
        assert set(one_partition.answers(2)) == {"accepted"}
    owner.process.kill()
    assert set(one_partition.answers()) == {"accepted"}
    reserve.until_ready()


FOLDS_LONG = """
import asyncio
from annals.agents.writing.recovery.opening import Opening
fold = Opening._folded
async def folded(self, seen, last):
    await asyncio.sleep(%d)
    return await fold(self, seen, last)
Opening._folded = folded
"""


def test_a_worker_that_folds_for_longer_than_it_may_be_silent_stays_in_the_group(one_partition: Group) -> None:
    """Goes red when whoever waits for its first open partition is not counted as polling."""
    one_partition.worker("before").until_ready().end()  # the topics are there
    folding = one_partition.worker("folding", {**IMPATIENT, "exec": FOLDS_LONG % (3 * POLL_INTERVAL_S)})
    folding.until(lambda: one_partition.members() == 1, "it has joined")
    while folding.health() != []:
        assert one_partition.members() == 1
    assert not folding.logged("nothing was fetched")
    assert set(one_partition.answers()) == {"accepted"}


def test_the_first_look_after_a_freeze_that_outlasted_the_session_says_not_ready(one_partition: Group) -> None:
    """Goes red when readiness goes by what was so before: others may have had the partitions since."""
    frozen = one_partition.worker("frozen").until_ready()
    process = psutil.Process(frozen.process.pid)
    process.suspend()
    frozen.until(lambda: one_partition.members() == 0, "its session is over")
    with socket.create_connection(("127.0.0.1", frozen.port)) as probe:
        probe.sendall(b"GET /health/ready HTTP/1.0\r\n\r\n")  # there before anything else that it hears
        process.resume()
        assert probe.makefile("rb").readline().split()[1] == b"503"
    frozen.until_ready()
    assert set(one_partition.answers()) == {"accepted"}
    assert frozen.end() == 0


HANGING = """
import asyncio
from annals.workers.kafka.group.transport import Consumer
async def hang(self, fetcher):
    await asyncio.Event().wait()
Consumer._drain_messages = hang
"""


def test_a_fetch_loop_that_hangs_leaves_the_group(one_partition: Group) -> None:
    hanging = one_partition.worker("hanging", {**IMPATIENT, "exec": HANGING})
    hanging.until_told("nothing was fetched for 3 s")
    hanging.until(lambda: one_partition.members() == 0, "it has left")
    one_partition.worker("healthy", IMPATIENT).until_ready()
    assert set(one_partition.answers()) == {"accepted"}
    assert hanging.end() == 0


BROKEN_TWICE = """
from annals.workers.kafka.group.assignor import BalancedAssignor
defects = iter((AssertionError("one"), AssertionError("two")))
remember = BalancedAssignor.on_assignment.__func__
def on_assignment(cls, assignment):
    for defect in defects:
        raise defect
    remember(cls, assignment)
BalancedAssignor.on_assignment = classmethod(on_assignment)
"""


def test_a_coordination_that_failed_is_named_and_started_again(crew: Group) -> None:
    worker = crew.worker("broken", {**ONE_KIND, "exec": BROKEN_TWICE}).until_ready()
    told = [line["problem"] for line in worker.logged("cannot be in the consumer group")]
    assert [words.rpartition(": ")[2] for words in told] == ["one", "two"]
    assert worker.logged("in the consumer group again")
    assert set(crew.answers()) == {"accepted"}


FETCHES_END_ONCE = """
from annals.workers.kafka.group.active_partitions import AttentiveFetcher
narrow = AttentiveFetcher._get_actions_per_node
defects = [ValueError("a defect in the fetcher")]
def once(self, assignment):
    if self.active_partitions is not None and assignment.tps and defects:
        raise defects.pop()
    return narrow(self, assignment)
AttentiveFetcher._get_actions_per_node = once
"""


def test_fetches_that_ended_are_noticed_and_begin_again(crew: Group) -> None:
    worker = crew.worker("defective", {**ONE_KIND, "exec": FETCHES_END_ONCE})
    worker.until(lambda: worker.logged("the app crashed"), "it is noticed")
    assert "a defect in the fetcher" in worker.logged("the app crashed")[0]["reason"]
    worker.until_ready()
    assert set(crew.answers()) == {"accepted"}


def test_where_a_setting_cannot_work_the_worker_ends_and_names_it(crew: Group) -> None:
    worker = crew.worker("impossible", {**ONE_KIND, "annals.workers.kafka.group.transport:SESSION_TIMEOUT_MS": 1_000})
    assert worker.until_over() == 2
    assert "group.min.session.timeout.ms" in worker.log.read_text().splitlines()[-1]


def test_workers_with_different_kinds_share_what_they_have_in_common(crew: Group) -> None:
    old = crew.worker("old", ONE_KIND).until_ready()
    new = crew.worker("new", {"annals.agents.registered:REGISTRY": ["person", "location"]}).until_ready()
    newer = crew.worker("newer", {"annals.agents.registered:REGISTRY": ["person", "location"]}).until_ready()
    workers = [old, new, newer]
    all_shards = [(kind, number) for kind in ("location", "person") for number in ("0", "1")]
    old.until(
        lambda: (
            sorted(shard for worker in workers for shard in shards(worker)) == all_shards
            and [worker.health() for worker in workers] == [[]] * 3
        ),
        "each shard has an owner, and all are ready",
    )
    assert all(kind == "person" for kind, _ in shards(old))
    assert set(crew.answers()) == {"accepted"}


OF_AN_OLDER_RELEASE = """
from annals.workers.kafka.group import assignor
balanced = assignor.balanced
def to_anybody(partitions, members):
    return balanced(partitions, {name: member._replace(topics=set(partitions)) for name, member in members.items()})
assignor.balanced = to_anybody
"""


def test_what_the_leader_assigns_of_topics_that_a_worker_does_not_have_is_named(crew: Group) -> None:
    leader = crew.worker(
        "leader", {"annals.agents.registered:REGISTRY": ["person", "location"], "exec": OF_AN_OLDER_RELEASE}
    ).until_ready()
    follower = crew.worker("follower")
    reason = follower.until_told("which does not have them")
    assert f"{crew.settings.topic_prefix}commands.location" in reason
    assert set(crew.answers()) == {"accepted"}
    leader.end()
    follower.until_ready()


def shards(worker: GroupWorker) -> list[tuple[str, str]]:
    """The shards that it has."""
    return sorted(re.findall(r'annals_shard_open{kind="([a-z]+)",partition="([0-9]+)"} 1', worker.metrics()))


NOTED = """
from annals.workers.kafka.group.assignor import BalancedAssignor
remember = BalancedAssignor.on_assignment.__func__
def on_assignment(cls, assignment):
    print('{"event": "partitions were assigned"}', flush=True)
    remember(cls, assignment)
BalancedAssignor.on_assignment = classmethod(on_assignment)
"""


def test_two_deployments_whose_groups_have_the_same_name_serve_each_their_own(
    bootstrap: str, topic_prefix: str, tmp_path: Path
) -> None:
    name = topic_prefix.rstrip(".")
    with (
        group(bootstrap, name, tmp_path / "one", 2, app_id="x.annals") as one,
        group(bootstrap, f"{name}x.", tmp_path / "other", 2) as other,
    ):
        assert one.name == other.name
        first, second = (
            deployment.worker(name, {**ONE_KIND, "exec": NOTED}).until_ready()
            for name, deployment in (("a", one), ("b", other))
        )

        def assignments() -> list[int]:
            return [len(worker.logged("partitions were assigned")) for worker in (first, second)]

        def are_left_alone() -> bool:
            before = assignments()
            for deployment in (one, other):
                assert set(deployment.answers()) == {"accepted"}
            return [first.health(), second.health()] == [[], []] and assignments() == before and all(before)

        first.until(are_left_alone, "both serve, and nothing is assigned anew meanwhile")


async def stranger(bootstrap: str, group_id: str, topic: str) -> AIOKafkaConsumer:
    """A member with another assignor."""
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, group_id=group_id, session_timeout_ms=6_000)
    await consumer.start()
    return consumer


def test_a_stranger_in_the_group_is_named_and_the_worker_joins_when_it_is_gone(crew: Group) -> None:
    crew.worker("first").until_ready().end()
    commands = f"{crew.settings.topic_prefix}commands.person"

    async def scene() -> None:
        foreign = await stranger(crew.settings.bootstrap_servers, crew.name, commands)
        try:
            worker = await asyncio.to_thread(crew.worker, "kept-out")
            reason = await asyncio.to_thread(worker.until_told, "assigns partitions in another way")
            assert "ANNALS_APP_ID" in reason
            stopped = await asyncio.to_thread(crew.worker, "stopped")
            await asyncio.to_thread(stopped.until_told, "assigns partitions in another way")
            assert await asyncio.to_thread(stopped.end) == 0
        finally:
            await foreign.stop()
        await asyncio.to_thread(worker.until_ready)

    asyncio.run(scene())
    assert set(crew.answers()) == {"accepted"}


def test_a_worker_that_is_stopped_while_it_joins_is_no_member_any_more(crew: Group) -> None:
    """The others wait for a member that does not join until its session is over: for one that is gone, nobody is to."""
    staying = crew.worker("staying").until_ready()
    silent = crew.worker("silent", {**ONE_KIND, "annals.workers.kafka.group.transport:SESSION_TIMEOUT_MS": 120_000})
    silent.until_ready()
    silent.process.kill()  # the others wait for it now, when somebody joins
    joining = crew.worker("joining")
    joining.until(lambda: crew.members() == 3, "the broker knows it")
    assert joining.end() == 0
    assert crew.members() == 2, "the one that stays, and the one that has been killed"
    staying.until_ready()
    assert set(crew.answers()) == {"accepted"}
