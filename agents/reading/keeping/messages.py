"""Counted events in their newest form, each read once for all that fold it.

Folds may be anybody's, and change what they are given: where that can be done, each is given a copy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec.structs import force_setattr

from annals.schemas.data.copies import own

if TYPE_CHECKING:
    from annals.agents.deciding.decider import Decider
    from annals.schemas.journal_reader import Counted
    from annals.schemas.messages import Message


def message_of(decider: Decider[Any], counted: Counted[Any]) -> Message:
    """Return an event in its newest form, which is kept with it; the caller may change what it is given.

    Raises:
        UnknownEventError: this release cannot read it.
    """
    known = counted.read
    if known is not None and known[0] is decider:
        message: Message = known[1]
        return message if known[2] else own(message)
    event = counted.event
    message = decider.read_event(event["type"], event["schema_version"], event["data"])
    mine = own(message)
    force_setattr(counted, "read", (decider, message, mine is message))
    return mine
