"""A projection as a follower: rows and their index entries, changed together in the batch of their position.

Keys below `P`: name, version and the row's key. Below `I`: name, version, index, value and the row's key. A text ends
with two zero bytes, and a zero byte within it is followed by 255: no text's key is the prefix of another's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

from annals.agents.projections.projection import Happened, Projection, Row

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from annals.agents.deciding.decider import Decider
    from annals.agents.projections.projection import RowKey
    from annals.agents.reading.ports import Rows
    from annals.schemas.journal_reader import Counted

R = TypeVar("R", bound=Row)


def key_of(*texts: str) -> bytes:
    """Return a key, or the prefix of keys, of texts."""
    return b"".join(text.encode().replace(b"\0", b"\0\xff") + b"\0\0" for text in texts)


def texts_of(key: bytes) -> tuple[str, ...]:
    """Return the texts of a whole key. A zero byte within a text is never followed by another one."""
    return tuple(text.replace(b"\0\xff", b"\0").decode() for text in key.split(b"\0\0")[:-1])


def row_key(projection: Projection[Any], key: RowKey) -> bytes:
    """Return where a row is."""
    return key_of("P", projection.name, str(projection.version), *key)


def index_key(projection: Projection[Any], index: str, value: str, key: RowKey = ()) -> bytes:
    """Return where an index entry is; without the row's key: the prefix of all entries of a value."""
    return key_of("I", projection.name, str(projection.version), index, value, *key)


class KeptRows(Generic[R]):
    """The rows of one projection in a batch; index entries change with them."""

    def __init__(self, projection: Projection[R], rows: Rows) -> None:
        self._projection = projection
        self._rows = rows
        self._decoder = msgspec.msgpack.Decoder(projection.row)

    def get(self, *key: str) -> R | None:
        """Return a row; None if there is none."""
        value = self._rows.get(row_key(self._projection, key))
        return None if value is None else self._decoder.decode(value)

    def put(self, row: R, *key: str) -> None:
        """Set a row and its index entries; entries that no longer hold go."""
        old, new = self._entries(self.get(*key), key), self._entries(row, key)
        for entry in sorted(old - new):
            self._rows.delete(entry)
        for entry in sorted(new - old):
            self._rows.put(entry, b"")
        self._rows.put(row_key(self._projection, key), msgspec.msgpack.encode(row))

    def delete(self, *key: str) -> None:
        """Remove a row and its index entries."""
        for entry in sorted(self._entries(self.get(*key), key)):
            self._rows.delete(entry)
        self._rows.delete(row_key(self._projection, key))

    def _entries(self, row: R | None, key: RowKey) -> set[bytes]:
        if row is None:
            return set()
        found = self._projection.indexes(row).items()
        return {index_key(self._projection, index, value, key) for index, values in found for value in values}


class ProjectionFollower(Generic[R]):
    """Folds the events that a projection wants; passes by all others."""

    def __init__(self, projection: Projection[R], deciders: Mapping[str, Decider[Any]]) -> None:
        self._projection = projection
        self._deciders = deciders

    @property
    def name(self) -> str:
        """Names its position."""
        return self._projection.name

    @property
    def version(self) -> int:
        """Another version begins anew."""
        return self._projection.version

    def fold(self, events: Sequence[Counted[Any]], partition: int, rows: Rows) -> None:  # noqa: ARG002 - of the port
        """Change rows by the wanted ones of the events, in their order."""
        kept = KeptRows(self._projection, rows)
        for happened in self._wanted(events):
            self._projection.fold(happened, kept)

    def _wanted(self, events: Sequence[Counted[Any]]) -> Iterator[Happened]:
        for counted in events:
            event = counted.event
            kind, name = event["kind"], event["type"]
            wanted = self._projection.wanted.get(kind, frozenset())
            if not any(message.__name__ == name for message in wanted):
                continue
            message = self._deciders[kind].read_event(name, event["schema_version"], event["data"])
            yield Happened(kind, event["aggregate_id"], event["version"], event["recorded_at"], message)
