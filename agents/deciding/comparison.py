"""Whether a wish is already true: a command's data beside what the state keeps under the same names.

`reason`, `comment` and members that the state does not keep play no part. UNSET is a member that was not given; null
and None clear. How two values compare is said by the command's types: sets without order, addresses without case.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Final

from msgspec import UNSET

from annals.schemas.values.constraints import key_of, type_hints

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from msgspec import Struct

_NOT_KEPT: Final = frozenset({"reason", "comment"})
_NOTHING: Final[tuple[Any, ...]] = (None, [], {})  # what a state keeps of a member that was not given; 0 is something


@cache
def _shared(command: type[Struct], state: type[Struct]) -> tuple[tuple[str, Callable[[Any], Hashable] | None], ...]:
    """The members that both have, each with its key to compare by."""
    kept = type_hints(state)
    return tuple(
        (name, key_of(hint)) for name, hint in type_hints(command).items() if name in kept and name not in _NOT_KEPT
    )


def changes(command: Struct, state: Struct) -> dict[str, Any]:
    """The members given that the state has otherwise, with their new values."""
    found = {}
    for name, key in _shared(type(command), type(state)):
        value = getattr(command, name)
        if value is not UNSET and not _same(value, getattr(state, name), key):
            found[name] = value
    return found


def matches(command: Struct, state: Struct) -> bool:
    """Whether the state has all that is given."""
    for name, key in _shared(type(command), type(state)):
        value = getattr(command, name)
        if value is UNSET:
            continue
        kept = getattr(state, name)
        # most have no key: asked here, a call less for each member of each command
        if value != kept if key is None else not _same(value, kept, key):
            return False
    return True


def is_identical(command: Struct, state: Struct) -> bool:
    """The same for a command that says the whole: what it does not give, the state does not have either."""
    return matches(command, state) and all(
        getattr(command, name) is not UNSET or getattr(state, name) in _NOTHING
        for name, _ in _shared(type(command), type(state))
    )


def or_none(value: Any) -> Any:
    """A member as the state keeps it: None when it was not given."""
    return None if value is UNSET else value


def _same(value: Any, kept: Any, key: Callable[[Any], Hashable] | None) -> bool:
    if key is None or value is None or kept is None:
        return bool(value == kept)
    return key(value) == key(kept)
