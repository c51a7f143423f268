"""Subscriptions on the real broker: put, caught up, paused, deleted and put again, through killed publishers."""

from __future__ import annotations

import asyncio
import json
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import NewTopic
from prometheus_client import CollectorRegistry

from annals.agents.aggregates import REGISTRY
from annals.agents.reading.following.shard import Shard
from annals.topics.names import TopicNames
from annals.workers.cli import main
from annals.workers.kafka.admin.cluster import administration, topic_facts
from annals.workers.kafka.admin.provisioning import create
from annals.workers.kafka.connections import connect
from annals.workers.kafka.read.journal_partition import KafkaJournalPartition
from annals.workers.publishing.service import Refused, SubscriptionService
from annals.workers.publishing.telemetry import PublishMetrics
from annals.workers.publishing.wiring import Publishing
from annals.workers.settings import client_options, load_settings
from chained import chain, write
from following import Clock, Damages, until
from journal_ranges import Ranges
from publishing import shown
from reading_stores import Stores
from whole_topics import reader_of, until_settled

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable
    from pathlib import Path

    from annals.agents.publishing.publisher import Publisher
    from annals.workers.settings import Settings
    from chained import Sealed

pytestmark = [
    pytest.mark.broker,
    # A publisher that is killed in the middle of connecting leaves its connection to the collector: aiokafka's
    # `bootstrap` has it in a variable of its own, or asyncio its socket.
    pytest.mark.filterwarnings(
        "ignore:(?s).*ResourceWarning. (unclosed (.socket|transport|AIOKafkaConnection)|loop is closed)"
        ":pytest.PytestUnraisableExceptionWarning"
    ),
    pytest.mark.filterwarnings(
        "ignore:Exception ignored in. <(socket.socket|"
        "function (AIOKafkaConnection|StreamWriter|_SelectorTransport).__del__):pytest.PytestUnraisableExceptionWarning"
    ),
]

WITHIN_S = 300


class Site:
    """A deployment of one partition a kind, and its reading store."""

    def __init__(self, bootstrap: str, prefix: str) -> None:
        self.bootstrap = bootstrap
        self.settings: Settings = load_settings(
            {"bootstrap_servers": bootstrap, "topic_prefix": prefix, "partitions": "1"}
        )
        self.names = TopicNames(prefix)
        self.stores = Stores()
        self.options = client_options(self.settings)
        self.service = SubscriptionService(self.settings, self.options, REGISTRY)

    async def record(self, events: Any) -> None:
        await write(self.bootstrap, self.names.events("person"), events)

    async def record_in_transaction(self, event: Sealed) -> None:
        """Write one event as a worker does: a marker takes the offset behind it."""
        producer = AIOKafkaProducer(bootstrap_servers=self.bootstrap, transactional_id=self.names.prefix)
        async with producer, producer.transaction():
            await producer.send(self.names.events("person"), event.value, event.key, 0, headers=event.headers)
        await until_settled(self.bootstrap, self.names.events("person"))

    @asynccontextmanager
    async def publishing(self) -> AsyncIterator[Publisher]:
        """A process that publishes; at the end it is killed: what it has open stays open."""
        where = TopicPartition(self.names.events("person"), 0)
        client = await connect({"bootstrap_servers": self.bootstrap}, [where[0]])
        source, journal = Ranges(client, where), KafkaJournalPartition(client, *where)
        shard = Shard(REGISTRY["person"], 0, 1, self.stores, journal, source, Clock(), Damages())
        publishing = Publishing(
            self.settings,
            self.options,
            REGISTRY,
            dict.fromkeys(REGISTRY, 1),
            Clock(),
            PublishMetrics(CollectorRegistry()),
        )
        publisher = publishing.publisher(shard, journal)
        runs = (publisher.run(), publishing.run(), shard.run(), source.run(shard))
        tasks = [asyncio.create_task(run) for run in runs]
        try:
            yield publisher
        finally:
            catching = publisher._catching.tasks()
            for task in (*tasks, *catching):
                task.cancel()
            await asyncio.gather(*tasks, *catching, return_exceptions=True)
            await publisher.close()
            await shard.close()
            await client.close()

    async def received(self, name: str, count: int) -> list[str]:
        """The CIDs that a subscriber has, once it has so many."""
        topic = self.names.subscribers(name)
        consumer = reader_of(self.bootstrap)
        found: list[str] = []
        async with consumer, asyncio.timeout(WITHIN_S):
            where = TopicPartition(topic, 0)
            consumer.assign([where])
            while len(found) < count:
                records = (await consumer.getmany(where, timeout_ms=200)).get(where, ())
                found += [dict(record.headers)["ce_id"].decode() for record in records]
        return found


