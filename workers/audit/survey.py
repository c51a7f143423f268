"""The survey of a chunk of a journal: what can be said of each record by itself.

Pure, and independent of where the chunk begins, so that chunks can be surveyed in any order and by any process. Records
of one aggregate that continue one another are one run, which costs the judge of the links one comparison.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from blake3 import blake3
from msgspec import Struct

from schemas.chain import ForeignError, read_block
from schemas.cid import CID_PREFIX, cid_text
from topics.headers import CONTENT_TYPE, SPEC_VERSION, TRACEPARENT, TRACESTATE, event_headers, header_differences
from topics.keys import partition_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from topics.headers import Header, ReadHeaders

    Record = tuple[int, bytes | None, bytes | None, ReadHeaders]  # offset, key, value, headers

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
        if not _are_as_written(headers, key, event, cid) and (lines := header_differences(headers, event, cid)):
            run.differences = {**run.differences, offset: "; ".join(lines)}
    return Survey(runs, foreign)


def misplaced(key: bytes, partitions: int) -> str:
    """Say where a key belongs."""
    return f"the key belongs to partition {partition_of(key, partitions)} of {partitions}"


_TRACE: Final = frozenset({TRACEPARENT, TRACESTATE})
_ALWAYS: Final = 12  # headers that every event has, before those that it may have


@lru_cache(maxsize=4096)
def _of_type(kind: str, type_name: str, schema_version: int) -> tuple[Header, ...]:
    """Return the headers that all events of a type have: `topics.headers` decides, here they are kept."""
    return tuple(event_headers(kind, b"", 1, type_name, schema_version, "", "", "", "", None, None)[3:6])


def _are_as_written(headers: ReadHeaders, key: bytes, event: dict[str, Any], cid: bytes) -> bool:
    """Whether the headers are what `topics.headers.event_headers` makes of the block, in that order.

    It says so in half the time that making them anew takes; where it does not, `header_differences` decides.
    """
    command_id, correlation_id = event["command_id"], event["correlation_id"]
    causation_id, actor = event["causation_id"], event["actor"]
    causing = command_id.encode()
    if headers[:_ALWAYS] != [
        CONTENT_TYPE,
        SPEC_VERSION,
        ("ce_id", cid_text(cid).encode()),
        *_of_type(event["kind"], event["type"], event["schema_version"]),
        ("ce_subject", key),
        ("ce_time", event["recorded_at"].encode()),
        ("ce_sequence", b"%020d" % event["version"]),
        ("ce_partitionkey", key),
        ("ce_correlationid", causing if correlation_id == command_id else correlation_id.encode()),
        ("ce_causationid", causing),
    ]:
        return False
    at = _ALWAYS
    if causation_id is not None:
        if headers[at : at + 1] != [("ce_commandcausationid", causation_id.encode())]:
            return False
        at += 1
    if actor is not None:
        if headers[at : at + 1] != [("ce_actor", actor.encode())]:
            return False
        at += 1
    return len(headers) == at or _TRACE.issuperset(name for name, _ in headers[at:])
