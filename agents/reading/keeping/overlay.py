"""Rows of a batch over the rows of a store: what is put is seen at once, and nothing is written."""

from __future__ import annotations

from heapq import merge
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from annals.agents.reading.ports import ReadView


class Overlay:
    """Changes over a view (the `Rows` port). changes: what is to be written, None where a row goes."""

    def __init__(self, base: ReadView) -> None:
        """Change nothing yet."""
        self._base = base
        self.changes: dict[bytes, bytes | None] = {}

    def get(self, key: bytes) -> bytes | None:
        """Return a row; None if there is none."""
        return self.changes[key] if key in self.changes else self._base.get(key)

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return rows in the order of the keys."""
        if self.changes.keys().isdisjoint(keys):
            return self._base.get_many(keys)
        below = iter(self._base.get_many([key for key in keys if key not in self.changes]))
        return [self.changes[key] if key in self.changes else next(below) for key in keys]

    def range(self, first: bytes, last: bytes, *, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        """Return the rows from `first` to below `last`, as they are when the range is asked for."""
        own = {key: value for key, value in self.changes.items() if first <= key < last}
        below = ((key, value) for key, value in self._base.range(first, last, reverse=reverse) if key not in own)
        added = sorted(((key, value) for key, value in own.items() if value is not None), reverse=reverse)
        return merge(added, below, reverse=reverse)

    def keys(self, first: bytes, last: bytes, *, reverse: bool = False) -> Iterator[bytes]:
        """Return the keys from `first` to below `last`, as they are when they are asked for."""
        own = {key: value for key, value in self.changes.items() if first <= key < last}
        below = (key for key in self._base.keys(first, last, reverse=reverse) if key not in own)
        added = sorted((key for key, value in own.items() if value is not None), reverse=reverse)
        return merge(added, below, reverse=reverse)

    def put(self, key: bytes, value: bytes) -> None:
        """Set a row."""
        self.changes[key] = value

    def delete(self, key: bytes) -> None:
        """Remove a row, if it is there."""
        self.changes[key] = None