@pytest.fixture
async def site(bootstrap: str, topic_prefix: str) -> Site:
    site = Site(bootstrap, topic_prefix)
    await create(site.settings)
    return site


async def test_a_subscription_from_its_start_to_its_second_life(site: Site) -> None:
    events = chain("p-1", 40)
    await site.record(events[:10])
    made = await site.service.put("all", {"kinds": ["person"]})
    assert (made.is_new, made.body["start"], made.body["topics"]) == (
        True,
        "beginning",
        [site.names.subscribers("all")],
    )
    late = await site.service.put("late", {"kinds": ["person"], "start": "now"})
    async with site.publishing():
        assert await site.received("all", 10) == shown(events[:10])
        await site.record(events[10:15])
        assert await site.received("late", 5) == shown(events[10:15])

        paused = await site.service.pause("all")
        assert paused.body["status"] == "paused"
        await site.record(events[15:20])
        assert await site.received("late", 10) == shown(events[10:20])
    async with site.publishing():  # another process, which has not seen it paused
        await site.service.resume("all")
        assert await site.received("all", 20) == shown(events[:20])

        await site.service.delete("all")
        with pytest.raises(Refused, match="no subscription"):
            await site.service.get("all")
        await site.record(events[20:25])
        assert await site.received("late", 15) == shown(events[10:25])
        with pytest.raises(Refused) as past:
            await site.service.put("all", {"kinds": ["person"], "start": "beginning"})
        assert (past.value.status, past.value.code) == (409, "start_is_past")
        again = await site.service.put("all", {"kinds": ["person"]})
        assert again.is_new
        assert await site.received("all", 25) == shown(events[:25])
    with pytest.raises(Refused) as missing:
        await site.service.put("late", {"kinds": ["person"]})
    assert (missing.value.status, missing.value.code) == (412, "etag_missing")
    changed = await site.service.put("late", {"kinds": ["person"], "types": ["PersonRegistered"]}, late.etag)
    assert (changed.is_new, changed.body["types"]) == (False, ["PersonRegistered"])
    async with site.publishing():
        await site.record(events[25:30])
        assert await site.received("all", 30) == shown(events[:30])
    assert await site.received("late", 15) == shown(events[10:25])


async def test_a_topic_by_a_key_of_its_own_is_kept_for_good_where_that_is_asked_for(site: Site) -> None:
    events = [*chain("p-1", 2), *chain("p-2", 3)]
    await site.record(events)
    asked = {"kinds": ["person"], "key": "data.name", "payload": "block", "retention": "unlimited"}
    topic, other = site.names.subscribers("by-name"), site.names.subscribers("short")
    async with site.publishing():
        await site.service.put("by-name", asked)
        assert await site.received("by-name", 5) == shown(events)
    async with administration(site.settings) as admin:
        facts = await topic_facts(admin, site.settings, [topic])
        assert (facts[topic].config["retention.ms"], facts[topic].config["cleanup.policy"]) == ("-1", "delete")
        await admin.create_topics([NewTopic(other, 1, 1, topic_configs={"retention.ms": "604800000"})])
    with pytest.raises(Refused) as short:
        await site.service.put("short", asked)
    assert (short.value.status, short.value.code) == (409, "retention_differs")
    assert f"{other} is there with retention.ms 604800000: set it to -1" in str(short.value)
    with pytest.raises(Refused, match="no subscription"):
        await site.service.get("short")


