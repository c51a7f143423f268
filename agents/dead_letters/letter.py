"""A dead letter: what its headers say, what its bytes say as far as they can be read, and how it is sent again."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson
from msgspec import Struct

from annals.schemas.values.moments import recorded_at
from annals.schemas.values.numbers import LATEST_MS
from annals.topics.headers import DEAD_LETTER_HEADERS, ORIGIN_OFFSET, ORIGIN_PARTITION, decimal_header
from annals.topics.keys import partition_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from annals.topics.headers import ReadHeaders

LONGEST_SHOWN: Final = 256  # characters of a member: an id that counts is no longer
LONGEST_LOOKED_INTO: Final = 1 << 20  # bytes; a longer value was refused for its length
_FORWARDING: Final = (ORIGIN_PARTITION, ORIGIN_OFFSET)


class DeadLetterRecord(NamedTuple):
    """A record of `dead-letters`."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: ReadHeaders


class Letter(Struct, frozen=True):
    """A dead letter. null: its bytes do not say. `at`: when the command was received."""

    partition: int
    offset: int
    reason: str
    message: str
    kind: str | None
    aggregate_id: str | None
    command_id: str | None
    type: str | None
    source_topic: str
    source_partition: int | None
    source_offset: int | None
    at: str | None


class Again(NamedTuple):
    """A command as it is sent again: key, value and headers as its producer gave them."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: ReadHeaders


def describe(record: DeadLetterRecord, kinds: Mapping[str, str]) -> Letter:
    """Return what is known of a dead letter. kinds: of aggregates, by the topic of their commands that it came from."""
    headers = dict(record.headers)
    source = _text(headers.get("source-topic"))
    command_id, type_name, aggregate_id = _command_members(record, headers)
    return Letter(
        record.partition,
        record.offset,
        _text(headers.get("reason")),
        _text(headers.get("message")),
        kinds.get(source),
        aggregate_id,
        command_id,
        type_name,
        source,
        decimal_header(record.headers, "source-partition"),
        decimal_header(record.headers, "source-offset"),
        _moment(received_ms(record.headers)),
    )


def received_ms(headers: ReadHeaders) -> int | None:
    """Return when the command of a dead letter was received, in milliseconds; None if no moment is said."""
    milliseconds = decimal_header(headers, "source-timestamp")
    return None if milliseconds is None or milliseconds > LATEST_MS else milliseconds


def send_again(record: DeadLetterRecord, letter: Letter, partitions: Mapping[str, int]) -> Again | None:
    """Return the command as it is sent again, to the partition of its key; None: it came from no topic of commands.

    partitions: of the topics of commands. That it was forwarded is forgotten: it is no longer a copy of another record.
    """
    count = partitions.get(letter.source_topic)
    if count is None:
        return None
    headers = list(record.headers)
    ours = len(DEAD_LETTER_HEADERS)
    if tuple(name for name, _ in headers[-ours:]) == DEAD_LETTER_HEADERS:
        headers = headers[:-ours]
    if tuple(name for name, _ in headers[-2:]) == _FORWARDING:
        headers = headers[:-2]
    key = record.key
    if key is None and letter.aggregate_id is not None:
        partition = partition_of(letter.aggregate_id.encode(errors="surrogatepass"), count)
    elif key is None:
        partition = (letter.source_partition or 0) % count
    else:
        partition = partition_of(key, count)
    return Again(letter.source_topic, partition, key, record.value, headers)


def _command_members(record: DeadLetterRecord, headers: Mapping[str, bytes | None]) -> tuple[str | None, ...]:
    """Return id, type and aggregate id as far as the bytes tell; of a CloudEvent as its attributes tell."""
    body: dict[str, Any] = {}
    if record.value is not None and len(record.value) <= LONGEST_LOOKED_INTO:
        try:
            found = orjson.loads(record.value)
        except orjson.JSONDecodeError:
            found = None
        body = found if isinstance(found, dict) else {}
    is_event = "specversion" in body
    named = body.get("subject" if is_event else "aggregate_id")
    if "ce_specversion" in headers:
        members = [_or_none(headers.get(name)) for name in ("ce_id", "ce_type", "ce_subject")]
    else:
        members = [_short(body.get("id")), _short(body.get("type")), _short(named)]
    if members[2] is None:
        members[2] = _or_none(record.key)
    return tuple(members)


def _short(value: object) -> str | None:
    return value if isinstance(value, str) and 0 < len(value) <= LONGEST_SHOWN else None


def _or_none(value: bytes | None) -> str | None:
    if value is None:
        return None
    try:
        return _short(value.decode())
    except UnicodeDecodeError:
        return None


def _text(value: bytes | None) -> str:
    return (value or b"").decode(errors="replace")


def _moment(milliseconds: int | None) -> str | None:
    return None if milliseconds is None else recorded_at(datetime.fromtimestamp(milliseconds / 1000, UTC))
