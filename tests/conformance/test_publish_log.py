"""What every writer for subscribers promises (the `PublishLog` and `DeliveryLog` ports): in memory as on a broker."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import sites
from aiokafka.structs import TopicPartition
from sites import NOTHING, SITES, opened, reached, until

from annals.agents.ports import FencedError, StoppedError
from annals.agents.publishing.delivering.ports import AckRecord, DeadAck, DeliveryWrites
from annals.agents.publishing.ports import TargetError, Writes
from annals.agents.publishing.records import Outgoing
from annals.schemas.cid import cid_of, cid_text
from annals.schemas.delivery import Row, row_key
from annals.schemas.progress import LIVE, Progress, encode_progress, progress_key
from annals.topics.catalog import SUBSCRIBER_TOPIC_BYTES
from annals.topics.keys import partition_of
from annals.topics.wire import NO_TIMESTAMP
from annals.workers.kafka.write.batches import RecordBatch
from annals.workers.kafka.write.transaction import Offsets, TransactionalWriter
from annals.workers.publishing.delivery_log import KafkaDeliveryLog, KafkaDeliveryLogs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from annals.workers.publishing.log import KafkaPublishLog

PARTITIONS = 2
HERE, THERE = b"p-1", b"p-4"  # keys of partition 0 and of partition 1
ALL, NARROW, WIDE, GONE = "all", "narrow", "wide", "gone"
"""Of as many partitions as the journal, of fewer, of more, and without topics."""
ROLES = ("subscribers", "acks", "parked", "deliveries")
TOPICS = {
    "events.person": PARTITIONS,
    "progress": 1,
    "dead-letters": 1,
    f"subscribers.{WIDE}": 2 * PARTITIONS,
    **{f"{role}.{ALL}": PARTITIONS for role in ROLES},
    **{f"{role}.{NARROW}": 1 for role in ROLES},
}
AT_MS = 1_700_000_000_000


class Site(sites.Site):
    def logs(self, partition: int = 0) -> KafkaDeliveryLogs:
        """What makes the writers of a journal partition, as one process has it."""
        return KafkaDeliveryLogs(
            self.options, self.names, f"{self.names.prefix}app", "person", partition, PARTITIONS, "none"
        )

    async def live(self, partition: int = 0) -> KafkaPublishLog:
        """The writer of what is live, as an owner has it that has fenced all before it."""
        return await self._fenced(self.logs(partition).live())

    async def delivering(self, name: str = ALL, partition: int = 0) -> KafkaDeliveryLog:
        """The writer of a subscription that answers, fenced likewise."""
        return await self._fenced(self.logs(partition).delivering(name))

    async def _fenced(self, log: Any) -> Any:
        self.opened.append(log)
        await reached(log.fence)
        return log

    async def values(self, role: str, partition: int = 0) -> list[bytes | None]:
        return [value for _, value, _ in await self.committed(f"{self.names.prefix}{role}", partition)]

    @asynccontextmanager
    async def left_open(self, name: str, progress: Progress) -> AsyncIterator[None]:
        """Have progress in a transaction that is open meanwhile, and that its writer's successor ends."""
        topic, identity = self.names.progress, f"{self.names.prefix}killed"
        batch = RecordBatch()
        key = progress_key(name, self.names.events("person"), 0)
        batch.fill([(key, encode_progress(progress), NO_TIMESTAMP, NOTHING)], 0, 1 << 20)

        def die(_: object) -> str:
            raise KilledError

        writers = [TransactionalWriter(self.options, identity, [topic]) for _ in range(2)]
        self.opened += writers
        await writers[0].fence()
        with pytest.raises(KilledError):
            await writers[0].commit(
                {TopicPartition(topic, 0): [batch]}, Offsets(f"{identity}.group", topic, 0, 0, die), {}
            )
        yield
        await writers[1].fence()


class KilledError(Exception):
    """The process died in the middle of a transaction."""


