"""The schemas of what aggregates are told and say: every command and event of a registry, in the newest version."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from agents.aggregates import REGISTRY
from schemas.json_schema import MessageSchema, message_schema

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from agents.decider import Decider

COMMAND_VERSION: Final = 1
"""Commands have no versions: the newest worker decides them. One that changes shape is a new command."""


def message_schemas(registry: Mapping[str, Decider[Any]] = REGISTRY) -> Iterator[MessageSchema]:
    """Every command and event, kind by kind, in the order of the tables."""
    for kind, decider in registry.items():
        for command in decider.commands.values():
            yield message_schema(kind, "command", command, COMMAND_VERSION)
        for event in decider.events.values():
            yield message_schema(kind, "event", event.type, event.schema_version)
