"""The aggregates, projections and reactions that a worker serves, as this package asks for them."""

from annals.agents.registered import (
    GROUP,
    KIND,
    RegistrationError,
    deciders,
    event_types,
    projections,
    reactions,
    registration_of,
    streams,
    unknown_command,
    unknown_event,
    unknown_kind,
)

__all__ = [
    "GROUP",
    "KIND",
    "RegistrationError",
    "deciders",
    "event_types",
    "projections",
    "reactions",
    "registration_of",
    "streams",
    "unknown_command",
    "unknown_event",
    "unknown_kind",
]
