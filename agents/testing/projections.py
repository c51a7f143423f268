"""Given events, a projection has rows: the kit for those who write projections.

    given_events("person", "p-1", PersonRegistered(name="Ada")).project(PEOPLE_DIRECTORY).then_rows(
        {("p-1",): Person(kind="person", aggregate_id="p-1", name="Ada")}
    )

Events go the way that the journal's go: by their type, schema version and data, through the upcasters. Of a projection
that is re-keyed, they are in the order of their arrival in its stream:

    given_events("agent", "a-1", TaskAssigned(task_id="t", …)).and_events("agent", "a-2", TaskCompleted(task_id="t", …))
    .project(TASKS).then_rows({("t",): Task(kind="agent", aggregate_id="t", status="completed")})
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Final

import msgspec

from annals.agents.reading.projecting.rows import KeptRows, ProjectionFollower, index_key, texts_of
from annals.agents.testing.kinds import named_or_all
from annals.schemas.journal_reader import START, Counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from annals.agents.deciding.decider import Decider
    from annals.agents.projections.projection import Projection, Row, RowKey
    from annals.schemas.messages import Message

RECORDED_AT: Final = "2026-01-01T00:00:00.000000Z"
CORRELATION_ID: Final = "c-1"


class MemoryRows:
    """Rows in memory, by key."""

    def __init__(self) -> None:
        self.values: dict[bytes, bytes] = {}

    def get(self, key: bytes) -> bytes | None:
        """Return a row; None if there is none."""
        return self.values.get(key)

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return rows in the order of the keys."""
        return [self.values.get(key) for key in keys]

    def range(self, first: bytes, last: bytes, *, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        """Return the rows from `first` (inclusive) to `last` (exclusive) by key."""
        keys = sorted((key for key in self.values if first <= key < last), reverse=reverse)
        return ((key, self.values[key]) for key in keys)

    def keys(self, first: bytes, last: bytes, *, reverse: bool = False) -> Iterator[bytes]:
        """Return the keys of such a range."""
        return (key for key, _ in self.range(first, last, reverse=reverse))

    def put(self, key: bytes, value: bytes) -> None:
        """Set a row."""
        self.values[key] = value

    def delete(self, key: bytes) -> None:
        """Remove a row, if it is there."""
        self.values.pop(key, None)


class Projected:
    """The rows of a projection after the given events."""

    def __init__(self, projection: Projection[Any], rows: MemoryRows) -> None:
        self._projection = projection
        self._rows = rows

    def rows(self) -> dict[RowKey, Row]:
        """Return the rows that are shown, by key."""
        kept = KeptRows(self._projection, self._rows)
        keys = [texts_of(key) for key in self._rows.values if key.startswith(b"P\0\0")]
        found = {key[3:]: kept.get(*key[3:]) for key in sorted(keys)}
        return {key: row for key, row in found.items() if row is not None and self._projection.is_listed(row)}

    def then_rows(self, expected: Mapping[RowKey, Row]) -> Projected:
        """Check that exactly these rows are shown."""
        rows = self.rows()
        if rows != expected:
            raise AssertionError(f"{self._projection.name} has the rows\n{rows}\nnot\n{dict(expected)}")
        return self

    def then_found(self, index: str, value: str, *keys: RowKey) -> Projected:
        """Check that an index leads from a value to exactly these rows."""
        prefix = index_key(self._projection, index, value)
        found = [texts_of(key)[5:] for key in sorted(self._rows.values) if key.startswith(prefix)]
        if found != sorted(keys):
            raise AssertionError(f"{self._projection.name}: {index}={value!r} finds {found}, not {sorted(keys)}")
        return self


class GivenEvents:
    """Events of one or more aggregates, in their order in the journal."""

    def __init__(self, counted: Sequence[Counted[Any]], deciders: Mapping[str, Decider[Any]] | None = None) -> None:
        self.counted = tuple(counted)
        self._deciders = named_or_all(deciders)

    def and_events(
        self, kind: str, aggregate_id: str, *messages: Message, correlation_id: str = CORRELATION_ID
    ) -> GivenEvents:
        """Add events of an aggregate behind those that were given."""
        added = list(self.counted)
        for message in messages:
            added.append(self._count(kind, aggregate_id, message, added, correlation_id))
        return GivenEvents(added, self._deciders)

    def project(self, projection: Projection[Any], cuts: Sequence[int] = ()) -> Projected:
        """Fold the events, in batches cut before the events of these numbers."""
        rows, follower = MemoryRows(), ProjectionFollower(projection, self._deciders)
        ends = [0, *sorted(min(cut, len(self.counted)) for cut in cuts), len(self.counted)]
        for first, last in itertools.pairwise(ends):
            follower.fold(self.counted[first:last], 0, rows)
        return Projected(projection, rows)

    def bytes_of(self, projection: Projection[Any], cuts: Sequence[int] = ()) -> dict[bytes, bytes]:
        """Return all rows and index entries as they are stored."""
        return self.project(projection, cuts)._rows.values  # noqa: SLF001 - of this module

    def _count(
        self, kind: str, aggregate_id: str, message: Message, before: Sequence[Counted[Any]], correlation_id: str
    ) -> Counted[Any]:
        decider, key = self._deciders[kind], aggregate_id.encode()
        event = {
            "kind": kind,
            "aggregate_id": aggregate_id,
            "version": 1 + sum(counted.key == key and counted.event["kind"] == kind for counted in before),
            "type": decider.event_name(message),
            "schema_version": decider.schema_version(message),
            "recorded_at": RECORDED_AT,
            "correlation_id": correlation_id,
            "data": msgspec.to_builtins(message),
        }
        return Counted(len(before), key, event, b"", START)


def given_events(
    kind: str,
    aggregate_id: str,
    *messages: Message,
    correlation_id: str = CORRELATION_ID,
    deciders: Mapping[str, Decider[Any]] | None = None,
) -> GivenEvents:
    """Begin with events of an aggregate; deciders: those that read the events, by default all that are registered."""
    return GivenEvents((), deciders).and_events(kind, aggregate_id, *messages, correlation_id=correlation_id)