@pytest.fixture(params=SITES)
async def site(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    monkeypatch.setattr("annals.workers.kafka.connections.TOPIC_WITHIN_S", 0.2)  # those that are there are known
    async with opened(Site, request, TOPICS) as made:
        yield made


def record(value: bytes, key: bytes = HERE) -> Outgoing:
    return Outgoing(key, value, [("h", value)])


def writes(position: int, *records: Outgoing, name: str = ALL, of: str = LIVE) -> Writes:
    return Writes({name: records} if records else {}, {of: Progress(position)}, position)


def row(version: int, aggregate_id: str = "p-1", **changes: Any) -> Row:
    cid = cid_text(cid_of(b"%d" % version))
    made = Row("person", aggregate_id, version, cid, "PersonRenamed", 10 * version, ordered=False, state="waiting")
    return Row(**{**{name: getattr(made, name) for name in made.__struct_fields__}, **changes})


def deliver(position: int, *rows: Row, **more: Any) -> DeliveryWrites:
    return DeliveryWrites({row_key(each): each for each in rows}, Progress(position, None, 1), AT_MS, **more)


def test_the_keys_are_of_two_partitions() -> None:
    assert [partition_of(key, PARTITIONS) for key in (HERE, THERE)] == [0, 1]


async def test_of_a_partition_that_nobody_published_nothing_is_known(site: Site) -> None:
    log = await site.live()
    assert await log.progress() == await log.progress(is_settled=False) == {}
    assert await log.answers_end([ALL, GONE]) == {ALL: 0}
    assert log.throttled_s() == 0


async def test_what_was_committed_is_there_for_subscribers_and_for_the_next_owner(site: Site) -> None:
    log = await site.live()
    await log.commit(writes(1, record(b"one"), record(b"two", THERE), record(b"three")))
    await log.commit(writes(3))
    found = await (await site.live()).progress()
    assert found == {LIVE: Progress(3)}
    assert await site.committed(site.names.subscribers(ALL)) == [
        (HERE, b"one", [("h", b"one")]),
        (HERE, b"three", [("h", b"three")]),
    ]
    assert await site.values(f"subscribers.{ALL}", 1) == [b"two"]


async def test_progress_is_of_one_partition_of_the_journal_and_ends_by_name(site: Site) -> None:
    log, other = await site.live(), await site.live(1)
    both = Progress(4, cid_of(b"event"), 7)
    await log.commit(Writes({}, {LIVE: Progress(5), ALL: both}, 5))
    assert await log.progress() == {LIVE: Progress(5), ALL: both}
    assert await other.progress() == {}
    await log.commit(Writes({}, {LIVE: Progress(6), ALL: None}, 6))
    assert await log.progress() == {LIVE: Progress(6)}


async def test_an_older_owner_is_fenced_and_nothing_of_it_is_seen(site: Site) -> None:
    older = await site.live()
    await older.commit(writes(1, record(b"one")))
    newer = await site.live()
    with pytest.raises(FencedError):
        await older.commit(writes(2, record(b"late")))
    assert await newer.progress() == {LIVE: Progress(1)}
    await newer.commit(writes(2, record(b"two")))
    assert await until(lambda: site.values(f"subscribers.{ALL}"), lambda seen: len(seen) > 1) == [b"one", b"two"]


async def test_who_catches_up_writes_beside_what_is_live(site: Site) -> None:
    logs = site.logs()
    live, catching_up = await site._fenced(logs.live()), await site._fenced(logs.catching_up(ALL))
    await live.commit(writes(9, record(b"live")))
    await catching_up.commit(writes(4, record(b"older"), of=ALL))
    await live.commit(writes(10))
    assert await live.progress() == {LIVE: Progress(10), ALL: Progress(4)}
    assert await site.values(f"subscribers.{ALL}") == [b"live", b"older"]


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [(GONE, b"v", "is not there"), (ALL, bytes(SUBSCRIBER_TOPIC_BYTES), "takes")],
    ids=["no topic", "too large"],
)
async def test_what_a_topic_does_not_take_is_refused_whole_and_the_writer_goes_on(
    site: Site, name: str, value: bytes, why: str
) -> None:
    log = await site.live()
    refused = Writes({NARROW: [record(b"never")], name: [record(value)]}, {LIVE: Progress(1)}, 1)
    with pytest.raises(TargetError, match=why) as raised:
        await log.commit(refused)
    assert raised.value.name == name
    await log.commit(writes(2, record(b"next"), name=NARROW))
    assert await log.progress() == {LIVE: Progress(2)}
    assert await site.values(f"subscribers.{NARROW}") == [b"next"]


async def test_no_record_goes_where_the_topic_or_the_journal_has_no_partition(site: Site) -> None:
    log = await site.live()
    keys = [b"%d" % number for number in range(12)]
    assert {partition_of(key, 2 * PARTITIONS) for key in keys} == set(range(2 * PARTITIONS))
    for position, name in enumerate((NARROW, WIDE), 1):
        await log.commit(writes(position, *(record(key, key) for key in keys), name=name))
    assert await site.values(f"subscribers.{NARROW}") == keys
    for partition in range(2 * PARTITIONS):
        here = [key for key in keys if partition_of(key, PARTITIONS) == partition]
        assert await site.values(f"subscribers.{WIDE}", partition) == here


async def test_a_transaction_that_is_open_is_waited_for_or_passed_over(site: Site) -> None:
    log = await site.live()
    await log.commit(writes(1))
    async with site.left_open(LIVE, Progress(8)):
        assert await log.progress(is_settled=False) == {LIVE: Progress(1)}
    assert await log.progress() == {LIVE: Progress(1)}


async def test_where_the_progress_is_gone_nothing_is_published_a_second_time(site: Site) -> None:
    log = await site.live()
    await log.commit(writes(1, record(b"one")))
    await site.append(TopicPartition(site.names.progress, 0), b"v")
    await site.expire(TopicPartition(site.names.progress, 0), 2)
    with pytest.raises(StoppedError, match="and it reached"):
        await (await site.live()).progress()


async def test_of_a_subscription_that_nobody_delivered_nothing_is_known(site: Site) -> None:
    log = await site.delivering()
    assert await log.own_progress() is None
    rows, parked = await log.unsettled(1)
    assert (list(rows), parked) == ([], {})
    assert await log.acks(0, 10) == ([], 0, True)


