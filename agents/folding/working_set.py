"""What a shard knows of its aggregates: the present batch, over the hot ones in memory, over the store.

Only `settle` makes a batch's changes lasting; until then `drop` forgets them, and the store has never seen them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from cachetools import LRUCache
from msgspec import DecodeError

from annals.agents.folding.voids import all_voids
from annals.agents.ports import Aggregate, Changes, Stored, StoreDamagedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from annals.agents.deciding.decider import Decider
    from annals.agents.ports import CommandEvents, Position, ShardStore

ENTRY_BYTES: Final = 700  # measured: key, tuple, head and cache link of an entry, and a small state's object
STATE_FACTOR: Final = 6  # a decoded state takes about this many times its encoded bytes
NEVER: Final = "0001-01-01T00:00:00.000000Z"


class AggregateCache:
    """The hot aggregates of all shards of a worker, least recently used first to go, bounded in estimated bytes."""

    def __init__(self, limit_bytes: int) -> None:
        """Begin empty."""
        self.cache: LRUCache[tuple[int, bytes], tuple[Aggregate, int]] = LRUCache(limit_bytes, getsizeof=_size)
        self._working_sets = 0

    def new_working_set(self) -> int:
        """Return a number for a working set: what an older one of a shard kept is never found again."""
        self._working_sets += 1
        return self._working_sets

    def keep(self, key: tuple[int, bytes], aggregate: Aggregate, encoded_bytes: int) -> None:
        """Keep an aggregate, unless it is larger than all there is."""
        size = ENTRY_BYTES + len(key[1]) + STATE_FACTOR * encoded_bytes
        if size <= self.cache.maxsize:
            self.cache[key] = aggregate, size
        else:
            self.cache.pop(key, None)


class WorkingSet:
    """One shard's aggregates and the commands that they have seen."""

    def __init__(self, decider: Decider[Any], store: ShardStore, aggregate_cache: AggregateCache) -> None:
        """Take the kind's decider, the shard's store, and the worker's hot aggregates."""
        self._decider = decider
        self._store = store
        self.absent: Final = Aggregate(0, None, NEVER, decider.initial)
        self._aggregate_cache = aggregate_cache
        self._number = aggregate_cache.new_working_set()
        self._aggregates: dict[bytes, Aggregate] = {}
        self._commands: dict[bytes, CommandEvents] = {}
        self._voids: dict[bytes, tuple[bytes, bytes]] = {}
        self._last: tuple[bytes, CommandEvents] | None = None
        self._encoded: dict[bytes, Stored] | None = None
        self._hits = 0
        self._misses = 0

    def aggregate(self, key: bytes) -> Aggregate:
        """Return where the aggregate of a key stands; version 0 and the initial state if it is absent."""
        found = self._aggregates.get(key)
        if found is not None:
            self._hits += 1
            return found
        try:
            found = self._aggregate_cache.cache[self._number, key][0]
        except KeyError:
            self._misses += 1
            return self._load(key)
        self._hits += 1
        return found

    def command(self, command: bytes) -> CommandEvents | None:
        """Return the events of a command (`ports.command_key`) that its aggregate has seen; None if there are none."""
        found = self._commands.get(command)
        return found if found is not None else self._store.command(command)

    def commands(self, commands: Sequence[bytes]) -> dict[bytes, CommandEvents | None]:
        """Return the same of several commands, by command: the store is asked once."""
        unknown = [each for each in commands if each not in self._commands]
        found = dict(zip(unknown, self._store.commands(unknown), strict=True))
        return {each: found[each] if each in found else self._commands[each] for each in commands}

    def record(self, key: bytes, aggregate: Aggregate, command: bytes, events: CommandEvents) -> None:
        """Take an aggregate's new standing, and the events of the command that made it."""
        self._aggregates[key] = aggregate
        self._commands[command] = events

    def extend(self, key: bytes, aggregate: Aggregate, command: bytes, name: str) -> None:
        """Take one more event of a command, as the fold meets them: one by one, those of a command in a row."""
        self._aggregates[key] = aggregate
        version, cid = aggregate.version, aggregate.head or b""
        if self._last is None:  # the fold goes on where another stopped, perhaps within a command
            known = self._store.command(command)
        else:
            known = self._last[1] if self._last[0] == command else None
        if known is not None and known[0] + len(known[1]) == version:
            events: CommandEvents = known[0], [*known[1], (cid, name)]
        else:
            events = version, [(cid, name)]
        self._commands[command] = events
        self._last = command, events

    def mark_void(self, cid: bytes, key: bytes, command_id: bytes) -> None:
        """Take a void event."""
        self._voids[cid] = key, command_id

    def is_void(self, cid: bytes | None) -> bool:
        """Whether a CID is that of a void event."""
        return cid is not None and (cid in self._voids or self._store.is_void(cid))

    def stored(self, key: bytes) -> Stored | None:
        """Return an aggregate as the store has it once the batch is committed; None if it is absent."""
        if self._encoded is None and self._aggregates:
            self.encode()
        found = (self._encoded or {}).get(key)
        return found if found is not None else self._store.aggregate(key)

    def position(self) -> Position:
        """Return up to where the store is folded."""
        return self._store.position()

    def voids(self) -> dict[bytes, tuple[bytes, bytes]]:
        """Return all void events, by CID."""
        return dict(all_voids(self._store)) | self._voids

    def encode(self) -> None:
        """Encode the batch's aggregates: a state without encoding shows before anything is committed."""
        encode = self._decider.encode_state
        self._encoded = {
            key: Stored(a.version, a.head or b"", a.recorded_at, encode(a.state)) for key, a in self._aggregates.items()
        }

    def commit(self, position: Position) -> None:
        """Write the batch's changes and its position to the store, at once, and keep its aggregates hot."""
        if self._encoded is None:
            self.encode()
        stored = self._encoded or {}
        self._store.apply(Changes(stored, self._commands, self._voids, position))
        for key, aggregate in self._aggregates.items():
            self._aggregate_cache.keep((self._number, key), aggregate, len(stored[key].state))
        last = self._last
        self.rollback()
        self._last = last

    def rollback(self) -> None:
        """Forget the batch's changes."""
        self._aggregates = {}
        self._commands = {}
        self._voids = {}
        self._last = None
        self._encoded = None

    def cache_use(self) -> tuple[int, int, int]:
        """Return hits and misses since the last call, and the estimated bytes of all hot aggregates."""
        used = self._hits, self._misses, int(self._aggregate_cache.cache.currsize)
        self._hits = self._misses = 0
        return used

    def _load(self, key: bytes) -> Aggregate:
        stored = self._store.aggregate(key)
        if stored is None:
            return self.absent
        version, head, recorded_at, state = stored
        try:
            decoded = self._decider.decode_state(state)
        except DecodeError as error:
            raise StoreDamagedError(f"the state of {key!r} cannot be read: {error}") from error
        aggregate = Aggregate(version, head, recorded_at, decoded)
        self._aggregate_cache.keep((self._number, key), aggregate, len(state))
        return aggregate


def _size(entry: tuple[Aggregate, int]) -> int:
    return entry[1]
