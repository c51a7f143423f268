"""What is parked of a subscription, and what an administrator has become of it.

The rows in `deliveries.<name>` say what is parked; `parked.<name>` has it as it was delivered last, in the order of
parking, for as long as that topic keeps it. Whoever replays or discards takes the delivery shard's own transactional
id, reads the rows again behind the fence and writes what is still parked as waiting, or as discarded. The shard is
fenced by that, opens again, and goes on with the rows that it finds: so each decision is made once, by however many
administrators and through whatever kills.
"""

from __future__ import annotations

from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from aiokafka.structs import TopicPartition

from annals.agents.backoff import Backoff
from annals.agents.ports import FencedError, UncertainError, UnreachableError
from annals.agents.publishing.administration import all_kinds_of
from annals.agents.publishing.delivering.choosing import FIRST, Place
from annals.agents.publishing.delivering.ports import ROWS_A_TURN, DeliveryWrites
from annals.agents.publishing.ports import TargetError
from annals.agents.waiting import in_turns
from annals.schemas.delivery import PARKED, discarded, replayed, row_key
from annals.schemas.values.moments import unix_ms
from annals.topics.headers import decimal_header
from annals.workers.clock import SystemClock
from annals.workers.kafka.connections import look_for
from annals.workers.kafka.protocol.record_batches import headers_of
from annals.workers.kafka.read.settled_ends import records_until, settled_end
from annals.workers.publishing.delivery_log import KafkaDeliveryLogs
from annals.workers.publishing.delivery_rows import read_rows, unsettled_rows
from annals.workers.publishing.kafka_subscriptions import KafkaSubscriptions
from annals.workers.publishing.parked_list import ParkedList
from annals.workers.publishing.places import connected
from annals.workers.publishing.subscriptions_topic import read_known, there

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Iterable, Iterator, Mapping

    from aiokafka.client import AIOKafkaClient

    from annals.agents.deciding.decider import Decider
    from annals.agents.ports import Clock
    from annals.agents.publishing.delivering.choosing import Choice, Parked
    from annals.agents.publishing.ports import Kept
    from annals.schemas.delivery import Row
    from annals.schemas.progress import Progress
    from annals.workers.publishing.compacted_views import CompactedViews
    from annals.workers.publishing.delivery_log import KafkaDeliveryLog
    from annals.workers.publishing.parked_list import Found
    from annals.workers.settings import Settings

    Decide = Callable[[Row, int], Row | None]
    Attempt = tuple[str, int]  # CID and attempt: an event is parked once by each

ROWS: Final = 1_000  # of one transaction
ATTEMPTS: Final = 20  # in a row that decide nothing
FIRST_RETRY_S: Final = 0.05
LAST_RETRY_S: Final = 2.0


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

    async def replay(self, name: str, choice: Choice, stop_at: int | None, by: str) -> int:
        """Have what is parked delivered again; return how many events.

        stop_at: only those whose record in `parked.<name>` is before this offset.

        Raises:
            Refused: there is no such subscription (404).
            JournalError, KafkaError: it cannot be done now; what was done by then stays so.
        """
        return await self._decide(name, choice, stop_at, lambda row, now: replayed(row, now, by))

    async def discard(self, name: str, choice: Choice, stop_at: int | None, by: str, reason: str) -> int:
        """Give up what is parked, and let the next events of the aggregates go; see `replay`."""
        return await self._decide(name, choice, stop_at, lambda row, now: discarded(row, now, by, reason))

    async def _decide(self, name: str, choice: Choice, stop_at: int | None, decide: Decide) -> int:
        async with self._subscription(name) as (client, kept):
            kinds = all_kinds_of(kept.record, self._deciders)
            done = 0
            for partition in _partitions(client, self._names.deliveries(name)):
                later = await self._parked_from(client, name, partition, stop_at)
                rows = await self._rows(client, name, partition, kept, choice)
                wanted = await _by_kind(rows, kinds, later)
                del rows  # they are read again behind the fence
                for kind, of_kind in wanted.items():
                    if of_kind:
                        writer = self._writer(name, kind, partition)
                        done += await _decide_in(writer, of_kind, decide, self._clock)
            return done

    def _writer(self, name: str, kind: str, partition: int) -> KafkaDeliveryLog:
        """Return a writer of the rows of one journal partition, by its delivery shard's transactional id."""
        options, app_id, codec = self._options, self._settings.app_id, self._settings.compression
        return KafkaDeliveryLogs(options, self._names, app_id, kind, partition, partition + 1, codec).delivering(name)

    async def _parked_from(
        self, client: AIOKafkaClient, name: str, partition: int, stop_at: int | None
    ) -> Collection[Attempt]:
        if stop_at is None:
            return ()
        where = TopicPartition(self._names.parked(name), partition)
        end = await settled_end(client, where)
        if stop_at >= end:
            return ()
        return {_attempt(section) async for *_, section in records_until(client, where, stop_at, end)}

    async def _rows(
        self, client: AIOKafkaClient, name: str, partition: int, kept: Kept, choice: Choice
    ) -> dict[Attempt, Row]:
        """Return the parked rows of a partition that are meant; no others are in memory meanwhile."""

        def meant(row: Row) -> Row | None:
            return row if row.incarnation == kept.record.incarnation and choice.has(row) else None

        where = TopicPartition(self._names.deliveries(name), partition)
        rows = await read_rows(client, where, meant, is_settled=False)
        found: dict[Attempt, Row] = {}
        async for some in in_turns(rows.values(), ROWS_A_TURN):
            found |= {_attempt_of(row): row for row in some}
        return found

    @asynccontextmanager
    async def _subscription(self, name: str) -> AsyncIterator[tuple[AIOKafkaClient, Kept]]:
        async with connected(self._options, self._names.subscriptions) as client:
            known = await read_known(client, self._names, self._views, is_settled=False)
            kept = there(known, name)
            await look_for(client, [self._names.deliveries(name), self._names.parked(name)])
            yield client, kept


