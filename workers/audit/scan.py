"""The survey of a chunk of a journal: what can be said of each record by itself.

Pure, and independent of where the chunk begins, so that chunks can be surveyed in any order and by any process. Records
of one aggregate that continue one another are one run, which costs the judge of the links one comparison.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from annals.schemas.bulk import read_together
from annals.schemas.chain import ForeignError
from annals.schemas.cid import cid_of
from annals.schemas.journal_reader import kept_key, read_record
from annals.topics.keys import partition_of
from annals.workers.audit.expected_headers import are_as_written, differences

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from annals.topics.headers import ReadHeaders

    # offset, key, value, headers: decoded, or as they stand in the record
    Record = tuple[int, bytes | None, bytes | None, ReadHeaders | bytes]

TOGETHER: Final = 256  # records that are looked at in one go: few enough to stay in a processor's cache
LEAST_VERSION: Final = -(2**63)
"""CBOR has integers from -2^64; what is below this is shown as this, and does not count either way."""


class Run(Struct, array_like=True, gc=False):
    """Records of one key of which each continues the one before, by version and by link.

    key: as it is kept (`kept_key`); version and previous are the first record's, offsets and binary CIDs are one per
    record; `differences` says, by offset, in what a record's headers differ from its block; is_misplaced: of a key that
    is kept shortened, whether it belongs to another partition.
    """

    key: bytes
    version: int
    previous: bytes | None
    offsets: list[int]
    cids: list[bytes]
    differences: dict[int, str] = {}
    is_misplaced: bool = False


class Foreign(Struct, array_like=True, gc=False):
    """A record that is no event, or not in its place; its key as it is kept."""

    offset: int
    key: bytes | None
    reason: str


class Unread(Struct, array_like=True, gc=False):
    """Offsets up to below `end` that Kafka does not give, and why."""

    offset: int
    end: int
    reason: str


class Survey(Struct, array_like=True, gc=False):
    """What a chunk holds; runs in the order of their first records."""

    runs: list[Run]
    foreign: list[Foreign]
    unread: list[Unread] = []


def survey(
    kind: str, partition: int, partitions: int, records: Iterable[Record], only_key: bytes | None = None
) -> Survey:
    """Look at each record of a chunk, in the journal's order; with `only_key`, at those of one key."""
    surveyor = _Surveyor(kind, partition, partitions)
    remaining = iter(records)
    while some := list(islice(remaining, TOGETHER)):
        wanted = some if only_key is None else [record for record in some if record[1] == only_key]
        if wanted and not surveyor.take_together(wanted):
            for record in wanted:
                surveyor.take(record)
    return Survey(surveyor.runs, surveyor.foreign)


class _Surveyor:
    """One survey while it is made."""

    def __init__(self, kind: str, partition: int, partitions: int) -> None:
        self.runs: list[Run] = []
        self.foreign: list[Foreign] = []
        self._kind = kind
        self._partition = partition
        self._partitions = partitions
        self._newest: dict[bytes, Run] = {}

    def take_together(self, records: Sequence[Record]) -> bool:
        """Take records that are surely all events in their place with their own headers; False if any may not be."""
        offsets, keys, values, headers = zip(*records, strict=True)
        if set(map(type, headers)) != {bytes}:
            return False
        events = read_together(self._kind, values)
        if events is None or list(map(str.encode, events.aggregate_ids)) != list(keys):
            return False
        if not are_as_written(self._kind, keys, headers, events):
            return False
        if 1 in events.versions and any(
            version == 1 and self._is_misplaced(key) for version, key in zip(events.versions, keys, strict=True)
        ):
            return False
        link = self._link
        for each in zip(offsets, keys, events.versions, events.previous, events.cids, strict=True):
            link(*each)
        return True

    def take(self, record: Record) -> None:
        """Take any record."""
        offset, key, value, headers = record
        try:
            event = read_record(self._kind, key, value)
        except ForeignError as error:
            self.foreign.append(Foreign(offset, key and kept_key(key), str(error)))
            return
        assert key is not None  # noqa: S101 - `read_record` refuses it
        assert value is not None  # noqa: S101 - the same
        if event["version"] == 1 and self._is_misplaced(key):
            self.foreign.append(Foreign(offset, kept_key(key), misplaced(key, self._partitions)))
            return
        cid = cid_of(value)
        run = self._link(offset, key, event["version"], event["previous"], cid)
        if lines := differences(headers, event, cid):
            run.differences = {**run.differences, offset: "; ".join(lines)}

    def _is_misplaced(self, key: bytes) -> bool:
        """Whether a key does not belong here. Asked at version 1 only: no later event counts without that one."""
        return partition_of(key, self._partitions) != self._partition

    def _link(self, offset: int, key: bytes, version: int, previous: bytes | None, cid: bytes) -> Run:
        """Add an event to the run that it continues, or begin one."""
        kept = kept_key(key)
        run = self._newest.get(kept)
        if run is not None and run.cids[-1] == previous and run.version + len(run.cids) == version > 1:
            run.offsets.append(offset)
            run.cids.append(cid)
        else:
            self._newest[kept] = run = Run(kept, max(version, LEAST_VERSION), previous, [offset], [cid])
            run.is_misplaced = kept is not key and self._is_misplaced(key)
            self.runs.append(run)
        return run


def misplaced(key: bytes, partitions: int) -> str:
    """Say where a key belongs."""
    return f"the key belongs to partition {partition_of(key, partitions)} of {partitions}"
