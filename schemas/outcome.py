"""What became of a command: the JSON that a worker writes, and the typed view of those who read it."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import msgspec
import orjson
from msgspec import Struct

from annals.schemas.cid import cid_text
from annals.schemas.depth import decoded, loaded

ACCEPTED: Final = "accepted"
REJECTED: Final = "rejected"
DUPLICATE: Final = "duplicate"

UNKNOWN_COMMAND: Final = "unknown_command"
INVALID_COMMAND: Final = "invalid_command"
VERSION_CONFLICT: Final = "version_conflict"
HEAD_CONFLICT: Final = "head_conflict"
INVALID_TRANSITION: Final = "invalid_transition"
RULE_VIOLATED: Final = "rule_violated"
TOO_LARGE: Final = "too_large"
AGGREGATE_FULL: Final = "aggregate_full"
INTERNAL_ERROR: Final = "internal_error"
CODES: Final = (
    UNKNOWN_COMMAND,
    INVALID_COMMAND,
    VERSION_CONFLICT,
    HEAD_CONFLICT,
    INVALID_TRANSITION,
    RULE_VIOLATED,
    TOO_LARGE,
    AGGREGATE_FULL,
    INTERNAL_ERROR,
)

MOST_ERRORS: Final = 20
MOST_FOUND: Final = 100
"""Errors of a command after which nobody looks for more: `MOST_ERRORS` are told, those beyond them counted."""
LONGEST_PATH: Final = 200
LONGEST_MESSAGE: Final = 500

_EVENT: Final = b'{"version":%d,"type":"%b","cid":"%b"}'
_DONE: Final = (
    b'{"command_id":%b,"kind":%b,"aggregate_id":%b,"status":"%b","version":%d,"head":%b,"events":[%b],"error":null}'
)

_ONE_DONE: Final = (
    b'{"command_id":%b,"kind":"%b","aggregate_id":%b,"status":"accepted","version":%d,"head":"%b",'
    b'"events":[{"version":%d,"type":"%b","cid":"%b"}],"error":null}'
)

WrittenEvent = tuple[int, str, bytes]
"""Version, type and binary CID of an event that a command caused."""


def accepted(
    command_id: str, kind: str, aggregate_id: str, version: int, head: bytes | None, events: Sequence[WrittenEvent]
) -> bytes:
    """Return the outcome of a command that was accepted; no events: what it wished was already true."""
    return _done(ACCEPTED, command_id, kind, aggregate_id, version, head, events)


def accepted_event(
    command_id: str, kind: bytes, aggregate_id: str, version: int, type_name: bytes, cid: bytes
) -> bytes:
    """Return what `accepted` says of a command with one event, which nearly all have: kind, type and CID as UTF-8."""
    return _ONE_DONE % (
        orjson.dumps(command_id),
        kind,
        orjson.dumps(aggregate_id),
        version,
        cid,
        version,
        type_name,
        cid,
    )


def duplicate(
    command_id: str, kind: str, aggregate_id: str, version: int, head: bytes | None, events: Sequence[WrittenEvent]
) -> bytes:
    """Return the outcome of a command whose id has events already; everything is as it was then."""
    return _done(DUPLICATE, command_id, kind, aggregate_id, version, head, events)


def rejected(
    command_id: str,
    kind: str,
    aggregate_id: str,
    version: int,
    head: bytes | None,
    code: str,
    message: str,
    details: Mapping[str, Any],
) -> bytes:
    """Return the outcome of a command that changed nothing; `version` and `head` are the aggregate's of now."""
    return orjson.dumps(
        {
            "command_id": command_id,
            "kind": kind,
            "aggregate_id": aggregate_id,
            "status": REJECTED,
            "version": version,
            "head": None if head is None else cid_text(head),
            "events": [],
            "error": {"code": code, "message": message[:LONGEST_MESSAGE], "details": details},
        }
    )


def invalid_details(errors: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Return the details of `invalid_command`: the first errors (path, message), and how many more were found."""
    return {
        "errors": [
            {"path": path[:LONGEST_PATH], "message": message[:LONGEST_MESSAGE]}
            for path, message in errors[:MOST_ERRORS]
        ],
        "more": max(0, len(errors) - MOST_ERRORS),
    }


def unknown_details(type_name: str) -> dict[str, Any]:
    """Return the details of `unknown_command`."""
    return {"type": type_name}


def version_details(expected: int | str, actual: int) -> dict[str, Any]:
    """Return the details of `version_conflict`."""
    return {"expected": expected, "actual": actual}


def head_details(expected: bytes, actual: bytes | None) -> dict[str, Any]:
    """Return the details of `head_conflict`; both are binary CIDs."""
    return {"expected": cid_text(expected), "actual": None if actual is None else cid_text(actual)}


def transition_details(status: str, command: str) -> dict[str, Any]:
    """Return the details of `invalid_transition`: the aggregate's status and the command's type."""
    return {"status": status, "command": command}


def rule_details(rule: str) -> dict[str, Any]:
    """Return the details of `rule_violated`."""
    return {"rule": rule}


def size_details(size_bytes: int, limit_bytes: int) -> dict[str, Any]:
    """Return the details of `too_large`."""
    return {"bytes": size_bytes, "limit": limit_bytes}


def full_details(limit: int) -> dict[str, Any]:
    """Return the details of `aggregate_full`: the most events an aggregate may have."""
    return {"limit": limit}


def _done(
    status: str,
    command_id: str,
    kind: str,
    aggregate_id: str,
    version: int,
    head: bytes | None,
    events: Sequence[WrittenEvent],
) -> bytes:
    # written by hand: a third of what building the dictionaries and encoding them takes, once per command
    written = b",".join([_EVENT % (number, name.encode(), cid_text(cid).encode()) for number, name, cid in events])
    return _DONE % (
        orjson.dumps(command_id),
        orjson.dumps(kind),
        orjson.dumps(aggregate_id),
        status.encode(),
        version,
        b"null" if head is None else b'"%b"' % cid_text(head).encode(),
        written,
    )


class OutcomeEvent(Struct, frozen=True):
    """An event that a command caused; `cid` is text."""

    version: int
    type: str
    cid: str


class Rejection(Struct, frozen=True):
    """Why a command changed nothing; the shape of `details` follows from `code`."""

    code: str
    message: str
    details: dict[str, Any]


class Outcome(Struct, frozen=True):
    """An outcome as clients read it; members that a later release adds are passed over."""

    command_id: str
    kind: str
    aggregate_id: str
    status: Literal["accepted", "rejected", "duplicate"]
    version: int
    head: str | None
    events: list[OutcomeEvent]
    error: Rejection | None = None


_READ_AT_ONCE_BYTES: Final = 64 << 10
_DECODER: Final = msgspec.json.Decoder(Outcome)


def decode_outcome(value: bytes) -> Outcome:
    """Return the outcome in a record of `outcomes.<kind>`.

    Raises:
        ValueError: it is none; the message says where.
    """
    try:
        if len(value) > _READ_AT_ONCE_BYTES:  # only a stranger's `details` are so long
            return msgspec.convert(loaded(value), Outcome)
        return decoded(_DECODER.decode, value)
    except ValueError as error:
        raise ValueError(f"no outcome: {error}") from None
