"""Faust's transport with what a journal needs changed: whole fetches as one message, read_committed, one event loop.

Faust's own consumer hands every record to its agent by itself, through a thread and two tasks: 770 to 1,070 µs of CPU
each (measured). Here a partition's fetch is one message, and the consumer runs in the worker's event loop, so that a
fetch waits for no other thread's turn. The offsets belong to the shards: Faust commits none, and seeks none.
"""

from __future__ import annotations

import asyncio
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import faust
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.errors import OffsetOutOfRangeError
from aiokafka.structs import TopicPartition
from faust.events import Event
from faust.transport.consumer import ensure_TPset
from faust.transport.drivers import aiokafka as driver
from faust.types import ConsumerMessage
from mode import Service

from annals.agents.ports import Delivery
from annals.workers.kafka.group.active_partitions import ActivePartitions, FetchInterval
from annals.workers.kafka.group.header_names import Unreadable, carried_alone, reading_consumer, undressed
from annals.workers.kafka.group.membership import REBALANCE_TIMEOUT_MS, SESSION_TIMEOUT_MS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Collection, Iterable, Mapping
    from contextlib import AbstractContextManager

    from aiokafka import AIOKafkaConsumer

    from annals.workers.kafka.group.assignor import BalancedAssignor
    from annals.workers.kafka.group.membership import Membership
    from annals.workers.kafka.group.sources import Sources

HEARTBEAT_INTERVAL_MS: Final = 2_000
MAX_POLL_INTERVAL_MS: Final = 300_000
FETCH_MAX_WAIT_MS: Final = 500
FETCH_BYTES: Final = 1 << 20  # per partition and fetch: some 4,000 commands
RETRY_BACKOFF_MS: Final = 10
FETCH_RECORDS: Final = 4_000
FETCH_TIMEOUT_S: Final = 1.0
IDLE_POLL_S: Final = 0.5
FETCHING: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "enable_auto_commit": False,
        "isolation_level": "read_committed",  # what a producer aborted is not a command
        "auto_offset_reset": "none",  # an offset that is gone means records that expired: the shard says what then
        "fetch_max_wait_ms": FETCH_MAX_WAIT_MS,
        "max_partition_fetch_bytes": FETCH_BYTES,
        "retry_backoff_ms": RETRY_BACKOFF_MS,
        "value_deserializer": undressed,
    }
)
"""How a consumer fetches whose records go to shards, one of the group's or one outside of it."""
JOURNALS: Final[Mapping[str, Any]] = MappingProxyType({**FETCHING, "value_deserializer": carried_alone})
"""The same for shards that fold journals."""
JOURNAL_INTERVAL_S: Final = 0.01
BUSY_JOURNAL_INTERVAL_S: Final = 0.02  # at 1,000 events/s twenty come with a fetch instead of two or three