async def test_killed_again_and_again_it_publishes_each_event_once(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("annals.agents.publishing.publisher.RUN_EVENTS", 7)
    monkeypatch.setattr("annals.agents.publishing.joining.RUN_EVENTS", 7)
    events = chain("p-1", 150)
    await site.record(events[:50])
    await site.service.put("all", {"kinds": ["person"], "filters": [{"cel": "data.name.startsWith('Ada')"}]})
    reached = 0
    for killed in range(10):
        async with site.publishing() as publisher:
            await site.record(events[50 + 10 * killed : 60 + 10 * killed])
            await until(lambda: publisher.position > reached)  # the next transaction is under way  # noqa: B023
            reached = publisher.position
    async with site.publishing():
        assert await site.received("all", 150) == shown(events)


async def refused(asked: Awaitable[Any]) -> tuple[int, list[str]]:
    with pytest.raises(Refused) as said:
        await asked
    return said.value.status, [path for path, _ in said.value.errors]


async def test_a_former_version_can_be_asked_for_while_it_can_be_had_of_what_is_stored(site: Site) -> None:
    member: dict[str, Any] = {"kind": "organization", "type_name": "MemberAdded"}
    wish: dict[str, Any] = {"kinds": ["organization"], "schema_version": {"MemberAdded": 1}}
    journal = site.names.events("organization")
    assert await refused(site.service.put("empty", wish)) == (422, ["schema_version.MemberAdded"])
    former = chain("o-1", 2, **member)
    await write(site.bootstrap, journal, former)
    made = await site.service.put("former", wish)
    assert made.body["schema_version"] == {"MemberAdded": 1}
    assert await refused(site.service.put("third", {"schema_version": {"MemberAdded": 3}})) == (
        422,
        ["schema_version.MemberAdded"],
    )
    await write(site.bootstrap, journal, chain("o-1", 1, former[-1], schema_version=2, **member))
    assert await refused(site.service.put("late", wish)) == (422, ["schema_version.MemberAdded"])
    assert (await site.service.put("newest", wish | {"schema_version": {"MemberAdded": 2}})).is_new
    changed = await site.service.put("former", wish | {"owner": "x"}, made.etag)  # what it had, it keeps
    assert changed.body["owner"] == "x"


async def test_markers_are_not_lag_and_the_oldest_event_says_for_how_long(site: Site) -> None:
    await site.service.put("all", {"kinds": ["person"]})
    events = chain("p-1", 3)
    for event in events[:2]:
        await site.record_in_transaction(event)
    behind = (await site.service.get("all")).body["lag"]
    assert (behind["events"], behind["seconds"] > 3_600) == (2, True)  # they were recorded days ago
    async with site.publishing():
        assert await site.received("all", 2) == shown(events[:2])
        await until_lag(site, "all", 0)
    assert (await site.service.get("all")).body["lag"] == {"events": 0, "seconds": 0.0}
    await site.record_in_transaction(events[2])
    assert (await site.service.get("all")).body["lag"]["events"] == 1
    page, is_end = await site.service.page(limit=1)
    assert ([each.body["name"] for each in page], is_end) == (["all"], True)


async def until_lag(site: Site, name: str, events: int) -> None:
    async with asyncio.timeout(WITHIN_S):
        while (await site.service.get(name)).body["lag"]["events"] != events:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.05)


def test_the_command_line_needs_no_worker(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    monkeypatch.setenv("ANNALS_BOOTSTRAP_SERVERS", site.bootstrap)
    monkeypatch.setenv("ANNALS_TOPIC_PREFIX", site.names.prefix)
    monkeypatch.setenv("ANNALS_PARTITIONS", "1")

    def annals(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            main(["subscriptions", *arguments])
        output, errors = capsys.readouterr()
        assert isinstance(end.value.code, int)
        return end.value.code, output, errors

    wish = tmp_path / "billing.json"
    wish.write_text('{"kinds": ["persn"], "schema_version": {"X": 1}}')
    status, _, errors = annals("put", "billing", str(wish))
    assert (status, "kinds[0]" in errors) == (1, True), errors
    wish.write_text('{"kinds": ["person"], "owner": "team-billing"}')
    status, made, errors = annals("put", "billing", str(wish), "--json")
    assert status == 0, errors
    assert json.loads(made)["owner"] == "team-billing"
    _, listed, _ = annals("list", "--json")
    assert [each["name"] for each in json.loads(listed)["subscriptions"]] == ["billing"]
    assert annals("delete", "billing")[0] == 0
    assert annals("show", "billing")[0] == 1
    monkeypatch.setenv("ANNALS_TOPIC_PREFIX", "none.")
    for words in (("list",), ("put", "billing", str(wish))):
        status, _, errors = annals(*words)
        assert (status, "annals topics create" in errors) == (2, True), errors
