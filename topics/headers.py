"""The headers of every record that is written, and the reading of those that matter.

An event is also a CloudEvent (1.0, Kafka protocol binding, binary content mode): its headers repeat the block,
so that a consumer can filter without decoding. Only the block is covered by the CID: where they differ, it is right.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

from annals.schemas.cid import cid_text

Header = tuple[str, bytes]
# What is read may hold null: Kafka allows a header without a value.
ReadHeaders = Sequence[tuple[str, bytes | None]]

CONTENT_TYPE: Final = ("content-type", b"application/vnd.ipld.dag-cbor")
SPEC_VERSION: Final = ("ce_specversion", b"1.0")
COMMAND_ID: Final = "command-id"
COMMAND_OFFSET: Final = "command-offset"
JOURNAL_OFFSET: Final = "journal-offset"
ORIGIN_PARTITION: Final = "origin-partition"
ORIGIN_OFFSET: Final = "origin-offset"
TRACEPARENT: Final = "traceparent"
TRACESTATE: Final = "tracestate"
EVENT_VIA: Final = "ce_annalsvia"
QUIET: Final = "annals-quiet"
"""Of a record in `rekeyed.<name>`: its event is older than the reaction, which sends no command by it."""

# The names whose values the block decides: exactly these are compared with it.
FROM_BLOCK: Final = frozenset(
    {
        "content-type",
        "ce_specversion",
        "ce_id",
        "ce_type",
        "ce_source",
        "ce_subject",
        "ce_time",
        "ce_sequence",
        "ce_partitionkey",
        "ce_correlationid",
        "ce_causationid",
        "ce_commandcausationid",
        "ce_actor",
        "ce_dataschema",
    }
)

DEAD_LETTER_HEADERS: Final = (
    "reason",
    "message",
    "source-topic",
    "source-partition",
    "source-offset",
    "source-timestamp",
)
"""The last headers of a dead letter, in this order; before them are those that the command had."""

LONGEST_MESSAGE_BYTES: Final = 500
LONGEST_DECIMAL: Final = 19  # of a 64-bit offset
KNOWN_TYPES: Final = 4096  # event types and versions of all kinds, many times over
LONGEST_KNOWN: Final = 256  # characters of a type's name that is remembered: a stranger's can have any length


def type_headers(kind: str, type_name: str, schema_version: int) -> tuple[Header, Header, Header]:
    """Return the headers that all events of a type and schema version have: type, source and schema."""
    made = _known_type_headers if len(type_name) <= LONGEST_KNOWN else _type_headers
    return made(kind, type_name, schema_version)


def _type_headers(kind: str, type_name: str, schema_version: int) -> tuple[Header, Header, Header]:
    return (
        ("ce_type", f"annals.{kind}.{type_name}.v{schema_version}".encode()),
        ("ce_source", f"/annals/{kind}".encode()),
        ("ce_dataschema", f"urn:annals:schema:{kind}:{type_name}:{schema_version}".encode()),
    )


_known_type_headers: Final = lru_cache(KNOWN_TYPES)(_type_headers)


def event_headers(
    *,
    kind: str,
    key: bytes,
    version: int,
    type_name: str,
    schema_version: int,
    recorded_at: str,
    cid: str,
    command_id: str,
    correlation_id: str,
    causation_id: str | None,
    actor: str | None,
    traceparent: bytes | None = None,
    tracestate: bytes | None = None,
    via: bytes | None = None,
) -> list[Header]:
    """Return the headers of an event: `key` is the aggregate id in UTF-8, `cid` is text, the rest as in the block."""
    ce_type, ce_source, ce_dataschema = type_headers(kind, type_name, schema_version)
    headers = [
        CONTENT_TYPE,
        SPEC_VERSION,
        ("ce_id", cid.encode()),
        ce_type,
        ce_source,
        ce_dataschema,
        ("ce_subject", key),
        ("ce_time", recorded_at.encode()),
        ("ce_sequence", b"%020d" % version),
        ("ce_partitionkey", key),
        ("ce_correlationid", correlation_id.encode()),
        ("ce_causationid", command_id.encode()),
    ]
    if causation_id is not None:
        headers.append(("ce_commandcausationid", causation_id.encode()))
    if actor is not None:
        headers.append(("ce_actor", actor.encode()))
    if traceparent is not None:
        headers.append((TRACEPARENT, traceparent))
    if tracestate is not None:
        headers.append((TRACESTATE, tracestate))
    if via is not None:
        headers.append((EVENT_VIA, via))
    return headers


def block_headers(event: Mapping[str, Any], cid: bytes) -> list[Header]:
    """Return the headers that a block (decoded) with this binary CID calls for; what is carried is no part of them."""
    return event_headers(
        kind=event["kind"],
        key=event["aggregate_id"].encode(),
        version=event["version"],
        type_name=event["type"],
        schema_version=event["schema_version"],
        recorded_at=event["recorded_at"],
        cid=cid_text(cid),
        command_id=event["command_id"],
        correlation_id=event["correlation_id"],
        causation_id=event["causation_id"],
        actor=event["actor"],
    )


def header_differences(headers: ReadHeaders, event: Mapping[str, Any], cid: bytes) -> list[str]:
    """Say where a record's headers differ from its block (decoded, of the contract's form) and the block's binary CID.

    Each line names one header, what it has and what the block says. Headers that the block does not decide are passed
    over.
    """
    wanted = block_headers(event, cid)
    count = len(wanted)
    # As this project writes them: in this order, and after them at most what is carried. One comparison instead of
    # many.
    if list(headers[:count]) == wanted and (len(headers) == count or FROM_BLOCK.isdisjoint(dict(headers[count:]))):
        return []
    return _differences(headers, dict(wanted))


def _differences(headers: ReadHeaders, wanted: Mapping[str, bytes]) -> list[str]:
    found: dict[str, list[bytes | None]] = {name: [] for name in wanted}
    for name, value in headers:
        if name in FROM_BLOCK:
            found.setdefault(name, []).append(value)
    differences = []
    for name, values in found.items():
        expected = wanted.get(name)
        if expected is None:
            differences.append(f"{name} is {_shown(values[0])}, the block has none")
        elif not values:
            differences.append(f"{name} is missing, the block says {_shown(expected)}")
        elif len(values) > 1:
            differences.append(f"{name} is there {len(values)} times, the block says {_shown(expected)}")
        elif values[0] != expected:
            differences.append(f"{name} is {_shown(values[0])}, the block says {_shown(expected)}")
    return differences


def _shown(value: bytes | None) -> str:
    return "null" if value is None else repr(value.decode(errors="backslashreplace"))


def outcome_headers(
    command_id: str,
    command_offset: int,
    journal_offset: int | None = None,
    origin: tuple[bytes, bytes] | None = None,
    traceparent: bytes | None = None,
    tracestate: bytes | None = None,
) -> list[Header]:
    """Return the headers of an outcome.

    `command_offset` is the command's in its partition; `journal_offset` the journal's end that a later reader must at
    least find; `origin` is what `origin_of` found in a forwarded command.
    """
    headers = [(COMMAND_ID, command_id.encode()), (COMMAND_OFFSET, b"%d" % command_offset)]
    if journal_offset is not None:
        headers.append((JOURNAL_OFFSET, b"%d" % journal_offset))
    if origin is not None:
        headers.append((ORIGIN_PARTITION, origin[0]))
        headers.append((ORIGIN_OFFSET, origin[1]))
    if traceparent is not None:
        headers.append((TRACEPARENT, traceparent))
    if tracestate is not None:
        headers.append((TRACESTATE, tracestate))
    return headers


def forwarded_headers(original: ReadHeaders, partition: int, offset: int) -> list[tuple[str, bytes | None]]:
    """Return the headers of a misplaced command's copy: as they were, then where the original is."""
    return [*original, (ORIGIN_PARTITION, b"%d" % partition), (ORIGIN_OFFSET, b"%d" % offset)]


