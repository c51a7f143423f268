"""What is parked of a subscription, and what an administrator has become of it.

The rows in `deliveries.<name>` say what is parked; `parked.<name>` has it as it was delivered last, in the order of
parking, for as long as that topic keeps it. Whoever replays or discards takes the delivery shard's own transactional
id, reads behind the fence what came since, and writes what is still parked as waiting, or as discarded. The shard is
fenced by that, opens again, and goes on with the rows that it finds: so each decision is made once, by however many
administrators and through whatever kills.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any

from aiokafka.structs import TopicPartition

from annals.agents.publishing.administration import all_kinds_of
from annals.agents.publishing.delivering.choosing import FIRST, Meant, Place
from annals.schemas.delivery import discarded, replayed
from annals.topics.headers import decimal_header
from annals.workers.clock import SystemClock
from annals.workers.kafka.connections import look_for
from annals.workers.kafka.protocol.record_batches import headers_of
from annals.workers.kafka.read.ranges import bounds
from annals.workers.kafka.read.settled_ends import records_until, settled_bounds, settled_end
from annals.workers.publishing.delivery_log import KafkaDeliveryLogs
from annals.workers.publishing.delivery_rows import event_hash, unsettled_rows
from annals.workers.publishing.kafka_subscriptions import KafkaSubscriptions
from annals.workers.publishing.parked_decisions import Decisions, places_of, rows_at
from annals.workers.publishing.parked_list import ParkedList
from annals.workers.publishing.places import connected
from annals.workers.publishing.subscriptions_topic import read_known, there

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Mapping

    from aiokafka.client import AIOKafkaClient

    from annals.agents.deciding.decider import Decider
    from annals.agents.ports import Clock
    from annals.agents.publishing.delivering.choosing import Choice, Parked
    from annals.agents.publishing.ports import Kept
    from annals.schemas.delivery import Row
    from annals.workers.publishing.compacted_views import CompactedViews
    from annals.workers.publishing.delivery_log import KafkaDeliveryLog
    from annals.workers.publishing.parked_decisions import Decide, Places
    from annals.workers.publishing.parked_list import Found
    from annals.workers.settings import Settings

    Attempt = tuple[int, int]  # hash of the CID, and attempt: an event is parked once by each
    Told = Callable[[int], object]
    Before = Callable[[], Awaitable[object]]


class ParkedService(KafkaSubscriptions):
    """Lists what is parked, replays and discards it."""

    def __init__(
        self,
        settings: Settings,
        options: Mapping[str, Any],
        deciders: Mapping[str, Decider[Any]],
        views: CompactedViews | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Take what `KafkaSubscriptions` takes, and the clock that says when a decision is made."""
        super().__init__(settings, options, deciders, views)
        self._clock = clock or SystemClock()

    async def page(self, name: str, choice: Choice, begin: Place, limit: int) -> tuple[list[Parked], Place | None]:
        """Return some parked events from a place on, and where the next page begins; None: there are no more.

        Raises:
            Refused: there is no such subscription (404).
            JournalError, KafkaError: Kafka does not give what it has.
        """
        found: list[Parked] = []
        async with aclosing(self.all(name, choice, begin)) as all_parked:
            async for each in all_parked:
                if len(found) == limit:
                    return found, each.place
                found.append(each.parked)
        return found, None

    async def all(self, name: str, choice: Choice, begin: Place = FIRST) -> AsyncGenerator[Found, None]:
        """Yield parked events, those of a partition in the order in which they were parked."""
        async with self._subscription(name) as (client, kept):
            topic, parked = self._names.deliveries(name), self._names.parked(name)
            every = await unsettled_rows(self._views, client, topic, is_settled=False)
            for partition, rows in enumerate(every):
                if partition < begin.partition:
                    continue
                start = begin if partition == begin.partition else Place(partition)
                wheres = TopicPartition(topic, partition), TopicPartition(parked, partition)
                listed = ParkedList(client, rows, *wheres, choice, kept.record.incarnation)
                async with aclosing(listed.from_place(start)) as found:
                    async for each in found:
                        yield each

    async def meant(self, name: str, choice: Choice, stop_at: int | None, most: int) -> Meant | None:
        """Return which events are meant; None: they are no more than `most`.

        Raises:
            Refused: there is no such subscription (404).
            JournalError, KafkaError: Kafka does not give what it has.
        """
        count = 0
        async with self._subscription(name) as (client, kept):
            topic, parked = self._names.deliveries(name), self._names.parked(name)
            stops = await self._stops(client, name, stop_at)
            every = await unsettled_rows(self._views, client, topic, is_settled=False)
            for partition, (rows, stop) in enumerate(zip(every, stops, strict=False)):
                wheres = TopicPartition(topic, partition), TopicPartition(parked, partition)
                here = [
                    row async for _, row in ParkedList(client, rows, *wheres, choice, kept.record.incarnation).meant()
                ]
                later = await self._parked_from(client, name, partition, stop)
                count += sum((row.event, row.attempt) not in later for row in here)
            if count > most and choice.aggregate_id is not None:  # what is kept of rows may not tell of which they are
                found = [await self._places(client, kept, choice, *each) for each in enumerate(stops)]
                count = sum(len(places) for by_kind, _ in found for places in by_kind.values())
        return Meant(count, stops, kept.record.incarnation) if count > most else None

    async def replay(
        self,
        name: str,
        choice: Choice,
        stop_at: int | Sequence[int] | None,
        by: str,
        told: Told = int,
        before: Before | None = None,
    ) -> int:
        """Have what is parked delivered again; return how many events.

        stop_at: only those whose record in `parked.<name>` is before this offset, or before that of its partition.
        told: takes how many were decided about, again and again. before: what is done first, where any is meant.

        Raises:
            Refused: there is no such subscription (404).
            JournalError, KafkaError: it cannot be done now; what was done by then stays so.
        """
        return await self._decide(name, choice, stop_at, lambda row, now: replayed(row, now, by), told, before)

    async def discard(
        self,
        name: str,
        choice: Choice,
        stop_at: int | Sequence[int] | None,
        by: str,
        reason: str,
        told: Told = int,
        before: Before | None = None,
    ) -> int:
        """Give up what is parked, and let the next events of the aggregates go; see `replay`."""
        return await self._decide(name, choice, stop_at, lambda row, now: discarded(row, now, by, reason), told, before)

    async def _decide(
        self,
        name: str,
        choice: Choice,
        stop_at: int | Sequence[int] | None,
        decide: Decide,
        told: Told,
        before: Before | None,
    ) -> int:
        async with self._subscription(name) as (client, kept):
            kinds = all_kinds_of(kept.record, self._deciders)
            done = 0
            for partition, stop in enumerate(await self._stops(client, name, stop_at)):
                where = TopicPartition(self._names.deliveries(name), partition)
                by_kind, read_to = await self._places(client, kept, choice, partition, stop)
                for kind in kinds:
                    if places := by_kind.pop(kind, None):
                        if before is not None:
                            await before()
                            before = None
                        writer = self._writer(name, kind, partition)
                        decisions = Decisions(writer, places, read_to, decide, self._clock)
                        async with aclosing(_made(client, where, decisions, places)) as made:
                            async for count in made:
                                done += count
                                told(done)
            return done

    async def _places(
        self, client: AIOKafkaClient, kept: Kept, choice: Choice, partition: int, stop: int
    ) -> tuple[dict[str, Places], int]:
        """Return where the rows are that are meant in a partition (see `places_of`), and up to where this was read."""
        name = kept.record.definition.name
        where = TopicPartition(self._names.deliveries(name), partition)
        # Asked for before it is read what was parked later: a row that comes behind that would pass for an earlier one.
        read_to = (await bounds(client, [where]))[where][1]
        later = await self._parked_from(client, name, partition, stop)

        def is_meant(row: Row) -> bool:
            is_ours = row.incarnation == kept.record.incarnation
            return is_ours and choice.has(row) and _attempt_of(row) not in later

        return await places_of(client, where, read_to, is_meant), read_to

    async def _stops(self, client: AIOKafkaClient, name: str, stop_at: int | Sequence[int] | None) -> list[int]:
        """Return by partition the offset from which on nothing is meant: no later one than where the topic ends now.

        Of a stream there is no partition: it parks nothing.
        """
        partitions = sorted(client.cluster.partitions_for_topic(self._names.deliveries(name)) or ())
        if isinstance(stop_at, Sequence):
            return list(stop_at[: len(partitions)])
        ends = await settled_bounds(client, [TopicPartition(self._names.parked(name), each) for each in partitions])
        return [end if stop_at is None else min(stop_at, end) for _, (_, end) in sorted(ends.items())]

    def _writer(self, name: str, kind: str, partition: int) -> KafkaDeliveryLog:
        """Return a writer of the rows of one journal partition, by its delivery shard's transactional id."""
        options, app_id, codec = self._options, self._settings.app_id, self._settings.compression
        return KafkaDeliveryLogs(options, self._names, app_id, kind, partition, partition + 1, codec).delivering(name)

    async def _parked_from(
        self, client: AIOKafkaClient, name: str, partition: int, stop_at: int
    ) -> Collection[Attempt]:
        where = TopicPartition(self._names.parked(name), partition)
        end = await settled_end(client, where)
        if stop_at >= end:
            return ()
        return {_attempt(section) async for *_, section in records_until(client, where, stop_at, end)}

    @asynccontextmanager
    async def _subscription(self, name: str) -> AsyncIterator[tuple[AIOKafkaClient, Kept]]:
        async with connected(self._options, self._names.subscriptions) as client:
            known = await read_known(client, self._names, self._views, is_settled=False)
            kept = there(known, name)
            await look_for(client, [self._names.deliveries(name), self._names.parked(name)])
            yield client, kept


async def _made(
    client: AIOKafkaClient, where: TopicPartition, decisions: Decisions, places: Places
) -> AsyncGenerator[int, None]:
    """Decide about the rows of one journal partition that are at some places; yield how many were, some at a time."""
    try:
        async with aclosing(rows_at(client, where, places)) as lots:
            async for rows in lots:
                yield await decisions.make(rows)
    finally:
        await decisions.close()


def _attempt_of(row: Row) -> Attempt:
    return event_hash(row.cid), row.attempt


def _attempt(section: bytes) -> Attempt:
    """Return which event a record of `parked.<name>` is, and by which attempt; that of nothing where it is none."""
    try:
        headers = headers_of(section)
    except ValueError:
        return 0, 0
    cid = (dict(headers).get("ce_id") or b"").decode(errors="replace")
    return event_hash(cid), decimal_header(headers, "attempts") or 0
