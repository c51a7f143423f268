"""Where chains ended at an earlier place of the journal than that of a restore point (pure).

A restore point says where each chain ended at its position, and which events before that are void. What counted between
an earlier place and there is, of each aggregate, a run of links back from that end: its first link names the event with
which the chain ended at the earlier place. No judgement of the reader's rule is made here. The rule is applied to all
of these records once more, from the ends that were found, and must come to those of the restore point.

One thing cannot be told: whether an event of which a copy follows counted before the earlier place or behind it. The
copy is void, so that its CID is among the void ones: then there is no answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from annals.schemas.chain import ForeignError
from annals.schemas.cid import cid_of, cid_text
from annals.schemas.journal_reader import START, KeptEnd, read_record
from annals.schemas.restore_point import RestorePointError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from annals.agents.reading.ports import FollowedRecord

    Link = tuple[int, bytes | None]  # version, CID of the event before


class Unwinding:
    """Takes the records between a place of the journal and a restore point, and answers of each aggregate's chain."""

    def __init__(self, kind: str, voids: Collection[bytes]) -> None:
        """Take the kind, and all events that are void at the restore point."""
        self._kind = kind
        self._voids = voids
        self._links: dict[bytes, dict[bytes, Link]] = {}

    @property
    def keys(self) -> Collection[bytes]:
        """The aggregates that have records there."""
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

    def end_before(self, key: bytes, end: KeptEnd) -> KeptEnd:
        """Return where a chain ended before all of these records; end: where it ended behind them.

        Raises:
            RestorePointError: it cannot be told.
        """
        links = self._links.get(key, {})
        version, cid = end.version, end.head
        while cid is not None and (link := links.get(cid)) is not None:
            if cid in self._voids:
                raise RestorePointError(f"of {key!r} version {version}, {cid_text(cid)}, there is a copy")
            if link[0] != version:
                raise RestorePointError(f"{cid_text(cid)} of {key!r} is version {link[0]}, and not {version}")
            version, cid = version - 1, link[1]
        if (cid is None) is not (version == 0):
            raise RestorePointError(f"the chain of {key!r} does not begin with version 1")
        return START if cid is None else KeptEnd(version, cid)
