"""Counted events in their newest form, each read once for all that fold it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec.structs import force_setattr

if TYPE_CHECKING:
    from annals.agents.deciding.decider import Decider
    from annals.schemas.journal_reader import Counted
    from annals.schemas.messages import Message


def message_of(decider: Decider[Any], counted: Counted[Any]) -> Message:
    """Return an event in its newest form, which is kept with it.

    Raises:
        UnknownEventError: this release cannot read it.
    """
    known = counted.read
    if known is not None and known[0] is decider:
        message: Message = known[1]
        return message
    event = counted.event
    message = decider.read_event(event["type"], event["schema_version"], event["data"])
    force_setattr(counted, "read", (decider, message))
    return message
