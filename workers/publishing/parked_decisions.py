"""Deciding about what is parked in one journal partition, some rows at a time, by their only writer.

The rows of a partition are read twice: once to find which are meant, of which only keys and offsets are kept, and then
in the order of these offsets, ROWS at a time, to be written as they are decided. Somebody else may become the writer
between two of these transactions, most often the delivery shard that opens again: then this takes its id back, and
reads only what came since. What has another record by then was decided by somebody else, or by a transaction of ours
whose end was not known.
"""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Final

from annals.agents.backoff import Backoff
from annals.agents.ports import FencedError, UncertainError, UnreachableError
from annals.agents.publishing.delivering.ports import DeliveryWrites
from annals.agents.publishing.ports import TargetError
from annals.schemas.delivery import row_key
from annals.schemas.values.moments import unix_ms
from annals.workers.publishing.delivery_rows import rows_between

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping

    from aiokafka.client import AIOKafkaClient
    from aiokafka.structs import TopicPartition

    from annals.agents.ports import Clock
    from annals.schemas.delivery import Row
    from annals.schemas.progress import Progress
    from annals.workers.publishing.delivery_log import KafkaDeliveryLog

    Decide = Callable[[Row, int], Row | None]
    Places = dict[bytes, int]  # of rows: the offset of the newest record by its key

ROWS: Final = 1_000  # of one transaction
ATTEMPTS: Final = 20  # in a row that decide nothing
FIRST_RETRY_S: Final = 0.05
LAST_RETRY_S: Final = 2.0


async def places_of(
    client: AIOKafkaClient, where: TopicPartition, end: int, is_meant: Callable[[Row], bool]
) -> dict[str, Places]:
    """Return by kind where those rows of a partition are, below an offset, that are meant."""
    found: dict[str, Places] = {}
    async with aclosing(rows_between(client, where, -1, end)) as rows:
        async for offset, key, row in rows:
            for places in found.values():
                places.pop(key, None)
            if row is not None and is_meant(row):
                found.setdefault(row.kind, {})[key] = offset
    return found


async def rows_at(
    client: AIOKafkaClient, where: TopicPartition, places: Mapping[bytes, int]
) -> AsyncGenerator[list[Row], None]:
    """Yield the rows that are at some places, in that order, no more than ROWS at a time.

    Places may be taken out meanwhile. A record that was compacted away has a later one: its row is not yielded.
    """
    some: list[Row] = []
    async with aclosing(rows_between(client, where, min(places.values()), max(places.values()) + 1)) as rows:
        async for offset, key, row in rows:
            if row is not None and places.get(key) == offset:
                some.append(row)
            if len(some) == ROWS:
                yield some
                some = []
    if some:
        yield some


class Decisions:
    """Decides about rows of one journal partition."""

    def __init__(self, writer: KafkaDeliveryLog, places: Places, read_to: int, decide: Decide, clock: Clock) -> None:
        """Take the writer, the places of what is meant (taken out as they are done with), and up to where was read."""
        self._writer = writer
        self._places = places
        self._read_to = read_to
        self._decide = decide
        self._clock = clock
        self._backoff = Backoff(FIRST_RETRY_S, LAST_RETRY_S)
        self._written: dict[bytes, Row | None] = {}  # by the transaction that is under way
        self._progress: Progress | None = None  # while this is the writer
        self._decided = 0

    async def close(self) -> None:
        """Close the connections."""
        await self._writer.close()

    async def make(self, rows: list[Row]) -> int:
        """Decide about those that nobody else has decided about; return how many were decided here.

        Raises:
            UnreachableError: it cannot be done now; what was decided by then stays so.
        """
        self._decided, attempts, left = 0, 0, len(self._places)
        while rows := [row for row in rows if row_key(row).encode() in self._places]:
            if len(self._places) < left:
                attempts, left = 0, len(self._places)
            if attempts == ATTEMPTS:
                raise UnreachableError("others write the rows of this subscription all the time")
            try:
                if self._progress is None:
                    await self._become_writer()
                    attempts += 1
                else:
                    await self._write(rows, self._progress)
            except FencedError:
                if self._progress is not None:  # nothing of this transaction will be visible
                    self._written.clear()
                self._progress = None
                await self._backoff.wait()
            except UncertainError:
                self._progress = None
            except TargetError as error:
                raise UnreachableError(str(error)) from error
        return self._decided

    async def _become_writer(self) -> None:
        """Nobody else writes rows from here on; read what was written meanwhile, and by whom."""
        await self._writer.fence()
        progress = await self._writer.own_progress()  # each of these transactions leaves it as it is
        if progress is None:
            raise UnreachableError("the progress of the subscription is not there, and its rows are")
        self._read_to = await self._writer.rows_since(self._read_to, self._take, progress.incarnation)
        self._written.clear()
        self._progress = progress

    def _take(self, key: bytes, row: Row | None) -> None:
        if self._places.pop(key, None) is not None and key in self._written:
            self._decided += self._written[key] == row

    async def _write(self, rows: list[Row], progress: Progress) -> None:
        now = unix_ms(self._clock.now())
        self._written = {row_key(row).encode(): self._decide(row, now) for row in rows}
        changes = {row_key(row): decided for row, decided in zip(rows, self._written.values(), strict=True)}
        await self._writer.deliver(DeliveryWrites(changes, progress, now))
        for key in self._written:
            del self._places[key]
        self._decided += len(self._written)
        self._backoff.reset()
        self._written.clear()
