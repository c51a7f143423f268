"""What all commands and events of the aggregates are: typed data of one message, its unknown members refused.

An event is its command turned round, with its data: its type extends the command's. `x` of the domain is
`T | UnsetType = UNSET`, `x?` is `T | UnsetType | None = UNSET`, `x!` is `T`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, dataclass_transform

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

E = TypeVar("E", bound="Message")


@dataclass_transform(frozen_default=True, kw_only_default=True)
class Message(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """The data of a command or an event. Its name on the wire is its class's name."""

    __test__ = False  # a kind may be a testbed: pytest collects what is called Test…, wherever it is imported


@dataclass_transform(frozen_default=True, kw_only_default=True)
class Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """An object inside a message's data, and inside a state: an address, a reference, a step."""

    __test__ = False


def event_from(command: Message, event: Callable[..., E], **changed: Any) -> E:
    """The event that says that the command's wish came true: its data, defaults as they were applied."""
    return event(**{**msgspec.structs.asdict(command), **changed} if changed else msgspec.structs.asdict(command))
