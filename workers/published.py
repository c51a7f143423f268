"""The schemas that this release publishes, and the files that they are kept in.

The newest versions are made from the types. Older versions of events have no types any more: their files are all there
is of them, and are not written again.
"""

from __future__ import annotations

import json
import re
from importlib import metadata, resources
from typing import TYPE_CHECKING, Any, Final

from agents.aggregates import REGISTRY
from agents.message_schemas import COMMAND_VERSION, message_schemas
from schemas.json_schema import message_schema
from schemas.wire_schemas import WIRE, wire_schemas
from topics.asyncapi import SUBSCRIBER, asyncapi
from topics.catalog import catalogue

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from importlib.resources.abc import Traversable

    from agents.decider import Decider
    from schemas.json_schema import MessageSchema

ASYNCAPI: Final = "asyncapi.json"
URN: Final = re.compile(
    "urn:annals:schema:(?P<kind>[a-z][a-z0-9_-]*):(?P<name>[A-Za-z0-9]+):(?P<version>[1-9][0-9]{0,8})"
)


def published(registry: Mapping[str, Decider[Any]] = REGISTRY) -> Iterator[MessageSchema]:
    """Every schema: what is around the data, then each kind's commands and events, the newest versions last.

    Raises:
        FileNotFoundError: an older version of an event has no file.
    """
    yield from wire_schemas()
    for schema in message_schemas(registry):
        for version in range(1, schema.version):
            yield _older(schema, version)
        yield schema


def _older(newest: MessageSchema, version: int) -> MessageSchema:
    """An older version of an event, from its file."""
    path = newest._replace(version=version).path
    return newest._replace(version=version, schema=json.loads(_folder().joinpath(path).read_text(encoding="utf-8")))


def _folder() -> Traversable:
    """Where the files are, also in an installed package."""
    return resources.files("schemas").joinpath("json")


def find(name: str, registry: Mapping[str, Decider[Any]] = REGISTRY) -> MessageSchema | None:
    """The schema of this URN, None if there is none."""
    parts = URN.fullmatch(name)
    if parts is None:
        return None
    kind, type_name, version = parts["kind"], parts["name"], int(parts["version"])
    latest = newest(kind, type_name, registry)
    if latest is None or version > latest.version:
        return None
    return latest if version == latest.version else _older(latest, version)


def newest(kind: str, name: str, registry: Mapping[str, Decider[Any]] = REGISTRY) -> MessageSchema | None:
    """The newest schema of a kind's command or event, or of what is around the data; None if there is none."""
    if kind == WIRE:
        return next((schema for schema in wire_schemas() if schema.name == name), None)
    decider = registry.get(kind)
    if decider is None:
        return None
    if (command := decider.commands.get(name)) is not None:
        return message_schema(kind, "command", command, COMMAND_VERSION)
    event = decider.events.get(name)
    return None if event is None else message_schema(kind, "event", event.type, event.schema_version)


def files() -> Iterator[tuple[str, str]]:
    """Every file: its path below the folder, and its text."""
    for schema in published():
        yield schema.path, as_text(schema.schema)
    specs = catalogue(subscribers=(SUBSCRIBER,))
    yield ASYNCAPI, as_text(asyncapi(specs, published(), metadata.version("annals")))


def as_text(document: dict[str, Any]) -> str:
    """The document as its file has it."""
    return json.dumps(document, indent=1, ensure_ascii=True) + "\n"