class GroupConsumer(Service):
    """The group's membership and fetches: stands where Faust has its consumer thread, in the worker's own loop."""

    abstract = False

    def __init__(
        self,
        consumer: Consumer,
        options: Mapping[str, Any],
        sources: Sources,
        membership: Membership,
        assignor: type[BalancedAssignor],
        **kwargs: Any,
    ) -> None:
        """Take Faust's consumer, aiokafka options of the connection, the sources, and the membership to keep."""
        super().__init__(**kwargs)
        self.consumer = consumer
        self.app = consumer.app
        self._options = options
        self._sources = sources
        self._membership = membership
        self._assignor = assignor
        self._interval = FetchInterval(JOURNAL_INTERVAL_S, BUSY_JOURNAL_INTERVAL_S)
        self._aiokafka: AIOKafkaConsumer | None = None

    async def on_start(self) -> None:
        """Connect, and join nothing yet: that begins with `subscribe`."""
        self._aiokafka = reading_consumer(
            **self._options,
            group_id=self._membership.group,
            group_instance_id=self._membership.instance_id,
            partition_assignment_strategy=[self._assignor],
            session_timeout_ms=self._membership.session_timeout_ms or SESSION_TIMEOUT_MS,
            heartbeat_interval_ms=HEARTBEAT_INTERVAL_MS,
            rebalance_timeout_ms=REBALANCE_TIMEOUT_MS,
            max_poll_interval_ms=MAX_POLL_INTERVAL_MS,
            **(JOURNALS if self._sources.of_journals else FETCHING),
        )
        await self._aiokafka.start()
        self._aiokafka._fetcher.active_partitions = ActivePartitions()  # noqa: SLF001 - of all consumers only this one needs it
        if self._sources.of_journals:
            self._aiokafka._fetcher.interval = self._interval  # noqa: SLF001 - the same
        self._aiokafka._coordinator.membership = self._membership  # noqa: SLF001 - the same
        self._sources.attach(self._aiokafka)

    async def on_stop(self) -> None:
        """Leave the group and disconnect."""
        if self._aiokafka is not None:
            await self._aiokafka.stop()

    def started_consumer(self) -> AIOKafkaConsumer:
        """Return the aiokafka consumer once it has started."""
        if self._aiokafka is None:
            raise RuntimeError("the consumer has not been started")
        return self._aiokafka

    async def subscribe(self, topics: Iterable[str]) -> None:
        """Join the group for these topics."""
        self.started_consumer().subscribe(topics=set(topics), listener=RebalanceListener(self, self._sources))

    async def fetch(self) -> dict[TopicPartition, list[Any]]:
        """Return the records fetched from the open partitions; wait up to a second for the first one.

        A partition with an empty list: the topic does not have its position any more, and its shard opens again.

        Raises:
            RuntimeError: a task of aiokafka has ended, or the consumer was not started.
        """
        fetched = await fetched_by(self.started_consumer(), self._sources.open)
        self._interval.note_records(sum(map(len, fetched.values())))
        return fetched

    def polling(self) -> AbstractContextManager[None]:
        """Return a context that counts as polling: whoever does not poll for long has to leave the group."""
        return _polling(self.started_consumer())

    def assignment(self) -> Any:
        """Return the partitions that are assigned now."""
        return ensure_TPset(self.started_consumer().assignment())

    async def seek_to_committed(self) -> dict[Any, int]:
        """Seek nothing: where a shard goes on is the shard's to say."""
        return {}

    async def commit(self, offsets: Mapping[Any, int]) -> bool:  # noqa: ARG002 - Faust's signature
        """Commit nothing: offsets are committed by the shards' transactions."""
        return False

    def highwater(self, tp: Any) -> int:
        """Return the last known high watermark."""
        return self.started_consumer().highwater(tp) or 0

    def topic_partitions(self, topic: str) -> int | None:
        """Return the number of partitions of a topic, if known."""
        found = self.started_consumer().partitions_for_topic(topic)
        return len(found) if found is not None else None

    def close(self) -> None:
        """Close nothing early: `on_stop` leaves the group in order."""


async def fetched_by(
    consumer: AIOKafkaConsumer, partitions: Collection[TopicPartition]
) -> dict[TopicPartition, list[Any]]:
    """Return the records that a consumer fetched from partitions; wait up to a second for the first one.

    A partition with an empty list: the topic does not have its position any more, and its shard opens again.

    Raises:
        RuntimeError: a task of aiokafka has ended.
    """
    _require_alive(consumer)
    fetcher = consumer._fetcher  # noqa: SLF001 - as Faust's own driver does: the public call looks at all partitions
    with _polling(consumer):
        try:
            fetched: dict[TopicPartition, list[Any]] = await fetcher.fetched_records(
                partitions, timeout=FETCH_TIMEOUT_S, max_records=FETCH_RECORDS
            )
        except OffsetOutOfRangeError as error:
            return {partition: [] for partition in error.args[0]}
    return fetched


def deliveries_of(fetched: Mapping[TopicPartition, list[Any]], sources: Sources) -> list[Delivery]:
    """Return what a fetch brought, by partition, for the shards; their sources take note of it."""
    damage = {
        partition: records.pop()
        for partition, records in fetched.items()
        if records and type(records[-1]) is Unreadable
    }
    sources.note_fetch(fetched, {partition: each.offset for partition, each in damage.items()})
    return [
        Delivery(tp.topic, tp.partition, sources.generation(tp), records, damage[tp].reason if tp in damage else "")
        for tp, records in fetched.items()
    ]


def _require_alive(consumer: AIOKafkaConsumer) -> None:
    """Raise what ended one of aiokafka's own tasks: without it nothing would be fetched, and nothing said."""
    for task in (consumer._fetcher._fetch_task, consumer._client._sync_task):  # noqa: SLF001 - it tells nobody
        if task.done() and not consumer._closed:  # noqa: SLF001
            raise RuntimeError(f"aiokafka's task {task.get_coro().__qualname__} ended: {_reason(task)}")


