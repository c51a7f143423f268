"""What was used lately, in memory: all that a process remembers in this way is bounded in bytes together.

It is in two generations. When the younger ones of all have so many bytes the older ones are forgotten, and the younger
are the older from then on; what is used again comes back. So a look-up is one in a map, and what is not used goes.
"""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar
from weakref import WeakSet

if TYPE_CHECKING:
    from collections.abc import Mapping

K = TypeVar("K")
V = TypeVar("V")

MOST_BYTES: Final = 16 << 20  # of the younger generations; with the older ones there is up to twice as much
ENTRY_BYTES: Final = 250  # measured: a short key, a short value, and their place in a map
STATE_FACTOR: Final = 11  # measured: what is decoded takes about this many times its bytes


class Remembered(Generic[K, V]):
    """A map that forgets. younger, older: its generations. It is used in one thread; any may have it forget."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.younger: dict[K, V] = {}
        self.older: dict[K, V] = {}
        self._aging = Lock()
        _BOUND.add(self)

    def get(self, key: K) -> V | None:
        """Return what is remembered; None if nothing is."""
        found = self.younger.get(key)
        return self.older.get(key) if found is None else found

    def keep(self, key: K, value: V, size_bytes: int) -> None:
        """Remember something. size_bytes: about what it takes beside a key."""
        if key not in self.younger:
            _BOUND.take(ENTRY_BYTES + size_bytes)
        self.younger[key] = value

    def change(self, changes: Mapping[K, V]) -> None:
        """Take the new values of what is remembered."""
        with self._aging:  # or one generation could be passed by
            for generation in (self.younger, self.older):
                for key in generation.keys() & changes.keys():
                    generation[key] = changes[key]

    def age(self) -> None:
        """Forget the older generation; the younger one is that from now on."""
        with self._aging:
            self.younger, self.older = {}, self.younger

    def clear(self) -> None:
        """Forget all."""
        self.younger, self.older = {}, {}


class _Bound:
    """What the younger generations of all memories of the process have together."""

    def __init__(self) -> None:
        self._memories: WeakSet[Remembered[Any, Any]] = WeakSet()
        self._taken = 0
        self._lock = Lock()

    def add(self, memory: Remembered[Any, Any]) -> None:
        with self._lock:
            self._memories.add(memory)

    def take(self, size_bytes: int) -> None:
        self._taken += size_bytes  # two threads may lose one of their numbers, of which there are thousands
        if self._taken > MOST_BYTES:
            self._taken = 0
            with self._lock:
                memories = list(self._memories)
            for memory in memories:
                memory.age()


_BOUND: Final = _Bound()
