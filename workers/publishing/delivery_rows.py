"""What is not settled with a subscriber, as its topic has it."""

from __future__ import annotations

from collections import Counter
from contextlib import aclosing
from heapq import merge
from operator import attrgetter
from sys import getsizeof
from typing import TYPE_CHECKING, Generic, TypeVar

from msgspec import Struct

from annals.agents.publishing.delivering.ports import ROWS_A_TURN, Unsettled
from annals.agents.waiting import in_turns
from annals.schemas.delivery import IN_FLIGHT, PARKED, decode_row
from annals.workers.kafka.read.invalid_records import PASSED_OVER
from annals.workers.kafka.read.ranges import bounds
from annals.workers.kafka.read.settled_ends import records_until, settled_end

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping, Sequence

    from aiokafka.client import AIOKafkaClient
    from aiokafka.structs import TopicPartition

    from annals.schemas.delivery import Row
    from annals.workers.kafka.protocol.record_batches import Record
    from annals.workers.kafka.read.invalid_records import InvalidRecords
    from annals.workers.publishing.compacted_views import CompactedViews


T = TypeVar("T")


class Kept(Generic[T]):
    """What is kept of each row: of all that come under a key, the newest."""

    def __init__(self, keep: Callable[[Row], T | None]) -> None:
        """Take what returns that; None: nothing."""
        self._keep = keep
        self.rows: dict[bytes, T] = {}

    def put(self, key: bytes, row: Row | None) -> None:
        """Take the next record; None: it is settled."""
        kept = None if row is None else self._keep(row)
        if kept is None:
            self.rows.pop(key, None)
        else:
            self.rows[key] = kept


async def records_of(
    client: AIOKafkaClient, where: TopicPartition, *, is_settled: bool, invalid: InvalidRecords = PASSED_OVER
) -> AsyncGenerator[tuple[bytes, Row | None], None]:
    """Yield the records of a partition of `deliveries.<name>`, of all kinds: key and row, None where it is settled.

    is_settled: wait until no transaction that has begun is open; else what is committed before the first of them.
    invalid: takes note of records that are none.
    """
    end = await settled_end(client, where) if is_settled else (await bounds(client, [where]))[where][1]
    async for _, key, row in rows_between(client, where, -1, end, invalid):
        yield key, row


async def rows_between(
    client: AIOKafkaClient, where: TopicPartition, start: int, end: int, invalid: InvalidRecords = PASSED_OVER
) -> AsyncGenerator[tuple[int, bytes, Row | None], None]:
    """Yield the committed records from an offset (-1: the first) to below another one: offset, key and row."""
    async with aclosing(records_until(client, where, start, end)) as records:
        async for offset, key, value, _ in records:
            if value is None:
                yield offset, key or b"", None
                continue
            try:
                row = decode_row(key, value)
            except ValueError as error:  # whoever wrote it: nothing is known by it
                invalid.note(where, offset, str(error))
                continue
            yield offset, key or b"", row


def is_row_of(kind: str, _: int, record: Record) -> bool:
    """Return whether a record may be of a kind: a tombstone under a CID may be of any."""
    key, value = record[1:3]
    if b"/" in (key or b""):
        return (key or b"").startswith(f"{kind}/".encode())
    try:
        return value is None or decode_row(key, value).kind == kind
    except ValueError:
        return False


async def read_rows(
    client: AIOKafkaClient,
    where: TopicPartition,
    keep: Callable[[Row], T | None],
    *,
    is_settled: bool = True,
    invalid: InvalidRecords = PASSED_OVER,
) -> dict[bytes, T]:
    """Return what is kept of the rows of a partition by key; see `records_of`."""
    kept = Kept(keep)
    async for key, row in records_of(client, where, is_settled=is_settled, invalid=invalid):
        kept.put(key, row)
    return kept.rows


async def read_unsettled(
    client: AIOKafkaClient, where: TopicPartition, kind: str, incarnation: int, invalid: InvalidRecords = PASSED_OVER
) -> Unsettled:
    """Return what is not settled in one journal partition."""

    def is_ours(row: Row) -> bool:
        return row.kind == kind and row.incarnation == incarnation

    rows = Kept(lambda row: row if is_ours(row) and row.state != PARKED else None)
    parked = Kept(lambda row: row.at if is_ours(row) and row.state == PARKED else None)
    async for key, row in records_of(client, where, is_settled=True, invalid=invalid):
        rows.put(key, row)
        parked.put(key, row)
    # Sorted in runs, which are merged while they are taken up: a sort of all would be one long turn.
    by_offset = attrgetter("offset")
    runs = [sorted(some, key=by_offset) async for some in in_turns(rows.rows.values(), ROWS_A_TURN)]
    return Unsettled(merge(*runs, key=by_offset), parked.rows)


class UnsettledRow(Struct, frozen=True, gc=False):
    """What is kept of a row between requests: what is counted and chosen by. event: `event_hash` of its CID."""

    kind: str
    offset: int
    state: str
    incarnation: int
    event: int
    attempt: int
    type: str
    reason: str | None
    at: int


def event_hash(cid: str) -> int:
    """Return what is kept of a CID, a third of its size: the same for the same CID in one process."""
    return hash(cid)


def unsettled_row(key: bytes | None, value: bytes, _offset: int) -> UnsettledRow:
    """Return what is kept of a record; ValueError: it is no row."""
    row = decode_row(key, value)
    event = event_hash(row.cid)
    return UnsettledRow(
        row.kind, row.offset, row.state, row.incarnation, event, row.attempt, row.type, row.reason, row.at
    )


def _reason_bytes(row: UnsettledRow) -> int:
    """Return what a row holds beside what all do: a subscriber may give up to 1,000 characters."""
    return 0 if row.reason is None else getsizeof(row.reason)


async def unsettled_rows(
    views: CompactedViews, client: AIOKafkaClient, topic: str, *, is_settled: bool = True
) -> Sequence[Mapping[bytes, UnsettledRow]]:
    """Return by partition what is kept of the rows of `deliveries.<name>` by key; see `CompactedViews.rows`."""
    return await views.rows(client, topic, unsettled_row, more=_reason_bytes, is_settled=is_settled)


async def first_unsettled(
    views: CompactedViews, client: AIOKafkaClient, topic: str, incarnation: int
) -> dict[tuple[str, int], int]:
    """Return the least journal offset that is not settled, by kind and partition; none where the topic is not there."""
    found: dict[tuple[str, int], int] = {}
    for partition, rows in enumerate(await unsettled_rows(views, client, topic)):
        for row in rows.values():
            if row.incarnation == incarnation:
                place = row.kind, partition
                found[place] = min(row.offset, found.get(place, row.offset))
    return found


async def count_rows(views: CompactedViews, client: AIOKafkaClient, topic: str, incarnation: int) -> dict[str, int]:
    """Return how many events are not settled in all, in flight and parked; nothing where the topic is not there."""
    counts: Counter[str] = Counter()
    for rows in await unsettled_rows(views, client, topic, is_settled=False):
        counts.update(row.state for row in rows.values() if row.incarnation == incarnation)
    return {"unsettled": counts.total(), "in_flight": counts[IN_FLIGHT], "parked": counts[PARKED]}
