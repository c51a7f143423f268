"""organization's events in their older versions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from msgspec import UNSET, UnsetType

from annals.schemas.data.upcast import Upcast
from annals.schemas.kinds.organization import MemberAdded
from annals.schemas.messages import Message
from annals.schemas.values.fields import AggregateId, Date, Slug

if TYPE_CHECKING:
    from collections.abc import Mapping


class MemberAdded1(Message):
    """A person joined."""

    person_id: AggregateId
    role_id: Slug
    joined_on: Date
    unit_id: Slug | UnsetType = UNSET


def rename_joined_on(data: dict[str, Any]) -> dict[str, Any]:
    """The day of joining is called `since`, as in the state."""
    others = {name: value for name, value in data.items() if name != "joined_on"}
    return {**others, "since": data["joined_on"]}


UPCASTERS: Final[Mapping[type[Message], tuple[Upcast, ...]]] = {
    MemberAdded: (Upcast(MemberAdded1, rename_joined_on),),
}
