"""What the command line and the API ask of dead letters, straight on Kafka."""

from __future__ import annotations

from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from aiokafka.structs import TopicPartition
from msgspec.structs import asdict

from annals.agents.dead_letters.letter import describe
from annals.agents.dead_letters.selection import Selection
from annals.topics.names import TopicNames
from annals.workers.clock import SystemClock, new_id
from annals.workers.dead_letters.reading import SettledTopic, letter_bounds, read_letters
from annals.workers.dead_letters.settling import Asked, Settling
from annals.workers.kafka.connections import connect
from annals.workers.kafka.read.invalid_records import PASSED_OVER
from annals.workers.kafka.read.shown import record_json

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping

    from aiokafka.client import AIOKafkaClient

    from annals.agents.dead_letters.letter import DeadLetterRecord, Letter
    from annals.agents.dead_letters.settled import Settled
    from annals.schemas.settlement import Action, Settlement
    from annals.workers.dead_letters.settling import Done
    from annals.workers.kafka.read.invalid_records import InvalidRecords
    from annals.workers.settings import Settings

    Place = tuple[int, int]  # partition and offset
    Bounds = Mapping[int, tuple[int, int]]

PAGE_READS_S: Final = 5.0  # after which a page is answered as it is: a filter may pass one of a million


class Page(NamedTuple):
    """Some dead letters. next: where the next page begins; None: there are no more. stop_at: behind all there were."""

    letters: list[Letter]
    next: Place | None
    stop_at: int


class Whole(NamedTuple):
    """A dead letter with its bytes, and what settled it."""

    letter: Letter
    record: DeadLetterRecord
    settlement: Settlement | None

    def body(self) -> dict[str, Any]:
        """Return it as JSON types: bytes that are no text are base64, and their member's name says so."""
        settled = self.settlement
        return {
            **asdict(self.letter),
            **record_json(self.record.key, self.record.value, self.record.headers),
            "settled": None
            if settled is None
            else {"action": settled.action, "by": settled.principal, "at": settled.at, "reason": settled.reason},
        }


class DeadLetterService:
    """Lists, shows and settles dead letters. settled: what it has read of that; to be read on by others, too."""

    def __init__(
        self,
        settings: Settings,
        options: Mapping[str, Any],
        kinds: Iterable[str],
        invalid: InvalidRecords = PASSED_OVER,
    ) -> None:
        """Take the settings, aiokafka client options, the kinds of aggregates, and what notes invalid records."""
        self._options = options
        self._app_id = settings.app_id
        self._names = TopicNames(settings.topic_prefix)
        self._kinds = {self._names.commands(kind): kind for kind in kinds}
        self.settled: Final = SettledTopic(self._names.audit, invalid)

    async def page(self, selection: Selection, begin: Place, limit: int) -> Page:
        """Return the open ones from a place on; fewer than `limit` where much had to be read for them.

        Raises:
            MissingTopicError: a topic is missing.
            JournalError, KafkaError: Kafka does not give what it has.
        """
        clock = SystemClock()
        deadline = clock.monotonic() + PAGE_READS_S
        found: list[Letter] = []
        async with self._letters(selection, begin) as (records, settled, bounds):
            stop_at = max(end for _, end in bounds.values())
            async for record in records:
                if len(found) == limit or clock.monotonic() > deadline:
                    return Page(found, (record.partition, record.offset), stop_at)
                letter = selection.open_letter(record, settled, self._kinds)
                if letter is not None:
                    found.append(letter)
        return Page(found, None, stop_at)

    async def get(self, partition: int, offset: int) -> Whole | None:
        """Return one, open or settled; None: there is none."""
        only = Selection(offsets=frozenset({offset}), partition=partition)
        async with self._letters(only) as (records, settled, _):
            async for record in records:
                return Whole(describe(record, self._kinds), record, settled.of(partition, offset))
        return None

    async def export(self, selection: Selection) -> AsyncGenerator[Whole, None]:
        """Yield the open ones with their bytes."""
        async with self._letters(selection) as (records, settled, _):
            async for record in records:
                letter = selection.open_letter(record, settled, self._kinds)
                if letter is not None:
                    yield Whole(letter, record, None)

    async def settle(
        self,
        action: Action,
        selection: Selection,
        principal: str,
        path: str,
        *,
        reason: str | None = None,
        request_id: str | None = None,
    ) -> Done:
        """Send again or discard what is open of a selection.

        Raises: see `Settling.run`.
        """
        # An id of its own: a caller may give two requests the same, and counts would be those of both.
        asked = Asked(action, selection, principal, f"{request_id or 'cli'}:{new_id()}", path, reason)
        return await Settling(self._options, self._names, self._app_id, self._kinds).run(asked)

    async def _read(
        self, client: AIOKafkaClient, selection: Selection, bounds: Bounds, begin: Place
    ) -> AsyncGenerator[DeadLetterRecord, None]:
        for partition, (first, last) in bounds.items():
            start, end = selection.bounds(partition, first, last)
            if partition < begin[0]:
                continue
            if partition == begin[0]:
                start = max(start, begin[1])
            async with aclosing(
                read_letters(client, TopicPartition(self._names.dead_letters, partition), start, end)
            ) as letters:
                async for letter in letters:
                    yield letter

    @asynccontextmanager
    async def _letters(
        self, selection: Selection, begin: Place = (0, 0)
    ) -> AsyncIterator[tuple[AsyncGenerator[DeadLetterRecord, None], Settled, Bounds]]:
        """Give the letters that a selection may have, from a place on, what is settled, and the topic's bounds."""
        client = await connect(self._options, [])
        try:
            settled = await self.settled.read(client)
            bounds = await letter_bounds(client, self._names.dead_letters)
            async with aclosing(self._read(client, selection, bounds, begin)) as records:
                yield records, settled, bounds
        finally:
            await client.close()
