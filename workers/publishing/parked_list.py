"""The parked events of one partition, in the order in which they were parked.

What is parked is known from a view that is kept between requests; `parked.<name>` says in which order, and where each
is. So a page reads what it shows of the one, and what came since the last request of the other.
"""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Final, NamedTuple

from aiokafka.errors import KafkaError

from annals.agents.publishing.delivering.choosing import Parked, Place, parked_of
from annals.agents.publishing.delivering.ports import ROWS_A_TURN
from annals.agents.publishing.delivering.records import moment_at
from annals.agents.waiting import in_turns
from annals.schemas.delivery import PARKED
from annals.schemas.values.moments import moment_of, recorded_at
from annals.topics.headers import decimal_header
from annals.workers.kafka.protocol.record_batches import headers_of
from annals.workers.kafka.read.offsets import LAST_STABLE, list_offsets
from annals.workers.kafka.read.ranges import bounds
from annals.workers.kafka.read.settled_ends import records_until, settled_end
from annals.workers.publishing.delivery_rows import event_hash, read_rows

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from aiokafka.client import AIOKafkaClient
    from aiokafka.structs import TopicPartition

    from annals.agents.publishing.delivering.choosing import Choice
    from annals.schemas.delivery import Row
    from annals.topics.headers import ReadHeaders
    from annals.workers.publishing.delivery_rows import UnsettledRow


FIRST_BYTES: Final = 16 << 10  # of a fetch for the first record alone
FEW: Final = 20  # events that are looked for by their times: each is a question to the brokers
NEAR: Final = 2_000  # records that are looked at behind a time: what one transaction may park
APART_MS: Final = 1_000  # between the clock of who parked and the brokers'


class Found(NamedTuple):
    """A parked event, its place, and its record as it was delivered last, if that is still there."""

    place: Place
    parked: Parked
    key: bytes | None = None
    value: bytes | None = None
    headers: bytes | None = None


