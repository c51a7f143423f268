"""The messages of the AsyncAPI document: what a record of each topic says, its key and its headers.

The data of commands and events are referred to by the relative addresses of their JSON Schemas.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from annals.schemas.json_schemas.wire_schemas import wire_schemas
from annals.topics.spec import Role

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from annals.schemas.json_schemas.json_schema import MessageSchema
    from annals.topics.spec import TopicSpec

Json = dict[str, Any]

KAFKA_BINDING: Final = "0.5.0"
JSON_SCHEMA: Final = "application/schema+json;version=2020-12"
SCHEMA: Final = "application/schema+json"
JSON: Final = "application/json"
DAG_CBOR: Final = "application/vnd.ipld.dag-cbor"

_TEXT: Final[Json] = {"type": "string"}
_DECIMAL: Final[Json] = {"type": "string", "pattern": "^[0-9]+$"}
_TRACE: Final[Json] = {
    "traceparent": {"type": "string", "description": "W3C Trace Context"},
    "tracestate": {"type": "string", "description": "W3C Trace Context"},
}
_VIA: Final[Json] = {"type": "string", "description": "the deployments that it came through, with commas between"}
_ORIGIN: Final[Json] = {"origin-partition": _DECIMAL, "origin-offset": _DECIMAL}
_PROJECTION: Final[Json] = {
    "type": "object",
    "properties": {"name": _TEXT, "version": {"type": "integer"}, "switched_ms": {"type": "integer"}},
    "required": ["name", "version", "switched_ms"],
}
_AUDIT: Final[Json] = {
    "type": "object",
    "properties": {
        **{name: {"type": "string"} for name in ("request_id", "principal", "method", "path", "at")},
        "status": {"type": ["integer", "null"], "description": "of the answer; null before the call is done"},
        "code": {"type": ["string", "null"], "description": "of the problem that was answered"},
    },
    "required": ["request_id", "principal", "method", "path", "at", "status", "code"],
}
_WIRE: Final = {schema.name: schema for schema in wire_schemas()}


def messages_of(spec: TopicSpec, schemas: Sequence[MessageSchema]) -> Iterator[tuple[str, Json]]:
    """Every message of a topic, by its name in the document."""
    of_kind = [schema for schema in schemas if schema.kind == spec.kind]
    if spec.role is Role.COMMANDS:
        yield from ((f"{spec.kind}.{of.name}", _command(of)) for of in of_kind if of.role == "command")
    elif spec.role is Role.EVENTS:
        yield from ((f"{spec.kind}.{of.name}.v{of.version}", _event(of)) for of in of_kind if of.role == "event")
    elif spec.role is Role.OUTCOMES:
        headers = reference("components", "schemas", "OutcomeHeaders")
        yield f"{spec.kind}.Outcome", _message("Outcome", JSON, _wire("Outcome"), headers)
    elif spec.role is Role.SNAPSHOTS:
        yield f"{spec.kind}.Snapshot", _message("Snapshot", DAG_CBOR, _wire("Snapshot"))
    elif spec.role is Role.RESTORE:
        yield f"{spec.kind}.RestorePart", _message("RestorePart", DAG_CBOR, {"type": "object"})
    elif spec.role is Role.DEAD_LETTERS:
        yield "DeadLetter", _dead_letter()
    elif spec.role is Role.SCHEMAS:
        yield "Schema", _schema(spec)
    elif spec.role is Role.AUDIT:
        yield "AuditEntry", _message("AuditEntry", JSON, _AUDIT)
    elif spec.role is Role.PROJECTIONS:
        yield "Projection", _projection(spec)
    else:
        yield "Subscription", _subscription()


def reference(*steps: str) -> Json:
    """A reference inside the document."""
    return {"$ref": "#/" + "/".join(steps)}


def headers_of_all() -> Json:
    """The headers that many messages have, to be referred to."""
    names = ("ce_id", "ce_type", "ce_source", "ce_dataschema", "ce_subject", "ce_time", "ce_sequence")
    optional = {"ce_commandcausationid": _TEXT, "ce_actor": _TEXT, **_TRACE, "ce_annalsvia": _VIA}
    event = {"content-type": {"const": DAG_CBOR}, "ce_specversion": {"const": "1.0"}, **dict.fromkeys(names, _TEXT)}
    event |= {"ce_sequence": {"type": "string", "pattern": "^[0-9]{20}$"}}
    event |= dict.fromkeys(("ce_partitionkey", "ce_correlationid", "ce_causationid"), _TEXT)
    subscription = {"content-type": {"const": JSON}, "ce_specversion": {"const": "1.0"}, **dict.fromkeys(names, _TEXT)}
    outcome = {"command-id": _TEXT, "command-offset": _DECIMAL}
    dead_letter = dict.fromkeys(("reason", "message", "source-topic"), _TEXT)
    dead_letter |= dict.fromkeys(("source-partition", "source-offset", "source-timestamp"), _DECIMAL)
    return {
        "CommandHeaders": _headers({}, {**_ORIGIN, **_TRACE, "annals-via": _VIA}),
        "EventHeaders": _headers(event, optional),
        "OutcomeHeaders": _headers(outcome, {"journal-offset": _DECIMAL, **_ORIGIN, **_TRACE}),
        "SubscriptionHeaders": _headers(subscription, {"ce_previous": _TEXT, **optional}),
        "DeadLetterHeaders": _headers(dead_letter, {}),
        "SchemaHeaders": _headers({"content-type": {"const": SCHEMA}, "role": _TEXT, "release": _TEXT}, {}),
    }


def _headers(required: Json, optional: Json) -> Json:
    return {"type": "object", "properties": {**required, **optional}, "required": list(required)}


def _command(schema: MessageSchema) -> Json:
    says = {"type": {"const": schema.name}, "data": {"$ref": schema.path}}
    payload = {"allOf": [_wire("Command"), {"properties": says}]}
    message = _message(schema.name, JSON, payload, reference("components", "schemas", "CommandHeaders"))
    return message | {
        "summary": schema.summary,
        "correlationId": {"location": "$message.payload#/correlation_id"},
    }


def _event(schema: MessageSchema) -> Json:
    says = {
        "kind": {"const": schema.kind},
        "type": {"const": schema.name},
        "schema_version": {"const": schema.version},
        "data": {"$ref": schema.path},
    }
    fixed = {
        "ce_type": {"const": f"annals.{schema.kind}.{schema.name}.v{schema.version}"},
        "ce_source": {"const": f"/annals/{schema.kind}"},
        "ce_dataschema": {"const": schema.urn},
    }
    headers = {"allOf": [reference("components", "schemas", "EventHeaders"), {"properties": fixed}]}
    message = _message(schema.name, DAG_CBOR, {"allOf": [_wire("Event"), {"properties": says}]}, headers)
    return message | {
        "summary": schema.summary,
        "correlationId": {"location": "$message.header#/ce_correlationid"},
    }


def _subscription() -> Json:
    payload = {"type": "object", "description": "an event's data in the newest version: as ce_dataschema says"}
    return _message("Subscription", JSON, payload, reference("components", "schemas", "SubscriptionHeaders"))


def _dead_letter() -> Json:
    payload = {"description": "the offending bytes, untouched, whatever they are"}
    headers = reference("components", "schemas", "DeadLetterHeaders")
    message = _message("DeadLetter", "application/octet-stream", payload, headers)
    message["bindings"]["kafka"]["key"] = {"description": "as it was, or null"}
    return message


def _schema(spec: TopicSpec) -> Json:
    payload = {"type": "object", "description": "a JSON Schema 2020-12; its $id is the URN of ce_dataschema"}
    message = _message("Schema", SCHEMA, payload, reference("components", "schemas", "SchemaHeaders"))
    message["bindings"]["kafka"]["key"] = _TEXT | {"description": spec.key}
    return message


def _projection(spec: TopicSpec) -> Json:
    message = _message("Projection", JSON, _PROJECTION)
    message["bindings"]["kafka"]["key"] = _TEXT | {"description": spec.key}
    return message


def _message(name: str, content_type: str, payload: Json, headers: Json | None = None) -> Json:
    message: Json = {
        "name": name,
        "title": name,
        "contentType": content_type,
        "payload": {"schemaFormat": JSON_SCHEMA, "schema": payload},
        "bindings": {"kafka": {"key": _TEXT | {"description": "the aggregate id"}, "bindingVersion": KAFKA_BINDING}},
    }
    return message if headers is None else message | {"headers": headers}


def _wire(name: str) -> Json:
    return {"$ref": _WIRE[name].path}
