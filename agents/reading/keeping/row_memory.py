"""A store with the rows in memory that were read lately: a fold reads the same ones again and again.

What is remembered is what the store has. A row is remembered when it is read, absent ones too, and changed when a batch
has been written; after a write that failed nothing is. Views pass it by: questions read other rows than folds do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from annals.agents.reading.keeping.remembered import Remembered

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from annals.agents.reading.ports import ReadingStore, ReadView

_UNKNOWN: Final = b"\0unknown"  # told from a row of these bytes by its identity


class RowMemory:
    """A store with a memory (the `ReadingStore` port). store: the one behind it."""

    def __init__(self, store: ReadingStore) -> None:
        """Remember nothing yet. Whoever writes to the store does it through this from now on."""
        self.store: Final = store
        self._rows: Remembered[bytes, bytes | None] = Remembered()

    def get(self, key: bytes) -> bytes | None:
        """Return a row; None if there is none."""
        found = self._rows.younger.get(key, _UNKNOWN)
        return self.get_many((key,))[0] if found is _UNKNOWN else found

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return rows in the order of the keys."""
        younger = self._rows.younger
        found = [younger.get(key, _UNKNOWN) for key in keys]
        if _UNKNOWN not in found:
            return found
        read = self._read({key for key, value in zip(keys, found, strict=True) if value is _UNKNOWN})
        return [read[key] if value is _UNKNOWN else value for key, value in zip(keys, found, strict=True)]

    def range(self, first: bytes, last: bytes, *, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        """Return the rows from `first` to below `last` as they are now."""
        return self.store.range(first, last, reverse=reverse)

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
        """Return rows that the younger generation does not have, and remember them there."""
        older = self._rows.older
        found = {key: older[key] for key in keys & older.keys()}
        absent = list(keys - found.keys())
        found.update(zip(absent, self.store.get_many(absent), strict=True))
        for key, value in found.items():
            self._rows.keep(key, value, len(value or b""))
        return found
