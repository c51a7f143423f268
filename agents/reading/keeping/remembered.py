"""What was used lately, in memory: all that a process remembers in this way is bounded in bytes together.

It is in two generations. When the younger ones of all have so many bytes the older ones are forgotten, and the younger
are the older from then on; what is used again comes back. So a look-up is one in a map, and what is not used goes.

There are no locks: a process folds in one thread, that of its event loop. Questions in other threads have views.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar
from weakref import WeakSet

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

V = TypeVar("V")
D = TypeVar("D")

MOST_BYTES: Final = 16 << 20  # of the younger generations; with the older ones there is up to twice as much
ENTRY_BYTES: Final = 250  # measured: a short key, a short value, and their place in a map
STATE_FACTOR: Final = 11  # measured: what is decoded takes about this many times its bytes
LARGEST_PART: Final = 8  # of these bytes: what takes more is not remembered, or two in turn would drive out all others


class Remembered(Generic[V]):
    """A map by bytes that forgets. younger, older: its generations."""

    __slots__ = ("__weakref__", "_size_of", "older", "younger")

    def __init__(self, size_of: Callable[[V], int]) -> None:
        """Begin with nothing. size_of: about the bytes that a value takes."""
        self.younger: dict[bytes, V] = {}
        self.older: dict[bytes, V] = {}
        self._size_of = size_of
        _BOUND.memories.add(self)

    def get(self, key: bytes, default: D) -> V | D:
        """Return what is remembered, which is used by that; the default if nothing is."""
        if key in self.younger:
            return self.younger[key]
        if key not in self.older:
            return default
        value = self.older[key]
        self.keep(key, value)
        return value

    def get_many(self, keys: Sequence[bytes], default: D) -> list[V | D]:
        """Return what is remembered of keys, in their order, and the default for others."""
        younger = self.younger
        found = [younger.get(key, default) for key in keys]
        return [self.get(key, default) for key in keys] if default in found else found

    def keep(self, key: bytes, value: V) -> None:
        """Remember something in the place of what was there; what is too large is forgotten."""
        younger, size = self.younger, self._size_of(value)
        former = self._size_of(younger[key]) if key in younger else -ENTRY_BYTES - len(key)
        if size == former:  # so is most, and it takes two thirds as long
            younger[key] = value
        elif ENTRY_BYTES + len(key) + size > MOST_BYTES // LARGEST_PART:
            self._forget(key)
        else:
            younger[key] = value
            _BOUND.take(size - former)

    def change(self, changes: Mapping[bytes, V]) -> None:
        """Take the new values of what is remembered."""
        size_of = self._size_of
        for key in changes.keys() & self.younger.keys() | changes.keys() & self.older.keys():
            value, younger = changes[key], self.younger
            if key in younger and size_of(younger[key]) == size_of(value):
                younger[key] = value  # so are most rows, and it takes half as long
            else:
                self.keep(key, value)

    def age(self) -> None:
        """Forget the older generation; the younger one is that from now on."""
        self.younger, self.older = {}, self.younger

    def clear(self) -> None:
        """Forget all."""
        self.younger, self.older = {}, {}

    def _forget(self, key: bytes) -> None:
        if key in self.younger:
            _BOUND.take(-(ENTRY_BYTES + len(key) + self._size_of(self.younger.pop(key))))
        self.older.pop(key, None)


class _Bound:
    """What the younger generations of all memories of the process have together."""

    def __init__(self) -> None:
        self.memories: WeakSet[Remembered[Any]] = WeakSet()
        self._taken = 0

    def take(self, size_bytes: int) -> None:
        """Count bytes that are remembered, and have all memories age when these are too many."""
        self._taken += size_bytes
        if self._taken > MOST_BYTES:
            self._taken = 0  # what was remembered last is in an older generation, too
            for memory in list(self.memories):
                memory.age()


_BOUND: Final = _Bound()
