"""Recently asked states in memory, all shards together: bounded in bytes, and forgotten after a while.

A state is kept as it was answered, when its last event had been read, hashed and held to its link. It is found by the
CID of that event, which names the whole chain behind it: nothing is ever stale, and nothing of it can have changed.
"""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Final

from cachetools import TTLCache

if TYPE_CHECKING:
    from annals.agents.reading.found import FoundState

KEPT_S: Final = 600.0
ENTRY_BYTES: Final = 900  # measured: key, tuple and links of an entry, what is said beside the state, and its own map
STATE_FACTOR: Final = 11  # measured: a state as JSON types takes about this many times its encoded bytes


class RecentStates:
    """Keeps states. Questions run in threads, too."""

    def __init__(self, limit_bytes: int, kept_s: float = KEPT_S) -> None:
        """Begin empty."""
        self._cache: TTLCache[tuple[str, int, bytes], tuple[FoundState, int]] = TTLCache(
            limit_bytes, kept_s, getsizeof=lambda entry: entry[1]
        )
        self._lock = Lock()

    def get(self, kind: str, state_version: int, cid: bytes) -> FoundState | None:
        """Return the state behind an event; None if it is not kept."""
        with self._lock:
            entry = self._cache.get((kind, state_version, cid))
        return None if entry is None else entry[0]

    def keep(self, kind: str, state_version: int, cid: bytes, state: FoundState, encoded_bytes: int) -> None:
        """Keep a state, unless it is larger than all there is. encoded_bytes: as a store has it."""
        size = ENTRY_BYTES + STATE_FACTOR * encoded_bytes
        with self._lock:
            if size <= self._cache.maxsize:
                self._cache[kind, state_version, cid] = state, size
