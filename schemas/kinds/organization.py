"""organization on the wire: a body with units, roles and members."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType

from annals.schemas.messages import Message
from annals.schemas.values.constraints import UNORDERED
from annals.schemas.values.fields import AggregateId, Country, Date, Lei, Slug, Text, Url

OrganizationType = Literal["corporation", "non_profit", "government", "partnership", "cooperative", "other"]
UnitType = Literal["division", "department", "team"]
Permissions = Annotated[list[Slug], Meta(max_length=50), UNORDERED]


class RegisterOrganization(Message):
    """A body becomes known."""

    name: Text
    organization_type: OrganizationType
    legal_name: Text | UnsetType = UNSET
    country: Country | UnsetType = UNSET
    lei: Lei | UnsetType = UNSET
    parent_id: AggregateId | UnsetType = UNSET


class OrganizationRegistered(RegisterOrganization):
    """A body became known."""


class UpdateProfile(Message):
    """What is given changes; null clears."""

    name: Text | UnsetType = UNSET
    legal_name: Text | UnsetType | None = UNSET
    country: Country | UnsetType | None = UNSET
    lei: Lei | UnsetType | None = UNSET
    website: Url | UnsetType | None = UNSET
    parent_id: AggregateId | UnsetType | None = UNSET
    headquarters_id: AggregateId | UnsetType | None = UNSET


class ProfileUpdated(UpdateProfile):
    """What is given changed; null: it was cleared."""


class ActivateOrganization(Message):
    """It goes about its business, for the first time or again."""


class OrganizationActivated(ActivateOrganization):
    """It goes about its business."""


class DeactivateOrganization(Message):
    """It pauses by its own wish."""

    reason: Text


class OrganizationDeactivated(DeactivateOrganization):
    """It pauses by its own wish."""


class SuspendOrganization(Message):
    """An authority makes it pause."""

    reason: Text


class OrganizationSuspended(SuspendOrganization):
    """An authority made it pause."""


class DissolveOrganization(Message):
    """It ends."""

    reason: Text


class OrganizationDissolved(DissolveOrganization):
    """It ended."""


class MergeOrganization(Message):
    """It goes on as part of another."""

    merged_into: AggregateId
    reason: Text | UnsetType = UNSET


class OrganizationMerged(MergeOrganization):
    """It goes on as part of another."""


class AddUnit(Message):
    """A new unit, at the top or in another."""

    unit_id: Slug
    name: Text
    unit_type: UnitType
    parent_unit_id: Slug | UnsetType = UNSET


class UnitAdded(AddUnit):
    """A new unit."""


class CloseUnit(Message):
    """An empty unit is closed, for good."""

    unit_id: Slug
    reason: Text


class UnitClosed(CloseUnit):
    """A unit was closed, for good."""


class DefineRole(Message):
    """A new role, or an old one anew: what is not given, it no longer has."""

    role_id: Slug
    title: Text
    permissions: Permissions | UnsetType = UNSET


class RoleDefined(DefineRole):
    """A new role, or an old one anew."""


class DeprecateRole(Message):
    """A role is given to nobody any more."""

    role_id: Slug
    reason: Text


class RoleDeprecated(DeprecateRole):
    """A role is given to nobody any more."""


class AddMember(Message):
    """A person joins, in a role, in a unit or in none."""

    person_id: AggregateId
    role_id: Slug
    since: Date
    unit_id: Slug | UnsetType = UNSET


class MemberAdded(AddMember):
    """A person joined."""


class ReassignMember(Message):
    """A member's role and unit from now on; without unit_id: in none."""

    person_id: AggregateId
    role_id: Slug
    unit_id: Slug | UnsetType = UNSET


class MemberReassigned(ReassignMember):
    """A member's role and unit from then on."""


class RemoveMember(Message):
    """A person leaves."""

    person_id: AggregateId
    reason: Text | UnsetType = UNSET


class MemberRemoved(RemoveMember):
    """A person left."""


Command = (
    RegisterOrganization
    | UpdateProfile
    | ActivateOrganization
    | DeactivateOrganization
    | SuspendOrganization
    | DissolveOrganization
    | MergeOrganization
    | AddUnit
    | CloseUnit
    | DefineRole
    | DeprecateRole
    | AddMember
    | ReassignMember
    | RemoveMember
)
Event = (
    OrganizationRegistered
    | ProfileUpdated
    | OrganizationActivated
    | OrganizationDeactivated
    | OrganizationSuspended
    | OrganizationDissolved
    | OrganizationMerged
    | UnitAdded
    | UnitClosed
    | RoleDefined
    | RoleDeprecated
    | MemberAdded
    | MemberReassigned
    | MemberRemoved
)
