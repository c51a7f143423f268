"""Counted events in their newest form, for all that fold them.

Folds may be anybody's, and change what they are given. An event in which nothing can be changed is read once for all of
them; any other is read for each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec.structs import force_setattr

from annals.schemas.data.copies import is_unchangeable

if TYPE_CHECKING:
    from annals.agents.deciding.decider import Decider
    from annals.schemas.journal_reader import Counted
    from annals.schemas.messages import Message


def message_of(decider: Decider[Any], counted: Counted[Any]) -> Message:
    """Return an event in its newest form; nobody else is given one in which the caller changes something.

    Raises:
        UnknownEventError: this release cannot read it.
    """
    known = counted.read
    if known is not None and known[0] is decider:
        message: Message = known[1]
        return message
    event = counted.event
    message = decider.read_event(event["type"], event["schema_version"], event["data"])
    if is_unchangeable(message):
        force_setattr(counted, "read", (decider, message))
    return message
