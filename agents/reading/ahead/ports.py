"""What a head start asks of the outside: a restore point, the journal in ranges, and a store beside the shard's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from annals.agents.folding.restore_points import RestoreTopics
from annals.agents.reading.ports import JournalSource

if TYPE_CHECKING:
    from collections.abc import Sequence

    from annals.agents.reading.found import JournalEvent
    from annals.agents.reading.ports import ReadingStore


class NamedRestorePoint(RestoreTopics, Protocol):
    """The restore point of a partition, and where it is named."""

    async def named(self) -> bytes | None:
        """Return the CID of the list that the committed offset of those who write names; None if it names none.

        Raises:
            UnreachableError: the brokers do not answer, or this may not be asked.
        """


class BesideStores(Protocol):
    """Stores beside a reading shard's own, which are never opened again."""

    async def open_beside(self) -> ReadingStore:
        """Begin an empty one, and remove those that nobody holds any more."""

    async def discard(self, store: ReadingStore) -> None:
        """Close one and remove it."""


class IndexingShard(JournalSource, Protocol):
    """A reading shard as a head start needs it: what it has read is the truth."""

    async def event_at(self, offset: int) -> JournalEvent | None:
        """Return the event that counts at an offset; None if there is none."""

    async def events_at(self, offsets: Sequence[int]) -> dict[int, JournalEvent]:
        """Return the events that count at some offsets; where they are large, not all of them."""

    async def offset_of(self, aggregate_id: str, version: int) -> int | None:
        """Return where an aggregate's event of a version is; None if it is not there (yet)."""

    async def placed(self, offset: int, limit: int) -> list[tuple[int, bytes]]:
        """Return where the next events that count are, from an offset on, and their CIDs."""


class HeadStartTelemetry(Protocol):
    """What is counted of head starts."""

    def begun(self) -> None:
        """Count one that answers."""

    def differed(self) -> None:
        """Count one that did not have the same events as the journal read from the beginning."""
