"""The reading store in memory, for tests; equal to RocksDB's by the conformance suite."""

from __future__ import annotations

from bisect import bisect_left
from contextlib import contextmanager
from typing import TYPE_CHECKING

from annals.agents.reading.keeping.layout import read_position

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from annals.agents.ports import Position
    from annals.agents.reading.ports import ReadView


class MemoryReadingStore:
    """Rows that are gone when the process is."""

    def __init__(self, rows: Mapping[bytes, bytes] | None = None) -> None:
        """Begin with rows."""
        self.rows: dict[bytes, bytes] = dict(rows or {})
        self._sorted: tuple[dict[bytes, bytes], list[bytes]] = self.rows, sorted(self.rows)

    def position(self) -> Position:
        """Return up to where the journal has been folded."""
        return read_position(self)

    def get(self, key: bytes) -> bytes | None:
        """Return a row; None if there is none."""
        return self.rows.get(key)

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return rows in the order of the keys."""
        return [self.rows.get(key) for key in keys]

    def range(self, first: bytes, last: bytes, *, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        """Return the rows from `first` to below `last` as they are now."""
        keys = self._keys()
        keys = keys[bisect_left(keys, first) : bisect_left(keys, last)]
        return iter([(key, self.rows[key]) for key in (reversed(keys) if reverse else keys)])

    def keys(self, first: bytes, last: bytes, *, reverse: bool = False) -> Iterator[bytes]:
        """Return the keys from `first` to below `last`."""
        return (key for key, _ in self.range(first, last, reverse=reverse))

    @contextmanager
    def view(self) -> Iterator[ReadView]:
        """Return a view that later batches do not change."""
        view = MemoryReadingStore()
        view.rows, view._sorted = self.rows, (self.rows, self._keys())  # a batch makes other rows, and leaves these
        yield view

    def held(self) -> AbstractContextManager[ReadView]:
        """Return the rows as a view, to which nothing is written until the context ends."""
        return self.view()  # costs nothing here

    def _keys(self) -> list[bytes]:
        """Return all keys in order: sorted once for all questions between two batches."""
        rows, keys = self._sorted
        if rows is not self.rows or len(keys) != len(rows):
            keys = sorted(self.rows)
            self._sorted = self.rows, keys
        return keys

    def apply(self, changes: Mapping[bytes, bytes | None]) -> None:
        """Write rows (None: remove), all or none."""
        rows = {**self.rows, **{key: bytes(value) for key, value in changes.items() if value is not None}}
        for key, value in changes.items():
            if value is None:
                rows.pop(key, None)
        self.rows = rows

    def size_bytes(self) -> int:
        """Return the bytes of all rows."""
        return sum(len(key) + len(value) for key, value in self.rows.items())

    def close(self) -> None:
        """Nothing is held open."""
