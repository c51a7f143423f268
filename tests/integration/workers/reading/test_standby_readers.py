"""Two reading workers on a real broker with a standby each: one is killed, the other answers and takes over at once."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka import TopicPartition
from aiokafka.client import CoordinationType

from annals.topics.keys import partition_of
from annals.topics.names import TopicNames
from annals.workers.kafka.connections import connect
from annals.workers.kafka.group.instances import group_members, leave_for
from annals.workers.registry import projections
from annals.workers.settings import client_options
from grouped import Group, GroupWorker, group
from processes import WITHIN_S
from projecting import rows_from_kafka
from whole_topics import reader_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from aiokafka.client import AIOKafkaClient

    from annals.workers.settings import Settings

pytestmark = pytest.mark.broker

PARTITIONS = 2
KINDS = 7
PEOPLE = "people_directory"
GAUGE = re.compile(r'^(\w+)\{kind="(\w+)",partition="(\d+)"[^}]*\} (\S+)$', re.MULTILINE)


@pytest.fixture
def crew(bootstrap: str, topic_prefix: str, tmp_path: Path) -> Iterator[Group]:
    with group(bootstrap, topic_prefix, tmp_path, PARTITIONS) as made:
        yield made


def reader(crew: Group, name: str) -> GroupWorker:
    """One that is not missed by itself when it is killed, while the test looks at its standby."""
    patches = {"reading_session_ms": 600_000}
    return crew.worker(name, patches, ROLES="read", API_PORT="0", STANDBY_REPLICAS="1")


def members(crew: Group) -> set[str]:
    """The ids of the members of the group that reads."""

    async def ask() -> set[str]:
        async with connected(crew.settings) as (client, group):
            node = await client.coordinator_lookup(CoordinationType.GROUP, group)
            return {each.member_id for each in await group_members(client, node, group)}

    return asyncio.run(ask())


def miss(crew: Group, member: str) -> None:
    """Have the group go on without a member, as when its session is over."""

    async def leave() -> None:
        async with connected(crew.settings) as (client, group):
            await leave_for(client, group, member)

    asyncio.run(leave())


@asynccontextmanager
async def connected(settings: Settings) -> AsyncIterator[tuple[AIOKafkaClient, str]]:
    """A client, and the name of the group that reads."""
    client = await connect(client_options(settings), [])
    try:
        yield client, TopicNames(settings.topic_prefix).reading_group(settings.app_id)
    finally:
        await client.close()


def gauges(worker: GroupWorker, name: str) -> dict[tuple[str, int], float]:
    """A gauge by kind and partition."""
    found = GAUGE.findall(worker.metrics())
    return {(kind, int(partition)): float(value) for gauge, kind, partition, value in found if gauge == name}


def is_standing_by(worker: GroupWorker, partitions: int) -> bool:
    """Whether it follows so many partitions of others, and has read all of them."""
    lags, are_open = gauges(worker, "annals_read_standby_lag"), gauges(worker, "annals_read_standby_open")
    return len(lags) == partitions and not any(lags.values()) and all(are_open.values())


def answered(worker: GroupWorker, path: str, *, stale: bool) -> Any:
    """An answer over partitions that is whole, and of a standby or of none; None: not yet."""
    status, body = worker.call("GET", path)
    is_it = status == 200 and not body["missing"] and bool(body["stale"]) == stale
    return body if is_it else None


def until_answered(worker: GroupWorker, path: str, *, stale: bool) -> Any:
    return worker.until(lambda: answered(worker, path, stale=stale), f"{path} is answered")


def published(crew: Group, count: int) -> list[dict[str, str]]:
    """The headers of what the subscriber has once it has so many, to the ends of its topic at that time."""

    async def read() -> list[dict[str, str]]:
        topic = TopicNames(crew.settings.topic_prefix).subscribers("all")
        wheres = [TopicPartition(topic, partition) for partition in range(PARTITIONS)]
        consumer = reader_of(crew.settings.bootstrap_servers)
        found: list[dict[str, str]] = []
        async with consumer, asyncio.timeout(WITHIN_S):
            consumer.assign(wheres)
            ends: dict[TopicPartition, int] = {}
            while len(found) < count or any([await consumer.position(each) < ends[each] for each in wheres]):
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    found += [{key: value.decode() for key, value in record.headers} for record in records]
                ends = await consumer.end_offsets(wheres)
        return found

    return asyncio.run(read())


def folded(crew: Group) -> list[dict[str, Any]]:
    """The rows of people, folded from the journal without any worker."""
    newest = [versions[-1] for name, versions in projections().items() if name == PEOPLE]
    return asyncio.run(rows_from_kafka(crew.settings, newest))[PEOPLE]


def test_a_standby_answers_for_a_killed_owner_and_then_publishes_without_gap_or_double(crew: Group) -> None:
    writer = crew.worker("writer", {}, ROLES="write").until_ready()
    one = reader(crew, "one").until_ready()
    (member,) = members(crew)
    two = reader(crew, "two").until_ready()
    one.subscribe("all", start="beginning")
    count = len(crew.answers(20))
    assert_published_once(crew, count)
    until_each_follows_the_other(one, two)
    owned = [gauges(worker, "annals_publisher_up") for worker in (one, two)]
    assert not owned[0].keys() & owned[1].keys()  # a standby publishes nothing: of each partition one worker does
    assert len(owned[0]) + len(owned[1]) == KINDS * PARTITIONS
    assert owned[1].keys() == gauges(one, "annals_read_standby_lag").keys()
    (lost,) = (partition for kind, partition in owned[0] if kind == "person")
    fresh = two.until(lambda: whole(two, count, stale=False), "all are answered")

    one.process.kill()
    one.process.wait()
    assert_answered_by_the_standby(crew, two, fresh["events"], lost)
    later = count + len(crew.answers(20))
    two.until(lambda: whole(two, later, stale=True), "the standby reads on")

    miss(crew, member)
    two.until(lambda: whole(two, later, stale=False), "the standby is the owner")
    two.until_ready().until(lambda: gauges(two, "annals_read_standby_lag") == {}, "it is no standby any more")
    rows = until_answered(two, f"/v1/projections/{PEOPLE}/rows?limit=1000", stale=False)
    assert names(rows["rows"]) == names(folded(crew))
    assert_published_once(crew, later)

    # The one that comes back has its share again, and the other goes on following what it has to give.
    again = reader(crew, "one").until_ready()
    until_each_follows_the_other(again, two)
    last = later + len(crew.answers(20))
    assert_published_once(crew, last)
    for worker in (again, two):
        worker.until(lambda worker=worker: whole(worker, last, stale=False), "all are answered")
        assert worker.end() == 0
    assert writer.end() == 0


def assert_answered_by_the_standby(crew: Group, two: GroupWorker, events: list[dict[str, Any]], lost: int) -> None:
    """All that there was is answered, and what is of the partition that was lost says by whom."""
    stale = [{"kind": "person", "partition": lost, "reason": "standby"}]
    mine = [each for each in events if each["partition"] == lost]
    assert mine
    for each in mine:
        path = f"/v1/aggregates/person/{each['aggregate_id']}"
        status, body = two.asked("GET", path)
        assert (status, body["head"], body["stale"]) == (200, each["cid"], stale)
        assert body["position"]["offset"] > each["offset"]
        status, body = two.asked("GET", f"{path}/events")
        assert (status, body["events"], body["stale"]) == (200, [each], stale)
    body = until_answered(two, "/v1/events?kind=person&limit=1000", stale=True)
    assert (body["events"], body["stale"]) == (events, stale)
    status, nobody = two.asked("GET", f"/v1/aggregates/person/{absent(lost)}")
    assert (status, nobody["code"]) == (404, "not_found")
    rows = until_answered(two, f"/v1/projections/{PEOPLE}/rows?limit=1000", stale=True)
    assert (names(rows["rows"]), rows["stale"]) == (names(folded(crew)), stale)
    question = until_answered(two, "/v1/questions/people?email=nobody@example.org", stale=True)
    assert (question["rows"], question["stale"]) == ([], stale)


def assert_published_once(crew: Group, count: int) -> None:
    found = published(crew, count)
    assert Counter(each["ce_id"] for each in found).most_common(1)[0][1] == 1
    assert len(found) == count


def until_each_follows_the_other(*workers: GroupWorker) -> None:
    for worker in workers:
        worker.until(lambda worker=worker: is_standing_by(worker, KINDS * PARTITIONS // 2), "it follows the other")


def whole(worker: GroupWorker, events: int, *, stale: bool) -> Any:
    body = answered(worker, "/v1/events?kind=person&limit=1000", stale=stale)
    return body if body is not None and len(body["events"]) == events else None


def absent(partition: int) -> str:
    """The id of somebody who does not exist, in a partition."""
    names = (f"nobody-{number}" for number in range(1_000))
    return next(name for name in names if partition_of(name.encode(), PARTITIONS) == partition)


def names(rows: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Who is in rows, and the name of each."""
    return sorted((row["aggregate_id"], row["name"]) for row in rows)
