"""Where chains ended at an earlier place of the journal than that of a restore point (pure).

A restore point says where each chain ended at its position, and which events before that are void. What counted between
an earlier place and there is, of each aggregate, a run of links back from that end: its first link names the event with
which the chain ended at the earlier place. No judgement of the reader's rule is made here. The rule is applied to all
of these records once more, from the ends that were found, and must come to those of the restore point.

One thing cannot be told: whether an event of which a copy follows counted before the earlier place or behind it. The
copy is void, so that its CID is among the void ones: then there is no answer.

No more than STEP links are followed in one turn of the event loop: heartbeats and everybody else wait meanwhile.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from annals.schemas.chain import ForeignError
from annals.schemas.cid import cid_of, cid_text
from annals.schemas.journal_reader import START, KeptEnd, read_record
from annals.schemas.restore_point import RestorePointError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from annals.agents.reading.ports import FollowedRecord

    Link = tuple[int, bytes | None]  # version, CID of the event before


STEP: Final = 500


class Unwinding:
    """Takes the records between a place of the journal and a restore point, and answers of each aggregate's chain."""

    def __init__(self, kind: str, voids: Collection[bytes]) -> None:
        """Take the kind, and all events that are void at the restore point."""
        self._kind = kind
        self._voids = voids
        self._links: dict[bytes, dict[bytes, Link]] = {}
        self._followed = 0

    @property
    def keys(self) -> Collection[bytes]:
        """The aggregates that have records there and were not asked about yet."""
        return self._links.keys()

    def take(self, records: Iterable[FollowedRecord]) -> None:
        """Take records, in any order."""
        for record in records:
            try:
                event = read_record(self._kind, record.key, record.value)
            except ForeignError:
                continue
            links = self._links.setdefault(record.key or b"", {})
            links[cid_of(record.value or b"")] = event["version"], event["previous"]

    async def end_before(self, key: bytes, end: KeptEnd) -> KeptEnd:
        """Return where a chain ended before all of these records, and forget it; end: where it ended behind them.

        Raises:
            RestorePointError: it cannot be told.
        """
        links = self._links.pop(key, {})
        version, cid = end.version, end.head
        while cid is not None and (link := links.get(cid)) is not None:
            if cid in self._voids:
                raise RestorePointError(f"of {key!r} version {version}, {cid_text(cid)}, there is a copy")
            if link[0] != version:
                raise RestorePointError(f"{cid_text(cid)} of {key!r} is version {link[0]}, and not {version}")
            version, cid = version - 1, link[1]
            self._followed += 1
            if self._followed % STEP == 0:
                await asyncio.sleep(0)
        if (cid is None) is not (version == 0):
            raise RestorePointError(f"the chain of {key!r} does not begin with version 1")
        return START if cid is None else KeptEnd(version, cid)
