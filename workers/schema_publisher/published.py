"""The schemas that this release publishes, and the files that they are kept in (`schemas/json`)."""

from __future__ import annotations

import json
import re
from importlib import metadata, resources
from typing import TYPE_CHECKING, Any, Final

from annals.agents.aggregates import REGISTRY
from annals.agents.deciding.state_layouts import layout
from annals.agents.message_schemas import message_schemas, message_urns, versions
from annals.schemas.json_schemas.wire_schemas import WIRE, wire_schemas
from annals.topics.asyncapi import SUBSCRIBER, asyncapi
from annals.topics.catalog import catalogue

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from annals.agents.deciding.decider import Decider
    from annals.schemas.json_schemas.json_schema import MessageSchema

ASYNCAPI: Final = "asyncapi.json"
FOLDER: Final = resources.files("annals.schemas").joinpath("json")
"""Where the published files are, also in an installed package."""
STATES: Final = "states.json"
URN: Final = re.compile(
    "urn:annals:schema:(?P<kind>[a-z][a-z0-9_-]*):(?P<name>[A-Za-z0-9]+):(?P<version>[1-9][0-9]{0,8})"
)


def published(registry: Mapping[str, Decider[Any]] = REGISTRY) -> Iterator[MessageSchema]:
    """Every schema: what is around the data, then each kind's commands and events, the newest versions last."""
    yield from wire_schemas()
    yield from message_schemas(registry)


def urns(registry: Mapping[str, Decider[Any]] = REGISTRY) -> Iterator[str]:
    """The names of every schema, in the order of `published`."""
    yield from (schema.urn for schema in wire_schemas())
    yield from message_urns(registry)


def find(name: str, registry: Mapping[str, Decider[Any]] = REGISTRY) -> MessageSchema | None:
    """The schema of this URN, None if there is none."""
    parts = URN.fullmatch(name)
    if parts is None:
        return None
    return next((schema for schema in _named(parts["kind"], parts["name"], registry) if schema.urn == name), None)


def text_of(name: str, registry: Mapping[str, Decider[Any]] = REGISTRY) -> bytes | None:
    """The schema of this URN as its file has it, None if there is none; it takes too long for an event loop."""
    found = find(name, registry)
    return None if found is None else as_text(found.schema).encode()


def newest(kind: str, name: str, registry: Mapping[str, Decider[Any]] = REGISTRY) -> MessageSchema | None:
    """The newest schema of a kind's command or event, or of what is around the data; None if there is none."""
    return max(_named(kind, name, registry), key=lambda schema: schema.version, default=None)


def _named(kind: str, name: str, registry: Mapping[str, Decider[Any]]) -> Iterable[MessageSchema]:
    if kind == WIRE:
        return (schema for schema in wire_schemas() if schema.name == name)
    return versions(registry[kind], name) if kind in registry else ()


def files(registry: Mapping[str, Decider[Any]] = REGISTRY) -> Iterator[tuple[str, str]]:
    """Every file: its path below the folder, and its text."""
    for schema in published(registry):
        yield schema.path, as_text(schema.schema)
    yield STATES, as_text(layouts(registry))
    specs = catalogue(kinds=tuple(registry), subscribers=(SUBSCRIBER,))
    yield ASYNCAPI, as_text(asyncapi(specs, published(registry), metadata.version("annals")))


def layouts(registry: Mapping[str, Decider[Any]] = REGISTRY) -> dict[str, Any]:
    """Each kind's state version and layout."""
    return {
        kind: {"state_version": decider.state_version, "layout": layout(decider)} for kind, decider in registry.items()
    }


def as_text(document: dict[str, Any]) -> str:
    """The document as its file has it."""
    return json.dumps(document, indent=1, ensure_ascii=True) + "\n"
