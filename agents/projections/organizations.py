"""organizations: bodies, found by a word of their names, by parent and by status."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, get_args

from msgspec.structs import replace

from annals.agents.projections.projection import Projection, Row, given_members, one_of, words_of
from annals.schemas.kinds import organization as say

if TYPE_CHECKING:
    from annals.agents.projections.projection import Happened, ProjectionRows

# --- Row -------------------------------------------------------------------------------------------------------------


class Organization(Row, kw_only=True):
    """A body; units and roles count those that are open."""

    name: str
    legal_name: str | None = None
    organization_type: str
    status: str = "pending"
    parent_id: str | None = None
    headquarters_id: str | None = None
    units: int = 0
    roles: list[str] = []
    members: int = 0


STATUSES: Final[dict[type, str]] = {
    say.OrganizationActivated: "active",
    say.OrganizationDeactivated: "inactive",
    say.OrganizationSuspended: "suspended",
    say.OrganizationDissolved: "dissolved",
    say.OrganizationMerged: "merged",
}


def indexes(row: Organization) -> dict[str, list[str]]:
    """Words of the names, parent and status; for question 7 the whole name."""
    parents = [row.parent_id] if row.parent_id else []
    return {
        "name": words_of(row.name, row.legal_name),
        "parent_id": parents,
        "status": [row.status],
        "whole_name": [row.name.casefold()],
    }


# --- Fold ------------------------------------------------------------------------------------------------------------


def fold(event: Happened, rows: ProjectionRows[Organization]) -> None:
    """Change the organization's row."""
    message, at = event.message, event.aggregate_id
    if isinstance(message, say.OrganizationRegistered):
        given = given_members(message, "name", "legal_name", "organization_type", "parent_id")
        rows.put(Organization(kind=event.kind, aggregate_id=at, **given), at)
    elif old := rows.get(at):
        rows.put(_changed(message, old), at)


def _changed(message: object, row: Organization) -> Organization:
    match message:
        case say.ProfileUpdated():
            return replace(row, **given_members(message, "name", "legal_name", "parent_id", "headquarters_id"))
        case say.UnitAdded():
            return replace(row, units=row.units + 1)
        case say.UnitClosed():
            return replace(row, units=row.units - 1)
        case say.RoleDefined():
            return replace(row, roles=sorted({*row.roles, message.role_id}))
        case say.RoleDeprecated():
            return replace(row, roles=[role for role in row.roles if role != message.role_id])
        case say.MemberAdded():
            return replace(row, members=row.members + 1)
        case say.MemberRemoved():
            return replace(row, members=row.members - 1)
        case _:
            return replace(row, status=STATUSES.get(type(message), row.status))


ORGANIZATIONS: Final = Projection(
    name="organizations",
    version=1,
    wanted={"organization": frozenset(get_args(say.Event))},
    row=Organization,
    parameters=("name", "parent_id", "status"),
    indexes=indexes,
    fold=fold,
    values={"name": words_of, "status": one_of(["pending", *STATUSES.values()])},
)
