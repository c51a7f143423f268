"""One restore point while it is written: what is left of it, and what each transaction takes of that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from annals.agents.ports import StaleStateError
from annals.schemas.cid import cid_of
from annals.schemas.restore_point import (
    LIST,
    SEGMENT_IDS,
    VOIDS,
    Head,
    RestoreList,
    bucket_of,
    decode_heads,
    encode_heads,
    encode_ids,
    encode_list,
    encode_voids,
    has_ends,
)
from annals.schemas.snapshot import Snapshot, encode_snapshot
from annals.topics.wire import NO_TIMESTAMP

if TYPE_CHECKING:
    from annals.agents.folding.working_set import WorkingSet
    from annals.agents.ports import Position, Writes
    from annals.agents.writing.restore.collecting import Changed
    from annals.agents.writing.shard_id import ShardId

ROUND_BYTES: Final = 256 << 10  # of parts in one transaction: some 5 ms of work
SNAPSHOT_BYTES: Final = 2 << 20  # of snapshots in one transaction
SPARE_ROUNDS: Final = 64


class Attempt:
    """Writes one restore point over several transactions.

    oversized: the aggregates whose snapshot was larger than its topic takes, and left out.
    """

    def __init__(self, changed: Changed, place: ShardId, state_version: int, slice_: int) -> None:
        """Take what changed since the last one. slice_: snapshots in one transaction."""
        self.changed = changed
        self.oversized: list[str] = []
        self._place = place
        self._state_version = state_version
        self._slice = slice_
        self._parts = dict(changed.parts)
        self._names: dict[int, list[str]] = {}
        for name in changed.heads:
            self._names.setdefault(int(name.split("/")[1]), []).append(name)
        self._buckets: dict[int, dict[bytes, Head]] = {}
        # What a release before wrote does not say where chains end, which a reading shard needs.
        self._unwritten = {int(name.split("/")[1]) for name, value in changed.heads.items() if not has_ends(value)}
        self._rounds = 2 * len(changed.aggregates) // slice_ + SPARE_ROUNDS + len(changed.heads) // SPARE_ROUNDS
        self._rounds += len(self._unwritten)

    def write(self, writes: Writes, working_set: WorkingSet, position: Position) -> bytes | None:
        """Add what is next to a transaction; return the CID of the list if it is complete with that.

        1. Snapshots of aggregates that changed, as they are behind the transaction.
        2. If none is left: buckets of heads, command ids, void events, each as many as there is room for.
        3. If none is left: the list.
        """
        self._rounds -= 1
        is_last = self._rounds <= 0  # it changes faster than it is written: all that is left at once
        self._write_snapshots(writes, working_set, is_last=is_last)
        if self.changed.aggregates:
            return None
        room = self._write_heads(writes, working_set, ROUND_BYTES, is_last=is_last)
        room = self._write_ids(writes, room, is_last=is_last)
        if self._unwritten or (len(self.changed.hashes) > SEGMENT_IDS and not is_last):
            return None
        self._write_ids(writes, room, is_last=True)
        self._write_voids(writes, working_set)
        value = encode_list(
            RestoreList(
                self._place.kind,
                self._place.partition,
                self._place.partitions,
                self._state_version,
                *position,
                self._parts,
            )
        )
        writes.add_restore_part(LIST, value)
        return cid_of(value)

    def _write_snapshots(self, writes: Writes, working_set: WorkingSet, *, is_last: bool) -> None:
        size = 0
        aggregates = self.changed.aggregates
        keys = list(aggregates) if is_last else [key for key, _ in zip(aggregates, range(self._slice), strict=False)]
        for key in keys:
            stored = working_set.stored(key)
            if stored is None:
                raise StaleStateError(f"{key!r} has events, and the store does not know it")
            snapshot = encode_snapshot(
                Snapshot(
                    self._place.kind,
                    key.decode(),
                    stored.version,
                    stored.head,
                    self._state_version,
                    stored.state,
                    stored.recorded_at,
                    aggregates.pop(key),
                )
            )
            cid: bytes | None = cid_of(snapshot)
            if writes.add_snapshot(key, snapshot, NO_TIMESTAMP):
                self.oversized.append(key.decode())
                cid = None
            bucket = bucket_of(key)
            self._heads(bucket)[key] = Head(stored.version, cid, stored.head)
            self._unwritten.add(bucket)
            size += len(snapshot)
            if size > SNAPSHOT_BYTES and not is_last:
                break

    def _heads(self, bucket: int) -> dict[bytes, Head]:
        """Return a bucket with what the restore point before has of it."""
        if bucket not in self._buckets:
            heads: dict[bytes, Head] = {}
            for name in self._names.get(bucket, ()):
                heads.update(decode_heads(self.changed.heads.pop(name)))
            self._buckets[bucket] = heads
        return self._buckets[bucket]

    def _heads_with_ends(self, bucket: int, working_set: WorkingSet) -> dict[bytes, Head]:
        heads = self._heads(bucket)
        for key, head in heads.items():
            if head.end is None and (stored := working_set.stored(key)) is not None and stored.version == head.version:
                heads[key] = head._replace(end=stored.head)
        return heads

    def _write_heads(self, writes: Writes, working_set: WorkingSet, room: int, *, is_last: bool) -> int:
        for bucket in sorted(self._unwritten):
            if room <= 0 and not is_last:
                break
            heads = self._heads_with_ends(bucket, working_set)
            for name in self._names.get(bucket, ()):
                self._parts.pop(name, None)
            self._names[bucket] = []
            for name, value in encode_heads(bucket, heads):
                room -= self._write_part(writes, name, value)
                self._names[bucket].append(name)
            self._unwritten.discard(bucket)
        return room

    def _write_ids(self, writes: Writes, room: int, *, is_last: bool) -> int:
        while len(self.changed.hashes) > (0 if is_last else SEGMENT_IDS) and (room > 0 or is_last):
            room -= self._write_part(writes, *encode_ids(self.changed.next_ids(SEGMENT_IDS)))
        return room

    def _write_voids(self, writes: Writes, working_set: WorkingSet) -> None:
        for name in [name for name in self._parts if name.startswith(VOIDS)]:
            del self._parts[name]
        voids = working_set.voids()
        for name, value in encode_voids([(cid, *void) for cid, void in voids.items()]):
            self._write_part(writes, name, value)

    def _write_part(self, writes: Writes, name: str, value: bytes) -> int:
        writes.add_restore_part(name, value)
        self._parts[name] = cid_of(value)
        return len(value)