def _polling(consumer: AIOKafkaConsumer) -> AbstractContextManager[None]:
    polling: AbstractContextManager[None] = consumer._subscription.fetch_context()  # noqa: SLF001
    return polling


def _reason(task: asyncio.Task[None]) -> str:
    error = None if task.cancelled() else task.exception()
    return "cancelled" if error is None else repr(error.__cause__ or error)


class RebalanceListener(ConsumerRebalanceListener):
    """Tells Faust of a rebalance, and holds every partition until its shard is open."""

    def __init__(self, group: GroupConsumer, sources: Sources) -> None:
        """Take the group's consumer and its sources."""
        self._group = group
        self._sources = sources

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> Awaitable[None]:
        """Tell Faust, first of all that a rebalance has begun."""
        self._group.app.on_rebalance_start()
        return self._group.consumer.on_partitions_revoked(ensure_TPset(revoked))  # type: ignore[no-any-return]

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Hold the new partitions, and tell Faust."""
        self._sources.reassign()
        generation = self._group.started_consumer()._coordinator.generation  # noqa: SLF001 - as Faust's driver does
        self._group.app.consumer_generation_id = generation
        await self._group.consumer.on_partitions_assigned(ensure_TPset(assigned), generation)


class Consumer(driver.Consumer):
    """Faust's consumer, delivering fetches whole."""

    def _new_consumer_thread(self) -> GroupConsumer:
        app = self.app
        return GroupConsumer(
            self,
            app.consumer_options,
            app.sources,
            app.membership,
            app.group_assignor,
            loop=self.loop,
            beacon=self.beacon,
        )

    async def _drain_messages(self, fetcher: Any) -> None:
        """Hand each open partition's fetch to its agent, as one message, until stopped."""
        try:
            await self._drain(fetcher)
        except asyncio.CancelledError:
            # Faust takes one that meets a rebalance for a crash, also when that is how it stops its fetcher
            if not fetcher._stopped.is_set():  # noqa: SLF001
                raise

    async def _drain(self, fetcher: Any) -> None:
        sources: Sources = self.app.sources
        while not (self._stopped.is_set() or fetcher._stopped.is_set()):  # noqa: SLF001 - Faust's own loop does the same
            if not self.flow_active or not sources.open:
                with self._thread.polling():  # a worker in reserve, or one that folds, has no open source for long
                    await self._wait_for_work(sources)
                continue
            fetched = await self._thread.fetch()
            # no await between the fetch and this: a seek cannot come between records and their generation
            for delivery in deliveries_of(fetched, sources):
                await self.callback(self._message(delivery))

    async def _wait_for_work(self, sources: Sources) -> None:
        waited: asyncio.Event = sources.changed if self.flow_active else self.can_resume_flow
        if waited is sources.changed:
            waited.clear()
        try:
            async with asyncio.timeout(IDLE_POLL_S):
                await waited.wait()
        except TimeoutError:
            return

    def _message(self, delivery: Delivery) -> ConsumerMessage:
        topic, partition, _, records, _ = delivery
        offset, timestamp = (records[-1].offset, records[-1].timestamp) if records else (-1, 0)
        return ConsumerMessage(
            topic,
            partition,
            offset,
            timestamp / 1000,
            None,
            (),
            None,
            delivery,
            None,
            0,
            0,
            TopicPartition(topic, partition),
            generation_id=self.app.consumer_generation_id,
        )

    def verify_event_path(self, now: float, tp: Any) -> None:
        """Look for no livelock here: `annals_lag` and readiness say it, per shard."""

    def verify_recovery_event_path(self, now: float, tp: Any) -> None:
        """See `verify_event_path`."""


class Transport(driver.Transport):
    """Faust's aiokafka transport with our consumer."""

    Consumer = Consumer


class DeliverySchema(faust.Schema):
    """Leaves a delivery as it is."""

    def compile(self, app: Any, **_: Any) -> Any:
        """Return the function that makes a message an event."""

        async def decode(message: ConsumerMessage, **_: Any) -> Event:
            return Event(app, None, message.value, (), message)

        return decode