async def test_all_of_a_delivery_is_there_for_the_next_owner(site: Site) -> None:
    log = await site.delivering()
    dead = AckRecord(3, b"k", b"no answer", [("h", b"v")])
    moved = AckRecord(5, THERE, b"an answer", [("h", b"v")])
    first, second = row(2, state="in_flight", attempt=1, due=7), row(1, reason="later")
    await log.deliver(
        deliver(
            4,
            first,
            second,
            records=[record(b"delivered")],
            parked=[record(b"parked", THERE)],
            moved=[moved],
            dead=[DeadAck(dead, "it is none")],
        )
    )
    newer = await site.delivering()
    assert await newer.own_progress() == Progress(4, None, 1)
    assert await site.values(f"subscribers.{ALL}") == [b"delivered"]
    assert await site.values(f"parked.{ALL}") == [b"parked"]
    rows, parked = await newer.unsettled(1)
    assert (list(rows), parked) == ([second, first], {})
    assert await site.committed(site.names.acks(ALL), 1) == [
        (THERE, b"an answer", [("h", b"v"), ("origin-partition", b"0"), ("origin-offset", b"5")])
    ]
    ((key, value, headers),) = await site.committed(site.names.dead_letters)
    assert (key, value) == (b"k", b"no answer")
    assert {"reason": b"bad_ack", "source-offset": b"3"}.items() <= dict(headers).items()


async def test_rows_are_those_of_the_kind_the_partition_and_the_incarnation(site: Site) -> None:
    log, other = await site.delivering(), await site.delivering(partition=1)
    kept, parked, settled = row(3), row(2, state="parked", at=AT_MS), row(1)
    await log.deliver(deliver(4, kept, parked, settled, row(5, incarnation=2), row(6, kind="agent")))
    await other.deliver(deliver(1, row(7)))
    await log.deliver(DeliveryWrites({row_key(settled): None}, Progress(5, None, 1), AT_MS))
    rows, since = await log.unsettled(1)
    assert (list(rows), since) == ([kept], {row_key(parked).encode(): AT_MS})
    newest: dict[bytes, Row | None] = {}
    end = await log.rows_since(-1, newest.__setitem__, 1)
    expected = [kept, parked, row(5, incarnation=2), row(6, kind="agent")]
    assert newest == {row_key(each).encode(): each for each in expected} | {row_key(settled).encode(): None}
    newest.clear()
    await log.deliver(deliver(6, row(8)))
    assert await log.rows_since(end, newest.__setitem__, 1) > end
    assert newest == {row_key(row(8)).encode(): row(8)}


async def test_an_older_delivery_is_fenced_and_nothing_of_it_is_seen(site: Site) -> None:
    older = await site.delivering()
    await older.deliver(deliver(1, row(1)))
    newer = await site.delivering()
    with pytest.raises(FencedError):
        await older.deliver(deliver(2, row(2), records=[record(b"late")]))
    rows, _ = await newer.unsettled(1)
    assert (list(rows), await newer.own_progress()) == ([row(1)], Progress(1, None, 1))
    assert await site.values(f"subscribers.{ALL}") == []


async def answers(site: Site, *values: bytes) -> None:
    for value in values:
        await site.append(TopicPartition(site.names.acks(ALL), 0), value, HERE, [("h", value)])


async def test_answers_come_in_order_and_no_more_than_are_asked_for(site: Site) -> None:
    log = await site.delivering()
    await answers(site, b"0", b"1", b"2")
    found, following, is_end = await log.acks(0, 2)
    assert [(each.offset, each.key, each.value, list(each.headers)) for each in found] == [
        (at, HERE, b"%d" % at, [("h", b"%d" % at)]) for at in range(2)
    ]
    assert (following, is_end) == (2, False)
    found, following, _ = await log.acks(following, 10)
    assert ([each.value for each in found], following) == ([b"2"], 3)
    assert await log.acks(following, 10) == ([], 3, True)


async def test_where_answers_expired_it_is_gone_on_with_the_first_that_is_there(site: Site) -> None:
    log = await site.delivering()
    await answers(site, b"0", b"1", b"2")
    await site.expire(TopicPartition(site.names.acks(ALL), 0), 2)
    found, following, _ = await log.acks(0, 10)
    assert ([(each.offset, each.value) for each in found], following) == ([(2, b"2")], 3)


async def test_of_a_subscription_without_topics_it_is_said_what_to_do(site: Site) -> None:
    log = await site.delivering(GONE)
    asks: Sequence[Any] = (
        log.unsettled(1),
        log.acks(0, 10),
        log.deliver(deliver(1, row(1))),
        log.deliver(deliver(1, records=[record(b"v")])),
    )
    for ask in asks:
        with pytest.raises(TargetError, match="make it by putting the subscription again"):
            await ask
    assert await log.own_progress() is None


async def test_of_a_topic_with_fewer_partitions_than_the_journal_it_is_said_what_to_do(site: Site) -> None:
    log = await site.delivering(NARROW, partition=1)
    with pytest.raises(TargetError, match="has 1 partitions, and the journal more"):
        await log.unsettled(1)
