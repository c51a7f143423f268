"""How much memory a record takes that was fetched: what waits for a shard, or for a follower, is bounded by it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from annals.topics.encoded_headers import EncodedHeaders

if TYPE_CHECKING:
    from annals.agents.ports import CommandRecord, Headers

RECORD_BYTES: Final = 600  # measured: what a record takes beside its value
HEADER_BYTES: Final = 150  # measured: what a header takes beside its value's bytes


def bytes_of(record: CommandRecord) -> int:
    """Return about how many bytes a record takes: its key, value and headers, and the objects that hold them."""
    headers = record.headers
    size = RECORD_BYTES + len(record.key or b"") + len(record.value or b"")
    return size + _header_bytes(headers) if headers else size


def _header_bytes(headers: Headers) -> int:
    if isinstance(headers, EncodedHeaders):
        return len(headers.encoded)
    return HEADER_BYTES * len(headers) + sum([len(name) + len(value or b"") for name, value in headers])
