"""The survey of a chunk of a journal: what can be said of each record by itself.

Pure, and independent of where the chunk begins, so that chunks can be surveyed in any order and by any process. Records
of one aggregate that continue one another are one run, which costs the judge of the links one comparison.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from blake3 import blake3
from msgspec import Struct

from schemas.chain import ForeignError, read_block
from schemas.cid import CID_PREFIX
from topics.keys import partition_of
from workers.audit.written import differences

if TYPE_CHECKING:
    from collections.abc import Iterable

    from topics.headers import ReadHeaders

    # offset, key, value, headers: decoded, or as they stand in the record
    Record = tuple[int, bytes | None, bytes | None, ReadHeaders | bytes]

LEAST_VERSION: Final = -(2**63)
"""CBOR has integers from -2^64; what is below this is shown as this, and does not count either way."""


class Run(Struct, array_like=True, gc=False):
    """Records of one key of which each continues the one before, by version and by link.

    version and previous are the first record's, offsets and binary CIDs are one per record; `differences` says, by
    offset, in what a record's headers differ from its block.
    """

    key: bytes
    version: int
    previous: bytes | None
    offsets: list[int]
    cids: list[bytes]
    differences: dict[int, str] = {}


class Foreign(Struct, array_like=True, gc=False):
    """A record that is no event, or not in its place."""

    offset: int
    key: bytes | None
    reason: str


class Survey(Struct, array_like=True, gc=False):
    """What a chunk holds; runs in the order of their first records."""

    runs: list[Run]
    foreign: list[Foreign]


def survey(
    kind: str, partition: int, partitions: int, records: Iterable[Record], only_key: bytes | None = None
) -> Survey:
    """Look at each record of a chunk, in the journal's order; with `only_key`, at those of one key.

    A key is asked for its partition only at version 1: no later event counts without that one.
    """
    runs: list[Run] = []
    foreign: list[Foreign] = []
    newest: dict[bytes, Run] = {}
    for offset, key, value, headers in records:
        if only_key is not None and key != only_key:
            continue
        try:
            event = read_block(kind, value)
        except ForeignError as error:
            foreign.append(Foreign(offset, key, str(error)))
            continue
        if value is None or key is None or event["aggregate_id"].encode() != key:
            foreign.append(Foreign(offset, key, "the key is not the block's aggregate_id"))
            continue
        version, previous = event["version"], event["previous"]
        if version == 1 and partition_of(key, partitions) != partition:
            foreign.append(Foreign(offset, key, misplaced(key, partitions)))
            continue
        cid = CID_PREFIX + blake3(value).digest()
        run = newest.get(key)
        if run is not None and run.cids[-1] == previous and run.version + len(run.cids) == version > 1:
            run.offsets.append(offset)
            run.cids.append(cid)
        else:
            newest[key] = run = Run(key, max(version, LEAST_VERSION), previous, [offset], [cid])
            runs.append(run)
        if lines := differences(headers, key, event, cid):
            run.differences = {**run.differences, offset: "; ".join(lines)}
    return Survey(runs, foreign)


def misplaced(key: bytes, partitions: int) -> str:
    """Say where a key belongs."""
    return f"the key belongs to partition {partition_of(key, partitions)} of {partitions}"