class ParkedList:
    """What is parked in one partition, and meant."""

    def __init__(
        self,
        client: AIOKafkaClient,
        rows: Mapping[bytes, UnsettledRow],
        deliveries: TopicPartition,
        parked: TopicPartition,
        choice: Choice,
        incarnation: int,
    ) -> None:
        """Take the rows by key as they are known, which may go on to change, and the two partitions they are from."""
        self._client = client
        self._rows = rows
        self._deliveries = deliveries
        self._parked = parked
        self._choice = choice
        self._incarnation = incarnation
        self._events = None if choice.cids is None else frozenset(map(event_hash, choice.cids))

    async def from_place(self, begin: Place) -> AsyncGenerator[Found, None]:
        """Yield those from a place on: first those whose records are there no more, then by their records.

        Each is yielded once, as it was known when this began. No more is read than they need: mostly that is nothing,
        and the topic has 30 days of what was decided long ago.
        """
        meant = {key: row async for key, row in self.meant()}
        if not meant:
            return
        number, oldest = self._parked[1], await self._oldest()
        wanted = {
            key: row async for some in in_turns(meant.items(), ROWS_A_TURN) for key, row in some if row.at >= oldest
        }
        if len(wanted) < len(meant) and not begin.is_kept:
            for at, expired in enumerate(await self._expired(oldest)):
                if at >= begin.number:
                    yield Found(Place(number, 0, at), parked_of(expired, number, None))
        if not wanted:
            return
        start = begin.number if begin.is_kept else -1
        end = await settled_end(self._client, self._parked)
        if self._events is not None and len(wanted) <= FEW and (near := await self._near(wanted, end)) is not None:
            for each in sorted(near):
                if each.place.number >= start:
                    yield each
            return
        async with aclosing(records_until(self._client, self._parked, start, end)) as records:
            async for offset, key, value, section in records:
                if (parked := self._taken(wanted, section, offset)) is None:
                    continue
                yield Found(Place(number, 1, offset), parked, key, value, section)
                if not wanted:
                    return

    async def meant(self) -> AsyncGenerator[tuple[bytes, UnsettledRow], None]:
        """Yield the rows that are parked and meant, as far as they tell, as they were known when this began."""
        async with aclosing(in_turns(list(self._rows.items()), ROWS_A_TURN)) as turns:
            async for some in turns:
                for key, row in some:
                    if self._may_mean(key, row):
                        yield key, row

    async def _near(self, wanted: Mapping[bytes, UnsettledRow], end: int) -> list[Found] | None:
        """Return the wanted ones, where all are near the times of their rows; None: they must be looked for everywhere.

        The brokers stamp a record when it is written, a moment after the time in its row, by clocks of their own.
        """
        left, found = dict(wanted), list[Found]()
        for name, row in wanted.items():
            if name not in left:
                continue
            try:
                since = row.at - APART_MS
                start = (await list_offsets(self._client, LAST_STABLE, max(0, since), [self._parked]))[self._parked]
            except KafkaError:
                return None
            until = min(end, start + NEAR)
            if start < 0 or not await self._find(left, found, start, until, name):
                return None
        return found

    async def _find(
        self, left: dict[bytes, UnsettledRow], found: list[Found], start: int, end: int, name: bytes
    ) -> bool:
        """Move what is between two offsets from what is left to what is found, up to one; return whether that is."""
        async with aclosing(records_until(self._client, self._parked, start, end)) as records:
            async for offset, key, value, section in records:
                if (parked := self._taken(left, section, offset)) is not None:
                    found.append(Found(Place(self._parked[1], 1, offset), parked, key, value, section))
                if name not in left:
                    return True
        return False

    def _may_mean(self, key: bytes, row: UnsettledRow) -> bool:
        """Whether a row is parked and meant, as far as it tells: its aggregate may be known from its record alone."""
        if row.state != PARKED or row.incarnation != self._incarnation:
            return False
        if self._events is not None and row.event not in self._events:
            return False
        aggregate = self._choice.aggregate_id
        if aggregate is not None and b"/" in key and key != f"{row.kind}/{aggregate}".encode():
            return False
        return self._choice.suits(row)

    async def _oldest(self) -> int:
        """Return when the first record that is still there was parked; behind all, where there is none."""
        first, end = (await bounds(self._client, [self._parked]))[self._parked]
        async with aclosing(records_until(self._client, self._parked, first, end, FIRST_BYTES)) as records:
            async for *_, section in records:
                try:
                    return _parked_at(headers_of(section))
                except ValueError:  # nobody but a stranger wrote it
                    return 0
        return 1 << 62

    async def _expired(self, oldest: int) -> list[Row]:
        """Return the rows that were parked before that: they are read whole, since no record tells of them."""

        def meant(row: Row) -> Row | None:
            is_ours = row.incarnation == self._incarnation and row.at < oldest
            return row if is_ours and self._choice.has(row) else None

        rows = await read_rows(self._client, self._deliveries, meant, is_settled=False)
        return sorted(rows.values(), key=lambda row: (row.at, row.cid))

    def _taken(self, wanted: dict[bytes, UnsettledRow], section: bytes, offset: int) -> Parked | None:
        """Take out of the wanted ones that of a record; None: it is parked no more, by another attempt, or not meant.

        By the time of its parking, too: attempts of a former incarnation have the same numbers.
        """
        try:
            headers = headers_of(section)
            cid, aggregate_id = _text(headers, "ce_id"), _text(headers, "ce_subject")
            kind, version = _text(headers, "ce_source").removeprefix("/annals/"), int(_text(headers, "ce_sequence"))
            attempt = event_hash(cid), decimal_header(headers, "attempts"), _parked_at(headers)
        except ValueError:
            return None
        for key in (f"{kind}/{aggregate_id}".encode(), cid.encode()):
            row = wanted.get(key)
            if row is None or (row.event, row.attempt, row.at) != attempt:
                continue
            if self._choice.names(cid, aggregate_id):
                del wanted[key]
                at = recorded_at(moment_at(row.at))
                place = (self._parked[1], offset)
                return Parked(cid, kind, aggregate_id, version, row.type, row.reason, row.attempt, at, *place)
        return None


def _parked_at(headers: ReadHeaders) -> int:
    """Return when a record was parked, in milliseconds since 1970; ValueError: it does not say so."""
    return round(moment_of(_text(headers, "parked-at")).timestamp() * 1000)


def _text(headers: ReadHeaders, name: str) -> str:
    """Return a header; ValueError: it is not there, or no text."""
    value = dict(headers).get(name)
    if value is None:
        raise ValueError(f"it has no header {name}")
    return value.decode()
