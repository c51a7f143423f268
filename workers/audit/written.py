"""Whether an event's headers are, byte for byte, what this project writes for its block.

Verification compares the headers of a hundred thousand events a second: as they stand in the record, in one piece with
what `topics.wire` would write, and decoded only where that is not so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from schemas.cid import cid_text
from topics.headers import TRACEPARENT, TRACESTATE, header_differences
from topics.wire import encoded_event_headers, varint
from workers.kafka.frames import headers_of

if TYPE_CHECKING:
    from topics.headers import ReadHeaders

_TRACES: Final = frozenset({TRACEPARENT, TRACESTATE})


def differences(headers: ReadHeaders | bytes, key: bytes, event: dict[str, Any], cid: bytes) -> list[str]:
    """Say where headers, decoded or as they stand, differ from the block (decoded) and its binary CID."""
    if not isinstance(headers, bytes):
        return header_differences(headers, event, cid)
    command_id = event["command_id"].encode()
    expected = encoded_event_headers(
        event["kind"],
        key,
        event["version"],
        event["type"],
        event["schema_version"],
        event["recorded_at"].encode(),
        cid_text(cid).encode(),
        command_id,
        event["correlation_id"].encode(),
        event["causation_id"],
        event["actor"],
    )
    if headers == expected or _only_adds_a_trace(headers, expected):
        return []
    try:
        return header_differences(headers_of(headers), event, cid)
    except (ValueError, IndexError):
        return ["they cannot be read"]


def _only_adds_a_trace(headers: bytes, expected: bytes) -> bool:
    """Whether the headers begin as expected, but for their number, and go on with a trace."""
    if not headers.startswith(expected[1:], 1):
        return False
    more = (headers[0] - expected[0]) >> 1  # both are zigzag, and one byte: there are at most 16 of them
    if headers[0] != expected[0] + 2 * more or not 1 <= more <= len(_TRACES):
        return False
    try:
        return _TRACES.issuperset(name for name, _ in headers_of(varint(more) + headers[len(expected) :]))
    except (ValueError, IndexError):
        return False