def origin_of(headers: ReadHeaders) -> tuple[bytes, bytes] | None:
    """Return partition and offset of the original as a forwarded copy names them, or None if it is no copy."""
    if not headers:
        return None
    found = dict(headers)
    partition, offset = found.get(ORIGIN_PARTITION), found.get(ORIGIN_OFFSET)
    if ORIGIN_PARTITION not in found or ORIGIN_OFFSET not in found:
        return None
    return partition or b"", offset or b""


def dead_letter_headers(
    original: ReadHeaders, reason: str, message: str, topic: str, partition: int, offset: int, timestamp_ms: int
) -> list[tuple[str, bytes | None]]:
    """Return the headers of a dead letter: the original ones first, then ours; the last of a name is ours."""
    return [
        *original,
        ("reason", reason.encode()),
        ("message", clipped(message)),
        ("source-topic", topic.encode()),
        ("source-partition", b"%d" % partition),
        ("source-offset", b"%d" % offset),
        ("source-timestamp", b"%d" % timestamp_ms),
    ]


def clipped(message: str) -> bytes:
    """Return a message as UTF-8 of at most 500 bytes, cut between characters."""
    # A lone surrogate cannot be encoded; the message quotes what somebody sent.
    encoded = message.encode(errors="backslashreplace")
    if len(encoded) <= LONGEST_MESSAGE_BYTES:
        return encoded
    return encoded[: LONGEST_MESSAGE_BYTES - 3].decode(errors="ignore").encode() + "…".encode()


def decimal_header(headers: Iterable[tuple[str, bytes | None]], name: str) -> int | None:
    """Return the last header of a name as a number from 0; None if there is none or it is not written in decimal."""
    value = dict(headers).get(name)
    if value is None or not value.isdigit() or len(value) > LONGEST_DECIMAL:
        return None
    return int(value)
