"""organization_members: who belongs to an organization, and where somebody is a member."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from annals.agents.projections.projection import Projection, Row, given_members
from annals.schemas.kinds import organization as say

if TYPE_CHECKING:
    from annals.agents.projections.projection import Happened, ProjectionRows

# --- Row -------------------------------------------------------------------------------------------------------------


class Member(Row, kw_only=True):
    """A person in an organization, by the organization's own events."""

    organization_id: str
    person_id: str
    role_id: str
    unit_id: str | None = None
    since: str


def indexes(row: Member) -> dict[str, list[str]]:
    """Both ends of the membership."""
    return {"organization_id": [row.organization_id], "person_id": [row.person_id]}


# --- Fold ------------------------------------------------------------------------------------------------------------


def fold(event: Happened, rows: ProjectionRows[Member]) -> None:
    """Change the member's row."""
    at = event.aggregate_id
    match event.message:
        case say.MemberAdded() as message:
            row = Member(
                kind=event.kind,
                aggregate_id=at,
                organization_id=at,
                **given_members(message, "person_id", "role_id", "unit_id", "since"),
            )
            rows.put(row, at, message.person_id)
        case say.MemberReassigned() as message:
            if old := rows.get(at, message.person_id):
                unit = {"unit_id": None} | given_members(message, "unit_id")
                rows.put(replace(old, role_id=message.role_id, **unit), at, message.person_id)
        case say.MemberRemoved() as message:
            rows.delete(at, message.person_id)
        case _:
            pass


ORGANIZATION_MEMBERS: Final = Projection(
    name="organization_members",
    version=1,
    wanted={"organization": frozenset({say.MemberAdded, say.MemberReassigned, say.MemberRemoved})},
    row=Member,
    parameters=("organization_id", "person_id"),
    indexes=indexes,
    fold=fold,
)
