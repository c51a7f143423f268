"""Whether an event's headers are, byte for byte, what this project writes for its block.

Verification compares the headers of a hundred thousand events a second: as they stand in the record, in one piece with
what would be written, and decoded only where that is not so. What would be written is a template, one for all events of
a type whose ids have the same lengths, filled in by one operation.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from annals.schemas.cid import CID_TEXT_CHARACTERS, cid_text
from annals.topics.carried import CARRIED
from annals.topics.headers import LONGEST_KNOWN, event_headers, header_differences
from annals.topics.wire import varint
from annals.workers.kafka.protocol.record_batches import headers_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from annals.schemas.bulk import Columns
    from annals.topics.headers import ReadHeaders

_TEMPLATES: Final = 4096  # types by lengths of ids: few of them, unless somebody's ids are of every length
_TIME_CHARACTERS: Final = 27
_SEQUENCE_CHARACTERS: Final = 20
_NONE: Final = -1


def differences(headers: ReadHeaders | bytes, event: dict[str, Any], cid: bytes) -> list[str]:
    """Say where headers, decoded or as they stand, differ from the block (decoded) and its binary CID."""
    try:
        return header_differences(headers_of(headers) if isinstance(headers, bytes) else headers, event, cid)
    except (ValueError, IndexError):
        return ["they cannot be read"]


def are_as_written(kind: str, keys: Sequence[bytes], headers: Sequence[bytes], events: Columns) -> bool:
    """Whether the headers of many events, as they stand, are surely those of their blocks.

    keys: the aggregate ids in UTF-8. No says nothing but that each must be looked at alone.
    """
    expected = []
    shape = template = None
    for type_name, schema_version, cid, key, time, version, correlation_id, command_id, causation_id, actor in zip(
        events.types,
        events.schema_versions,
        map(cid_text, events.cids),
        keys,
        map(str.encode, events.recorded_at),
        events.versions,
        map(str.encode, events.correlation_ids),
        map(str.encode, events.command_ids),
        map(_encoded, events.causation_ids),
        map(_encoded, events.actors),
        strict=True,
    ):
        own: tuple[Any, ...] = (cid.encode(), key, time, version, key, correlation_id, command_id)
        causation_length = actor_length = _NONE
        if causation_id is not None:
            own += (causation_id,)
            causation_length = len(causation_id)
        if actor is not None:
            own += (actor,)
            actor_length = len(actor)
        its_shape = (
            type_name,
            schema_version,
            len(key),
            len(correlation_id),
            len(command_id),
            causation_length,
            actor_length,
        )
        if template is None or its_shape != shape:
            shape = its_shape
            template = (_known_template if len(type_name) <= LONGEST_KNOWN else _template)(kind, *its_shape)
        expected.append(template % own)
    if expected == list(headers):
        return True
    return all(
        found == wanted or _only_adds_a_trace(found, wanted) for found, wanted in zip(headers, expected, strict=True)
    )


def _encoded(text: str | None) -> bytes | None:
    return None if text is None else text.encode()


def _only_adds_a_trace(headers: bytes, expected: bytes) -> bool:
    """Whether the headers begin as expected, but for their number, and go on with what is carried."""
    if not headers.startswith(expected[1:], 1):
        return False
    more = (headers[0] - expected[0]) >> 1  # both are zigzag, and one byte: there are at most 17 of them
    if headers[0] != expected[0] + 2 * more or not 1 <= more <= len(CARRIED):
        return False
    try:
        return CARRIED.issuperset(name for name, _ in headers_of(varint(more) + headers[len(expected) :]))
    except ValueError:
        return False


def _template(
    kind: str,
    type_name: str,
    schema_version: int,
    key_length: int,
    correlation_length: int,
    command_length: int,
    causation_length: int,
    actor_length: int,
) -> bytes:
    """Return the headers with a place for each value that is an event's own, in the order of the headers."""
    causation, actor = (None if length == _NONE else "" for length in (causation_length, actor_length))
    written = event_headers(
        kind=kind,
        key=b"",
        version=1,
        type_name=type_name,
        schema_version=schema_version,
        recorded_at="",
        cid="",
        command_id="",
        correlation_id="",
        causation_id=causation,
        actor=actor,
    )
    lengths = {
        "ce_id": CID_TEXT_CHARACTERS,
        "ce_subject": key_length,
        "ce_time": _TIME_CHARACTERS,
        "ce_sequence": _SEQUENCE_CHARACTERS,
        "ce_partitionkey": key_length,
        "ce_correlationid": correlation_length,
        "ce_causationid": command_length,
        "ce_commandcausationid": causation_length,
        "ce_actor": actor_length,
    }
    parts = [varint(len(written))]
    for name, value in written:
        constant = varint(len(name)) + name.encode() + varint(lengths.get(name, len(value)))
        if name not in lengths:
            constant += value
        # A length may happen to have the byte of a per cent sign, and so may a stranger's type.
        parts.append(constant.replace(b"%", b"%%"))
        if name in lengths:
            parts.append(b"%020d" if name == "ce_sequence" else b"%b")
    return b"".join(parts)


_known_template: Final = lru_cache(_TEMPLATES)(_template)
