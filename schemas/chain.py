"""The blocks of an aggregate's chain: sealing one more event, and reading a block back.

Both run once per event in the hottest loops, so they are few calls on plain values: an event is its block's map, a link
is 36 bytes. Which events count is decided by `annals.schemas.journal_reader`.
"""

import re
from functools import lru_cache
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

import orjson
from blake3 import blake3
from libipld import decode_dag_cbor, encode_dag_cbor

from annals.schemas.cid import CID_BYTES, CID_PREFIX

if TYPE_CHECKING:
    from types import UnionType

# In canonical order (shorter keys first), which is also the order of a decoded block: encoding has nothing to sort.
MEMBERS: Final = (
    "data",
    "kind",
    "type",
    "actor",
    "version",
    "previous",
    "command_id",
    "recorded_at",
    "aggregate_id",
    "causation_id",
    "correlation_id",
    "schema_version",
)
_COUNT: Final = len(MEMBERS)
VALUES: Final = itemgetter(*MEMBERS)

DEEPEST_DATA: Final = 512
"""Levels of nesting in `data` beyond which a record is foreign: half of what libipld can read at all, so that whether
an event counts depends on this number and on no library's stack. Commands stop at 64."""

_TIME: Final = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]\.[0-9]{6}Z"
_DAY: Final = (
    r"(?!0000)[0-9]{4}-"
    r"(?:(?:0[1-9]|1[0-2])-(?:0[1-9]|1[0-9]|2[0-8])|(?:0[13-9]|1[0-2])-(?:29|30)|(?:0[13578]|1[02])-31)"
)
_LEAP_DAY: Final = r"(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:0[48]|[2468][048]|[13579][26])00)-02-29"
RECORDED_AT: Final = re.compile(f"{_DAY}T{_TIME}|{_LEAP_DAY}T{_TIME}").fullmatch
_TIME_CHARACTERS: Final = 27
_SECOND: Final = slice(0, 20)  # with the point behind it
_MICROSECONDS: Final = slice(20, 26)
_is_second: Final = lru_cache(4)(lambda second: RECORDED_AT(f"{second}000000Z"))


# To match a time is a tenth of reading a block. Many have the time of the one before, nearly all its second.
@lru_cache(4)
def _is_time(text: str) -> bool:
    is_end = text.isascii() and text[_MICROSECONDS].isdecimal() and text.endswith("Z")
    return is_end and _is_second(text[_SECOND]) is not None


class ForeignError(ValueError):
    """A record is no event of this kind: it fails the form or the kind, whatever its place in a chain."""


def seal(
    *,
    kind: str,
    aggregate_id: str,
    version: int,
    previous: bytes | None,
    type: str,  # noqa: A002 - the block's own word, as in `RecordedEvent`
    schema_version: int,
    recorded_at: str,
    command_id: str,
    correlation_id: str,
    causation_id: str | None,
    actor: str | None,
    data: dict[str, Any],
) -> tuple[bytes, bytes]:
    """Return the block of an event and its CID (36 bytes).

    `previous` is the CID of the event before (36 bytes), null exactly at version 1; `recorded_at` is text as
    `annals.schemas.values.moments.recorded_at` writes it; `data` holds JSON types only, no -0.0.

    Raises:
        ValueError: `data` holds what has no encoding.
    """
    block: bytes = encode_dag_cbor(
        {
            "data": data,
            "kind": kind,
            "type": type,
            "actor": actor,
            "version": version,
            "previous": previous,
            "command_id": command_id,
            "recorded_at": recorded_at,
            "aggregate_id": aggregate_id,
            "causation_id": causation_id,
            "correlation_id": correlation_id,
            "schema_version": schema_version,
        }
    )
    return block, CID_PREFIX + blake3(block).digest()


