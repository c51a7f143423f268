"""What has changed since the last restore point: collected beside the shard's work, from the journal and its own store.

The journal is read from the last restore point to where it ended when the collecting began; what the shard commits from
then on comes behind that (`Changed.take`, `Changed.add`).
"""

from __future__ import annotations

import asyncio
from array import array
from typing import TYPE_CHECKING

from annals.agents.folding.restore_points import read_parts
from annals.agents.folding.turns import turns
from annals.agents.ports import command_key
from annals.schemas.chain import ForeignError, read_block
from annals.schemas.cid import cid_of
from annals.schemas.restore_point import (
    HEADS,
    IDS,
    SEGMENT_IDS,
    command_hash,
    decode_ids,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from annals.agents.ports import JournalRecord, LogRecovery, ShardStore
    from annals.schemas.restore_point import RestoreList


Caused = tuple[bytes, bytes, int, int]
"""What a command caused: its aggregate's key, its own (`ports.command_key`), the first event's offset, how many."""


class Changed:
    """What the next restore point has to say that the last one does not.

    aggregates: the offset of the last event of each that changed, those first that changed longest ago; hashes,
    offsets: of each command, and of its first event; parts: the CIDs of the last restore point's parts; heads: those of
    them that are of aggregates, by their keys.
    """

    def __init__(self) -> None:
        """Begin with nothing."""
        self.aggregates: dict[bytes, int] = {}
        self.hashes = array("Q")
        self.offsets = array("Q")
        self.parts: dict[str, bytes] = {}
        self.heads: dict[str, bytes] = {}

    def take(self, caused: Iterable[Caused]) -> None:
        """Take what commands caused."""
        for key, command, offset, count in caused:
            self.event(key, offset + count - 1)
            self.hashes.append(command_hash(command))
            self.offsets.append(offset)

    def event(self, key: bytes, offset: int) -> None:
        """Take an event: its aggregate is the last one that changed."""
        self.aggregates.pop(key, None)
        self.aggregates[key] = offset

    def add(self, later: Changed) -> None:
        """Take what came later."""
        for key, offset in later.aggregates.items():
            self.event(key, offset)
        self.hashes += later.hashes
        self.offsets += later.offsets

    def next_ids(self, most: int) -> list[tuple[int, int]]:
        """Take out the first commands, hash and offset of each."""
        pairs = list(zip(self.hashes[:most], self.offsets[:most], strict=True))
        del self.hashes[:most], self.offsets[:most]
        return pairs


async def collect(journal: LogRecovery, kind: str, store: ShardStore, before: RestoreList | None, end: int) -> Changed:
    """Return what came behind a restore point (None: all there is) up to `end`, as the journal says.

    store: the shard's own, which is folded up to `end` at least.

    Raises:
        RestorePointError: the restore point before is damaged.
    """
    changed = Changed()
    if before is not None:
        changed.parts = dict(before.parts)
        await _take_parts(changed, journal)
    async for records in journal.read(before.position if before else 0, end):
        for turn in turns(records):
            for record in turn:
                _take(changed, kind, store, record)
            await asyncio.sleep(0)
    return changed


async def _take_parts(changed: Changed, journal: LogRecovery) -> None:
    """Take the aggregates, and the last commands again unless there are as many as one part has."""
    names = [name for name in changed.parts if name.startswith(IDS)]
    last = max(names, key=lambda name: int(name.removeprefix(IDS)), default=None)
    wanted = {name: cid for name, cid in changed.parts.items() if name.startswith(HEADS) or name == last}
    changed.heads = await read_parts(journal, wanted)
    if last is None:
        return
    ids = decode_ids(changed.heads.pop(last))
    if len(ids.hashes) < SEGMENT_IDS:
        pairs = sorted(zip(ids.offsets, ids.hashes, strict=True))
        changed.hashes.extend([hash_ for _, hash_ in pairs])
        changed.offsets.extend([offset for offset, _ in pairs])
        del changed.parts[last]


def _take(changed: Changed, kind: str, store: ShardStore, record: JournalRecord) -> None:
    """Take a record, if it is an event that counts in the store's fold."""
    try:
        event = read_block(kind, record.value)
    except ForeignError:
        return
    key, cid = record.key or b"", cid_of(record.value or b"")
    command = command_key(key, event["command_id"].encode())
    known = store.command(command)
    if known is None or cid not in {each for each, _ in known[1]}:
        return
    changed.event(key, record.offset)
    if cid == known[1][0][0]:
        changed.hashes.append(command_hash(command))
        changed.offsets.append(record.offset)
