"""The rules that stand in every row: known parts, free ids, room, no reference to oneself; and how parts change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from annals.agents.deciding.refusals import Refused

if TYPE_CHECKING:
    from collections.abc import Mapping, Sized

P = TypeVar("P")
Part = TypeVar("Part", bound=Struct)


def known(parts: Mapping[str, P], part_id: str, what: str) -> P:
    """The part.

    Raises:
        Refused: `unknown_<what>`.
    """
    try:
        return parts[part_id]
    except KeyError:
        raise Refused(f"unknown_{what}", f"there is no {what} {part_id}") from None


def refuse_taken(parts: Mapping[str, P], part_id: str, what: str) -> None:
    """Refuse a new part whose id another one has: `duplicate_<what>`."""
    if part_id in parts:
        raise Refused(f"duplicate_{what}", f"there is another {what} {part_id}; choose a new id")


def refuse_full(parts: Sized, limit: int, what: str) -> None:
    """Refuse one more than `limit`: `limit_reached`. `what` is the plural."""
    if len(parts) >= limit:
        raise Refused("limit_reached", f"there are {limit:,} {what} already, the most that are allowed")


def refuse_self(reference: object, own_id: str, what: str) -> None:
    """Refuse a reference to the aggregate or part itself: `self_reference`."""
    if reference == own_id:
        raise Refused("self_reference", f"{what} cannot be itself")


def put(parts: dict[str, P], part_id: str, part: P) -> dict[str, P]:
    """The parts with one more, or one exchanged; the old ones stay as they were (thousands copy in microseconds)."""
    new = parts.copy()
    new[part_id] = part
    return new


def amend(parts: dict[str, Part], part_id: str, **changed: Any) -> dict[str, Part]:
    """The parts with members of one changed. Of an unknown one nothing changes: an event is never refused."""
    part = parts.get(part_id)
    return parts if part is None else put(parts, part_id, replace(part, **changed))


def drop(parts: dict[str, P], part_id: str) -> dict[str, P]:
    """The parts without one; the old ones stay as they were."""
    new = parts.copy()
    new.pop(part_id, None)
    return new