def read_block(kind: str, value: bytes | None) -> dict[str, Any]:
    """Return the event in a record of `events.<kind>`: the map of its twelve members; `previous` is bytes or None.

    This is part 1 of the reader's rule, and of part 2 the kind: the rest is `annals.schemas.journal_reader`'s.

    Raises:
        ForeignError: the value is not canonical DAG-CBOR of exactly these members, of their types, of this kind.
    """
    try:
        event: dict[str, Any] = decode_dag_cbor(value)
        (
            data,
            own_kind,
            type_,
            actor,
            version,
            previous,
            command_id,
            recorded_at,
            aggregate_id,
            causation_id,
            correlation_id,
            schema_version,
        ) = VALUES(event)
        again = encode_dag_cbor(event)
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise ForeignError(_why_unreadable(value, error)) from None
    if again != value or len(event) != _COUNT:
        raise ForeignError(_why_not_exact(event, value))
    # Chained, the six comparisons cost as much as two; a decoder makes no subclasses, and bool is none of int's here.
    if not (
        type(own_kind) is type(type_) is type(command_id) is type(aggregate_id) is type(correlation_id) is str
        and type(version) is type(schema_version) is int
        and type(data) is dict
        and type(recorded_at) is str
        and (causation_id is None or type(causation_id) is str)
        and (actor is None or type(actor) is str)
        and (
            previous is None or (type(previous) is bytes and len(previous) == CID_BYTES and previous[:4] == CID_PREFIX)
        )
    ):
        raise ForeignError(_why_mistyped(event))
    if len(recorded_at) != _TIME_CHARACTERS or not _is_time(recorded_at):
        raise ForeignError("recorded_at is no RFC 3339 time in UTC with six digits of microseconds and Z")
    if own_kind != kind:
        raise ForeignError(f"kind is {own_kind[:40]!r}, the topic's is {kind!r}")
    try:
        orjson.dumps(data)
    except TypeError:
        _require_json(data)
    return event


def decode_again(block: bytes) -> dict[str, Any]:
    """Return the event of a block that `read_block` has taken before: nothing is checked, in a sixth of the time."""
    event: dict[str, Any] = decode_dag_cbor(block)
    return event


def _why_unreadable(value: bytes | None, error: Exception) -> str:
    if value is None:
        return "the value is null"
    if isinstance(error, ValueError | RecursionError):
        return f"no DAG-CBOR: {error}"
    if isinstance(error, KeyError):
        return f"the member {error.args[0]} is missing"
    return "the block is no map"


def _why_not_exact(event: dict[str, Any], value: bytes | None) -> str:
    unknown = sorted(set(event) - set(MEMBERS))
    if unknown:
        return f"there is no member {unknown[0][:40]!r} in an event"
    return f"not canonical DAG-CBOR: encoded again it gives other bytes ({len(value or b'')} came)"


def _why_mistyped(event: dict[str, Any]) -> str:
    wanted: dict[str, type | UnionType] = dict.fromkeys(MEMBERS, str)
    wanted |= {"data": dict, "version": int, "schema_version": int, "actor": str | None, "causation_id": str | None}
    del wanted["previous"]
    for name, types in wanted.items():
        if not isinstance(event[name], types) or type(event[name]) is bool:
            return f"{name} is {type(event[name]).__name__}, which it may not be"
    return "previous is neither null nor a link to a CIDv1 of dag-cbor and BLAKE3-256"


def _require_json(data: dict[str, Any]) -> None:
    """Look at each value: what orjson refused may be beyond its own limits (64 bits, 254 levels) and yet be JSON."""
    level: list[Any] = [data]
    for _ in range(DEEPEST_DATA):
        inner: list[Any] = []
        for container in level:
            values = container.values() if type(container) is dict else container
            for item in values:
                if type(item) is bytes:
                    raise ForeignError("data holds bytes or a link: only JSON types may be there")
                if type(item) is dict or type(item) is list:
                    inner.append(item)
        if not inner:
            return
        level = inner
    raise ForeignError(f"data is nested beyond {DEEPEST_DATA} levels")
