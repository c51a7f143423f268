"""JSON Schema 2020-12 of what is around the data: commands, events, outcomes and snapshots as they go over the wire.

Blocks are DAG-CBOR; their schemas are those of their DAG-JSON: a link is `{"/": cid}`, bytes are `{"/": {"bytes": …}}`.
Readers pass over members of outcomes and snapshots that a later release adds. Events have exactly these.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from annals.schemas.cid import CID_TEXT_CHARACTERS
from annals.schemas.json_schemas.json_schema import DIALECT, MessageSchema, Schema, urn
from annals.schemas.outcome import (
    ACCEPTED,
    AGGREGATE_FULL,
    DUPLICATE,
    HEAD_CONFLICT,
    INTERNAL_ERROR,
    INVALID_COMMAND,
    INVALID_TRANSITION,
    LONGEST_MESSAGE,
    LONGEST_PATH,
    MOST_ERRORS,
    REJECTED,
    RULE_VIOLATED,
    TOO_LARGE,
    UNKNOWN_COMMAND,
    VERSION_CONFLICT,
)
from annals.schemas.values.fields import AggregateId
from annals.schemas.values.ids import LONGEST_COMMAND_ID
from annals.schemas.values.moments import ISSUED_AT

if TYPE_CHECKING:
    from collections.abc import Iterator

WIRE: Final = "wire"
VERSION: Final = 1
NULL: Final[Schema] = {"type": "null"}

_CID_LEAD: Final = "bafyr4i"
_CID_MIDDLE: Final = CID_TEXT_CHARACTERS - len(_CID_LEAD) - 1
# The last character has two bits that belong to no byte: only zeros are canonical.
_CID: Final[Schema] = {
    "type": "string",
    "pattern": rf"^{_CID_LEAD}[a-z2-7]{{{_CID_MIDDLE}}}[aeimquy4]$(?!\n)",
    "description": "a CID of this project's form: CIDv1, dag-cbor, BLAKE3-256, base32",
}
_LINK: Final[Schema] = {
    "type": "object",
    "properties": {"/": _CID},
    "required": ["/"],
    "additionalProperties": False,
    "description": "a link (tag 42)",
}
_ID: Final[Schema] = msgspec.json.schema(AggregateId) | {"description": "an id of 1 to 256 characters"}
_COMMAND_ID: Final[Schema] = _ID | {
    "maxLength": LONGEST_COMMAND_ID,
    "description": "the idempotency key, unique per aggregate",
}
_NAME: Final[Schema] = {"type": "string", "minLength": 1}
# Not a list: other distributions register kinds of their own.
_KIND: Final[Schema] = {"type": "string", "minLength": 1, "description": "the aggregate's kind, the topic's own"}
_RECORDED_AT: Final[Schema] = {
    "type": "string",
    "format": "date-time",
    "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z$(?!\n)",
}
_COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
_FROM_ONE: Final[Schema] = {"type": "integer", "minimum": 1}


def _nullable(schema: Schema) -> Schema:
    return {"anyOf": [schema, NULL]}


def _object(properties: dict[str, Schema], *optional: str, is_open: bool = False, **more: Any) -> Schema:
    required = [name for name in properties if name not in optional]
    closed = {} if is_open else {"additionalProperties": False}
    return {"type": "object", "properties": properties, "required": required, **closed, **more}


def _either(condition: Schema, then: Schema, otherwise: Schema) -> Schema:
    """What the members are in addition, as others are."""
    return {"if": {"properties": condition}, "then": {"properties": then}, "else": {"properties": otherwise}}


_COMMAND: Final = _object(
    {
        "id": _COMMAND_ID,
        "type": {"type": "string", "description": "the command's name"},
        "aggregate_id": _ID | {"description": "equal to the record's key when that is present"},
        "data": {"type": "object", "description": "as the type's schema says"},
        "expected_version": {
            "description": "an integer from 0 (0: must not exist yet), any (the default) or exists",
            "anyOf": [_COUNT | {"maximum": 2**64 - 1}, {"enum": ["any", "exists"]}, NULL],
        },
        "expected_head": _nullable(_CID),
        "correlation_id": _nullable(_ID),
        "causation_id": _nullable(_ID),
        "actor": _nullable(_ID),
        "issued_at": _nullable({"type": "string", "format": "date-time", "pattern": rf"^{ISSUED_AT}$(?!\n)"}),
    },
    *("expected_version", "expected_head", "correlation_id", "causation_id", "actor", "issued_at"),
    description="What a producer sends. Optional members that are null are absent.",
    examples=[
        {
            "id": "01993f6e-7b1c-7000-8000-000000000001",
            "type": "RegisterPerson",
            "aggregate_id": "person-1",
            "data": {"name": "Ada Lovelace"},
            "expected_version": 0,
            "actor": "hr-service",
        }
    ],
)

_EVENT: Final = _object(
    {
        "kind": _KIND,
        "aggregate_id": _ID,
        "version": _FROM_ONE,
        "previous": _nullable(_LINK),
        "type": _NAME,
        "schema_version": _FROM_ONE,
        "recorded_at": _RECORDED_AT,
        "command_id": _COMMAND_ID,
        "correlation_id": _ID,
        "causation_id": _nullable(_ID),
        "actor": _nullable(_ID),
        "data": {"type": "object", "description": "as the schema of its type and schema version says"},
    },
    description="An event's block, as DAG-JSON. Its previous is null exactly at version 1.",
) | _either({"version": {"const": 1}}, {"previous": NULL}, {"previous": _LINK})

_SNAPSHOT: Final = _object(
    {
        "kind": _KIND,
        "aggregate_id": _ID,
        "version": _FROM_ONE,
        "head": _LINK,
        "state_version": _FROM_ONE,
        "state": {
            "type": "object",
            "description": "bytes or, where they look like a CID, a link; not for other readers",
        },
        "recorded_at": _RECORDED_AT,
        "offset": _COUNT | {"description": "of the event at the head, in the journal"},
    },
    "recorded_at",
    "offset",
    is_open=True,
    description="A state at a head, as DAG-JSON. Disposable: ignore an unknown state_version.",
)

_DETAILS: Final[dict[str, Schema]] = {
    UNKNOWN_COMMAND: _object({"type": {"type": "string"}}),
    INVALID_COMMAND: _object(
        {
            "errors": {
                "type": "array",
                "minItems": 1,
                "maxItems": MOST_ERRORS,
                "items": _object(
                    {
                        "path": {"type": "string", "maxLength": LONGEST_PATH},
                        "message": {"type": "string", "maxLength": LONGEST_MESSAGE},
                    }
                ),
            },
            "more": _COUNT,
        }
    ),
    VERSION_CONFLICT: _object({"expected": {"anyOf": [_COUNT, {"enum": ["exists"]}]}, "actual": _COUNT}),
    HEAD_CONFLICT: _object({"expected": _CID, "actual": _nullable(_CID)}),
    INVALID_TRANSITION: _object({"status": _NAME, "command": _NAME}),
    RULE_VIOLATED: _object({"rule": _NAME}),
    TOO_LARGE: _object({"bytes": _FROM_ONE, "limit": _FROM_ONE}),
    AGGREGATE_FULL: _object({"limit": _FROM_ONE}),
    INTERNAL_ERROR: _object({}),
}
_ERROR: Final = _object(
    {
        "code": {"enum": list(_DETAILS)},
        "message": {"type": "string", "maxLength": LONGEST_MESSAGE},
        "details": {"type": "object"},
    },
    oneOf=[{"properties": {"code": {"const": code}, "details": said}} for code, said in _DETAILS.items()],
)
_OUTCOME: Final = _object(
    {
        "command_id": _COMMAND_ID,
        "kind": _KIND,
        "aggregate_id": _ID,
        "status": {"enum": [ACCEPTED, REJECTED, DUPLICATE]},
        "version": _COUNT,
        "head": _nullable(_CID),
        "events": {
            "type": "array",
            "items": _object({"version": _FROM_ONE, "type": _NAME, "cid": _CID}, is_open=True),
        },
        "error": _nullable(_ERROR),
    },
    is_open=True,
    description="What became of a command. The first one that is not lost counts.",
) | _either(
    {"status": {"const": REJECTED}}, {"error": _ERROR, "events": {"type": "array", "maxItems": 0}}, {"error": NULL}
)


def wire_schemas() -> Iterator[MessageSchema]:
    """The four of them."""
    for name, schema in {"Command": _COMMAND, "Event": _EVENT, "Outcome": _OUTCOME, "Snapshot": _SNAPSHOT}.items():
        head = {"$schema": DIALECT, "$id": urn(WIRE, name, VERSION), "title": name}
        yield MessageSchema(WIRE, "wire", name, VERSION, head | schema)
