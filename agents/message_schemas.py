"""The schemas of what aggregates are told and say: every command and event of a registry, in every version."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from annals.agents.aggregates import REGISTRY
from annals.schemas.json_schemas.json_schema import MessageSchema, message_schema, urn

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from annals.agents.deciding.decider import Decider

COMMAND_VERSION: Final = 1
"""Commands have no versions: the newest worker decides them. One that changes shape is a new command."""


def message_schemas(registry: Mapping[str, Decider[Any]] = REGISTRY) -> Iterator[MessageSchema]:
    """Every command and event, kind by kind, in the order of the tables; an event's versions from the oldest on."""
    for decider in registry.values():
        for name in (*decider.commands, *decider.events):
            yield from versions(decider, name)


def message_urns(registry: Mapping[str, Decider[Any]] = REGISTRY) -> Iterator[str]:
    """Return the names of `message_schemas`, in its order, without making a schema: that takes long for all."""
    for kind, decider in registry.items():
        yield from (urn(kind, name, COMMAND_VERSION) for name in decider.commands)
        for name, event in decider.events.items():
            older = range(1, len(event.upcasters) + 1)
            yield from (urn(kind, name, version) for version in (*older, event.schema_version))


def versions(decider: Decider[Any], name: str) -> Iterator[MessageSchema]:
    """The versions of one command or event, from the oldest on; none, if the kind has neither of this name."""
    if (command := decider.commands.get(name)) is not None:
        yield message_schema(decider.kind, "command", command, COMMAND_VERSION)
    if (event := decider.events.get(name)) is not None:
        for version, upcaster in enumerate(event.upcasters, start=1):
            yield message_schema(decider.kind, "event", upcaster.older, version, name)
        yield message_schema(decider.kind, "event", event.type, event.schema_version)
