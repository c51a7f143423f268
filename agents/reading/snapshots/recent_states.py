"""Recently used states in memory, all shards together: bounded in bytes, and forgotten after a while.

A state is found by the CID of its last event: that names the whole chain behind it, so that nothing is ever stale.
"""

from __future__ import annotations

from threading import Lock
from typing import Any, Final

from cachetools import TTLCache

KEPT_S: Final = 600.0
ENTRY_BYTES: Final = 700  # key, tuple and links of an entry, and a small state's object
STATE_FACTOR: Final = 6  # a decoded state takes about this many times its encoded bytes


class RecentStates:
    """Keeps states. Questions run in threads, too."""

    def __init__(self, limit_bytes: int, kept_s: float = KEPT_S) -> None:
        """Begin empty."""
        self._cache: TTLCache[tuple[str, int, bytes], tuple[Any, int]] = TTLCache(
            limit_bytes, kept_s, getsizeof=lambda entry: entry[1]
        )
        self._lock = Lock()

    def get(self, kind: str, state_version: int, cid: bytes) -> Any | None:
        """Return the state behind an event; None if it is not kept."""
        with self._lock:
            entry = self._cache.get((kind, state_version, cid))
        return None if entry is None else entry[0]

    def keep(self, kind: str, state_version: int, cid: bytes, state: Any, encoded_bytes: int) -> None:
        """Keep a state, unless it is larger than all there is."""
        size = ENTRY_BYTES + STATE_FACTOR * encoded_bytes
        with self._lock:
            if size <= self._cache.maxsize:
                self._cache[kind, state_version, cid] = state, size
