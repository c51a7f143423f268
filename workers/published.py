"""The schemas that this release publishes, and the files that they are kept in.

The newest versions are made from the types. Older versions of events have no types any more: their files are all there
is of them, and are not written again.
"""

from __future__ import annotations

import json
from importlib import metadata, resources
from typing import TYPE_CHECKING, Any, Final

from agents.aggregates import REGISTRY
from agents.message_schemas import message_schemas
from schemas.wire_schemas import wire_schemas
from topics.asyncapi import SUBSCRIBER, asyncapi
from topics.catalog import catalogue

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from importlib.resources.abc import Traversable

    from agents.decider import Decider
    from schemas.json_schema import MessageSchema

ASYNCAPI: Final = "asyncapi.json"


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
    return next((schema for schema in published(registry) if schema.urn == name), None)


def newest(kind: str, name: str, registry: Mapping[str, Decider[Any]] = REGISTRY) -> MessageSchema | None:
    """The newest schema of a kind's command or event, None if there is none."""
    return next((schema for schema in message_schemas(registry) if (schema.kind, schema.name) == (kind, name)), None)


def files() -> Iterator[tuple[str, str]]:
    """Every file: its path below the folder, and its text."""
    for schema in published():
        yield schema.path, as_text(schema.schema)
    specs = catalogue(subscribers=(SUBSCRIBER,))
    yield ASYNCAPI, as_text(asyncapi(specs, published(), metadata.version("annals")))


def as_text(document: dict[str, Any]) -> str:
    """The document as its file has it."""
    return json.dumps(document, indent=1, ensure_ascii=True) + "\n"
