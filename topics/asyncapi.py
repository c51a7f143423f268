"""The AsyncAPI 3 document: every topic of the catalogue with its Kafka settings, and what its records say.

It refers to the JSON Schemas by relative addresses, as they lie beside it. Seen from the worker: it receives commands,
and sends the rest. Sources: the AsyncAPI specification 3.0.0, its Kafka bindings 0.5.0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from annals.topics.asyncapi_messages import JSON, KAFKA_BINDING, Json, headers_of_all, messages_of, reference
from annals.topics.spec import Role

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from annals.schemas.json_schemas.json_schema import MessageSchema
    from annals.topics.spec import TopicSpec

SPECIFICATION: Final = "3.0.0"
SUBSCRIBER: Final = "name"
"""The parameter in `subscribers.{name}`."""

INTERNAL: Final = frozenset(
    {
        Role.SUBSCRIPTIONS,
        Role.PROGRESS,
        Role.JOBS,
        Role.ACKS,
        Role.PARKED,
        Role.DELIVERIES,
        Role.TIMERS,
        Role.REKEYED,
        Role.REACTIONS,
    }
)
"""Roles of topics that workers keep for themselves, or that are not read and written yet: no part of the document."""

_NUMBERS: Final = frozenset({"retention.ms", "retention.bytes", "max.message.bytes"})


def asyncapi(specs: Sequence[TopicSpec], schemas: Iterable[MessageSchema], version: str) -> Json:
    """The document.

    Args:
        specs: the catalogue.
        schemas: of the commands and events of its kinds, each in one version or more.
        version: of the project.
    """
    known = list(schemas)
    specs = [spec for spec in specs if spec.role not in INTERNAL]
    messages = {_id(spec): dict(messages_of(spec, known)) for spec in specs}
    return {
        "asyncapi": SPECIFICATION,
        "info": {
            "title": "annals",
            "version": version,
            "description": (
                "An event-sourcing worker on Kafka: commands in, CID-chained events out, exactly once. The names of "
                "the topics may have a prefix (ANNALS_TOPIC_PREFIX). Readers set isolation.level=read_committed."
            ),
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": JSON,
        "servers": {"kafka": _server()},
        "channels": {_id(spec): _channel(spec, messages[_id(spec)]) for spec in specs},
        "operations": {_verb(spec) + _id(spec): _operation(spec) for spec in specs},
        "components": {
            "schemas": headers_of_all(),
            "messages": {name: message for of in messages.values() for name, message in of.items()},
        },
    }


def _server() -> Json:
    return {
        "host": "{host}:{port}",
        "protocol": "kafka",
        "description": "The brokers that ANNALS_BOOTSTRAP_SERVERS names.",
        "variables": {"host": {"default": "127.0.0.1"}, "port": {"default": "9092"}},
    }


def _id(spec: TopicSpec) -> str:
    return spec.role if spec.kind is None else f"{spec.role}.{spec.kind}"


def _verb(spec: TopicSpec) -> str:
    return "receive." if spec.role is Role.COMMANDS else "send."


def _channel(spec: TopicSpec, messages: Iterable[str]) -> Json:
    channel: Json = {
        "address": spec.name,
        "description": f"{spec.value}. Key: {spec.key}.",
        "servers": [reference("servers", "kafka")],
        "messages": {name: reference("components", "messages", name) for name in messages},
        "bindings": {
            "kafka": {
                "topic": spec.name,
                "partitions": spec.partitions,
                "replicas": spec.replication_factor,
                "topicConfiguration": {
                    setting.name: _setting(setting.name, setting.value) for setting in spec.settings
                },
                "bindingVersion": KAFKA_BINDING,
            }
        },
    }
    if spec.role is Role.SUBSCRIBERS:
        # One channel for the topics of all subscribers: the address has the parameter, and no topic is named.
        del channel["bindings"]["kafka"]["topic"]
        channel["address"] = f"{spec.name.rpartition('.')[0]}.{{{SUBSCRIBER}}}"
        channel["parameters"] = {SUBSCRIBER: {"description": "The subscriber: [a-z0-9][a-z0-9-]{0,62}."}}
    return channel


def _setting(name: str, value: str) -> Any:
    """The value as the binding types it."""
    if name == "cleanup.policy":
        return value.split(",")
    return int(value) if name in _NUMBERS else value


def _operation(spec: TopicSpec) -> Json:
    operation: Json = {
        "action": "receive" if spec.role is Role.COMMANDS else "send",
        "channel": reference("channels", _id(spec)),
        "summary": spec.value,
    }
    if spec.role is Role.COMMANDS:
        group = {"type": "string", "description": "ANNALS_TOPIC_PREFIX followed by ANNALS_APP_ID", "default": "annals"}
        operation["bindings"] = {"kafka": {"groupId": group, "bindingVersion": KAFKA_BINDING}}
        operation["reply"] = {"channel": reference("channels", f"{Role.OUTCOMES}.{spec.kind}")}
    return operation