async def _by_kind(
    rows: Mapping[Attempt, Row], kinds: Iterable[str], later: Collection[Attempt]
) -> dict[str, set[Attempt]]:
    """Return the attempts of rows by the kinds that count, without those that were parked later."""
    wanted: dict[str, set[Attempt]] = {kind: set() for kind in kinds}
    async for some in in_turns(rows.items(), ROWS_A_TURN):
        for attempt, row in some:
            if attempt not in later and row.kind in wanted:
                wanted[row.kind].add(attempt)
    return wanted


async def _decide_in(writer: KafkaDeliveryLog, wanted: set[Attempt], decide: Decide, clock: Clock) -> int:
    """Decide about rows of one journal partition, as its only writer; return how many were decided here."""
    backoff = Backoff(FIRST_RETRY_S, LAST_RETRY_S)
    count = len(wanted)
    others: set[Attempt] = set()  # decided by somebody else
    try:
        attempts, left = 0, len(wanted)
        while attempts < ATTEMPTS:
            attempts += 1
            under_way: list[Row] = []
            try:
                await writer.fence()
                rows = await _still_parked(writer, wanted)
                others |= wanted - set(map(_attempt_of, rows))
                wanted -= others
                # Nobody else writes it from the fence on, and each of these transactions leaves it as it is.
                progress = await writer.own_progress() if rows else None
                for some in _some_at_a_time(rows):
                    now = unix_ms(clock.now())
                    under_way = [made for row in some if (made := decide(row, now)) is not None]
                    await _write(writer, under_way, progress, now)
                    wanted.difference_update(map(_attempt_of, under_way))
            except FencedError:
                await backoff.wait()
            except UncertainError:
                await writer.fence()  # then it is known which of these are decided by that transaction
                wanted.difference_update(map(_attempt_of, await writer.written(under_way)))
            if not wanted:
                return count - len(others)
            if len(wanted) < left:
                attempts, left = 0, len(wanted)
                backoff.reset()
        raise UnreachableError("others write the rows of this subscription all the time")
    except TargetError as error:
        raise UnreachableError(str(error)) from error
    finally:
        await writer.close()


async def _still_parked(writer: KafkaDeliveryLog, attempts: Collection[Attempt]) -> list[Row]:
    return await writer.rows(lambda row: _is_open(row, attempts))


async def _write(writer: KafkaDeliveryLog, rows: list[Row], progress: Progress | None, now: int) -> None:
    if progress is None:
        raise UnreachableError("the progress of the subscription is not there, and its rows are")
    await writer.deliver(DeliveryWrites({row_key(row): row for row in rows}, progress, now))


def _partitions(client: AIOKafkaClient, topic: str) -> list[int]:
    """Return the partitions of a topic; none where it is not there: a stream parks nothing."""
    return sorted(client.cluster.partitions_for_topic(topic) or ())


def _is_open(row: Row, wanted: Collection[Attempt]) -> bool:
    return row.state == PARKED and _attempt_of(row) in wanted


def _attempt_of(row: Row) -> Attempt:
    return (row.cid, row.attempt)


def _some_at_a_time(rows: list[Row]) -> Iterator[list[Row]]:
    for begin in range(0, len(rows), ROWS):
        yield rows[begin : begin + ROWS]


def _attempt(section: bytes) -> Attempt:
    """Return which event a record of `parked.<name>` is, and by which attempt; nothing that there is if it is none."""
    try:
        headers = headers_of(section)
    except ValueError:
        return ("", 0)
    return ((dict(headers).get("ce_id") or b"").decode(errors="replace"), decimal_header(headers, "attempts") or 0)
