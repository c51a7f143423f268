"""A store with the rows in memory that were read lately: a fold reads the same ones again and again.

What is remembered is what the store has. A row is remembered when it is read, absent ones too, and changed when a batch
has been written; after a write that failed nothing is. Views pass it by: questions read other rows than folds do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from annals.agents.reading.keeping.remembered import Remembered

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from annals.agents.reading.ports import ReadingStore, ReadView

_UNKNOWN: Final[Any] = object()  # None is a row that is not there


class RowMemory:
    """A store with a memory (the `ReadingStore` port). store: the one behind it."""

    def __init__(self, store: ReadingStore) -> None:
        """Remember nothing yet. Whoever writes to the store does it through this from now on."""
        self.store: Final = store
        self._rows: Remembered[bytes | None] = Remembered(_size_of)

    def get(self, key: bytes) -> bytes | None:
        """Return a row; None if there is none."""
        found = self._rows.get(key, _UNKNOWN)
        return self._read({key})[key] if found is _UNKNOWN else found

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return rows in the order of the keys."""
        found = self._rows.get_many(keys, _UNKNOWN)
        if _UNKNOWN not in found:
            return found
        read = self._read({key for key, value in zip(keys, found, strict=True) if value is _UNKNOWN})
        return [read[key] if value is _UNKNOWN else value for key, value in zip(keys, found, strict=True)]

    def range(self, first: bytes, last: bytes, *, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        """Return the rows from `first` to below `last` as they are now."""
        return self.store.range(first, last, reverse=reverse)

    def keys(self, first: bytes, last: bytes, *, reverse: bool = False) -> Iterator[bytes]:
        """Return the keys from `first` to below `last`."""
        return self.store.keys(first, last, reverse=reverse)

    def view(self) -> AbstractContextManager[ReadView]:
        """Return a view that later batches do not change."""
        return self.store.view()

    def held(self) -> AbstractContextManager[ReadView]:
        """Return the rows as a view, to which nothing is written until the context ends."""
        return self.store.held()

    def apply(self, changes: Mapping[bytes, bytes | None]) -> None:
        """Write rows (None: remove) in one write batch."""
        try:
            self.store.apply(changes)
        except BaseException:
            self._rows.clear()
            raise
        self._rows.change(changes)

    def size_bytes(self) -> int:
        """Return the bytes of its files."""
        return self.store.size_bytes()

    def close(self) -> None:
        """Close the store."""
        self.store.close()

    def _read(self, keys: set[bytes]) -> dict[bytes, bytes | None]:
        """Return rows that are not remembered, and remember them."""
        read = dict(zip(keys, self.store.get_many(list(keys)), strict=True))
        for key, value in read.items():
            self._rows.keep(key, value)
        return read


def _size_of(row: bytes | None) -> int:
    return len(row or b"")
