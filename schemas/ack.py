"""What a subscriber answers to a delivery: the value of a record in `acks.<name>`, and the body over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from msgspec import DecodeError, Meta, Struct
from msgspec.json import Decoder

from annals.schemas.cid import parse_cid
from annals.schemas.data.validation import Validator
from annals.schemas.wire.strict_json import NotJsonError, parse_strict

if TYPE_CHECKING:
    from collections.abc import Mapping

    from annals.schemas.data.complaints import Problem

ACK: Final = "ack"
NACK: Final = "nack"
PARK: Final = "park"
EXTEND: Final = "extend"

LARGEST_BYTES: Final = 16 << 10  # of the JSON: many times what its members can take
MOST_DELAY_MS: Final = 86_400_000


class Ack(Struct, frozen=True, forbid_unknown_fields=True):
    """An answer to one delivery.

    cid: of the event. attempt: which delivery of it, as `ce_redelivery` says; the first has no such header. delay_ms:
    with `nack`, when it is to come again; with `extend`, how long the subscriber still needs. up_to: `ack` holds for
    all events of the aggregate up to this one. kind: where several have aggregates of the same id.
    """

    cid: Annotated[str, Meta(min_length=1, max_length=128)]
    verdict: Literal["ack", "nack", "park", "extend"]
    attempt: Annotated[int, Meta(ge=1, le=(1 << 53))] = 1
    reason: Annotated[str, Meta(max_length=1_000)] | None = None
    delay_ms: Annotated[int, Meta(ge=0, le=MOST_DELAY_MS)] | None = None
    up_to: bool = False
    kind: Annotated[str, Meta(min_length=1, max_length=256)] | None = None


_ACKS: Final = Validator(Ack)
_decode: Final = Decoder(Ack).decode
_NAMES: Final = tuple(f'"{name}"'.encode() for name in Ack.__struct_fields__)
_DOUBTS: Final = (b"\\", b'"$')


def parse_ack(body: Mapping[str, Any]) -> Ack | list[Problem]:
    """Return the answer, or each member that offends (its path, what is wrong)."""
    found = _ACKS.parse(dict(body), "")
    if isinstance(found, list):
        return [(path.removeprefix("."), message) for path, message in found]
    try:
        parse_cid(found.cid)
    except ValueError as error:
        return [("cid", str(error))]
    return found


def read_ack(value: bytes) -> Ack | list[Problem]:
    """Return the answer that a record says, or what is wrong with it."""
    if len(value) > LARGEST_BYTES:
        return [("", f"must be at most {LARGEST_BYTES:,} bytes")]
    if (ack := _read_surely(value)) is not None:
        return ack
    try:
        body, faults = parse_strict(value)
    except NotJsonError as error:
        return [("", str(error))]
    if not isinstance(body, dict):
        return [("", "must be an object")]
    return list(faults) or parse_ack(body)


def _read_surely(value: bytes) -> Ack | None:
    """Return an answer if it is certain that nothing of it got lost: that no member is there twice. None otherwise."""
    if any(doubt in value for doubt in _DOUBTS) or any(value.count(name) > 1 for name in _NAMES):
        return None
    try:
        ack = _decode(value)
        parse_cid(ack.cid)
    except (DecodeError, ValueError):  # what is wrong with it is for the other way to say
        return None
    return ack
