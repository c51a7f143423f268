"""States in two values: what is personal of a state, and the rest.

Everything that is kept of a state goes through `StateParts`, so that the personal part can be sealed here and nowhere
else. Personal are the members whose type says so (`annals.schemas.values.constraints.PERSONAL`).
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin, get_type_hints

import msgspec

from annals.schemas.values.constraints import PERSONAL

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from annals.agents.deciding.decider import Decider


class StateParts:
    """Encodes the states of a kind as two values, and decodes them."""

    def __init__(self, decider: Decider[Any]) -> None:
        """Take the kind's decider."""
        state = self._state = decider.state_type
        hints = get_type_hints(state, include_extras=True)
        names = state.__struct_fields__
        self.personal = tuple(name for name in names if _is_personal(hints[name]))
        self._public = tuple(name for name in names if name not in self.personal)
        parts = (*self._public, *self.personal)
        self._order = tuple(parts.index(name) for name in names)
        self._public_of, self._personal_of = _members(self._public), _members(self.personal)
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode_public = _decoder([hints[name] for name in self._public])
        self._decode_personal = _decoder([hints[name] for name in self.personal])

    def split(self, state: Any) -> tuple[bytes, bytes | None]:
        """Return a state's impersonal part and its personal one; None where the kind has nothing personal."""
        public = self._encode(self._public_of(state))
        return public, self._encode(self._personal_of(state)) if self.personal else None

    def status(self, public: bytes) -> str:
        """Return the status in an impersonal part."""
        status: str = self._decode_public.decode(public)[self._public.index("status")]
        return status

    def join(self, public: bytes, personal: bytes | None) -> Any:
        """Return the state of two parts.

        Raises:
            msgspec.DecodeError: they are none of this kind's states.
        """
        values = self._decode_public.decode(public)
        if self.personal:
            if personal is None:
                raise msgspec.DecodeError("the personal part is missing")
            values += self._decode_personal.decode(personal)
        return self._state(*map(values.__getitem__, self._order))


def _members(names: tuple[str, ...]) -> Callable[[Any], Sequence[Any]]:
    """Return what returns members of a state, in the order of their names; attrgetter takes a third of the time."""
    if len(names) > 1:
        return attrgetter(*names)
    return lambda state: [getattr(state, name) for name in names]


def _decoder(hints: list[Any]) -> msgspec.msgpack.Decoder[Any]:
    return msgspec.msgpack.Decoder(tuple[tuple(hints)] if hints else tuple[()])  # type: ignore[misc]


def _is_personal(hint: Any) -> bool:
    """Whether a type is marked personal, or holds one that is."""
    if get_origin(hint) is Annotated and PERSONAL in get_args(hint)[1:]:
        return True
    return any(_is_personal(inner) for inner in get_args(hint) if not isinstance(inner, msgspec.Meta))
