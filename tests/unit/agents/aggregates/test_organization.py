"""organization, row by row of the domain's table."""

from __future__ import annotations

import pytest

from annals.agents.aggregates.organization import MAX_MEMBERS, MAX_ROLES, MAX_UNITS
from annals.agents.testing import given
from annals.schemas.kinds.organization import (
    ActivateOrganization,
    AddMember,
    AddUnit,
    CloseUnit,
    DeactivateOrganization,
    DefineRole,
    DeprecateRole,
    DissolveOrganization,
    MemberAdded,
    MemberReassigned,
    MemberRemoved,
    MergeOrganization,
    OrganizationActivated,
    OrganizationDeactivated,
    OrganizationDissolved,
    OrganizationMerged,
    OrganizationRegistered,
    OrganizationSuspended,
    ProfileUpdated,
    ReassignMember,
    RegisterOrganization,
    RemoveMember,
    RoleDefined,
    RoleDeprecated,
    SuspendOrganization,
    UnitAdded,
    UnitClosed,
    UpdateProfile,
)

LAB = OrganizationRegistered(name="Lab", organization_type="non_profit")
ACTIVE = (LAB, OrganizationActivated())
UNIT = UnitAdded(unit_id="ai", name="AI", unit_type="team")
ROLE = RoleDefined(role_id="fellow", title="Fellow", permissions=["read", "write"])
MEMBER = MemberAdded(person_id="p-1", role_id="fellow", unit_id="ai", since="2026-01-01")
STAFFED = (*ACTIVE, UNIT, ROLE, MEMBER)
JOIN = AddMember(person_id="p-1", role_id="fellow", unit_id="ai", since="2026-01-01")


def test_an_organization_is_registered_once() -> None:
    command = RegisterOrganization(name="Lab", organization_type="non_profit")
    given().when(command).then(LAB)
    given(*ACTIVE).when(command).then_nothing()
    given(LAB).when(RegisterOrganization(name="Lab", organization_type="other")).then_not_open("pending")


def test_an_organization_is_not_its_own_parent() -> None:
    own = RegisterOrganization(name="Lab", organization_type="other", parent_id="this-one")
    given().when(own).then_refused("self_reference")
    given(LAB).when(UpdateProfile(parent_id="this-one")).then_refused("self_reference")
    given(LAB).when(UpdateProfile(parent_id="o-2")).then(ProfileUpdated(parent_id="o-2"))


def test_an_updated_profile_says_only_what_differs_and_null_clears() -> None:
    told = (LAB, ProfileUpdated(country="GB", website="https://lab.example"))
    given(*told).when(UpdateProfile(name="Lab", country=None, website="https://lab.example")).then(
        ProfileUpdated(country=None)
    )
    given(*told).when(UpdateProfile(legal_name=None)).then_nothing()


def test_an_organization_is_activated_from_wherever_it_pauses() -> None:
    for before in (
        (LAB,),
        (*ACTIVE, OrganizationDeactivated(reason="x")),
        (*ACTIVE, OrganizationSuspended(reason="x")),
    ):
        given(*before).when(ActivateOrganization()).then(OrganizationActivated())
    given(*ACTIVE).when(ActivateOrganization()).then_nothing()


def test_only_an_active_organization_pauses() -> None:
    given(*ACTIVE).when(DeactivateOrganization(reason="x")).then(OrganizationDeactivated(reason="x"))
    given(*ACTIVE).when(SuspendOrganization(reason="x")).then(OrganizationSuspended(reason="x"))
    given(LAB).when(DeactivateOrganization(reason="x")).then_not_open("pending")
    given(*ACTIVE, OrganizationDeactivated(reason="x")).when(SuspendOrganization(reason="x")).then_not_open("inactive")


def test_an_organization_ends_once() -> None:
    given(LAB).when(DissolveOrganization(reason="x")).then_not_open("pending")
    given(*ACTIVE).when(DissolveOrganization(reason="x")).then(OrganizationDissolved(reason="x"))
    over = (*ACTIVE, OrganizationDissolved(reason="x"))
    given(*over).when(DissolveOrganization(reason="y")).then_nothing()
    given(*over).when(MergeOrganization(merged_into="o-2")).then_not_open("dissolved")


def test_an_organization_is_merged_into_another_but_not_into_itself() -> None:
    given(*ACTIVE).when(MergeOrganization(merged_into="o-2")).then(OrganizationMerged(merged_into="o-2"))
    given(*ACTIVE).when(MergeOrganization(merged_into="this-one")).then_refused("self_reference")
    merged = (*ACTIVE, OrganizationMerged(merged_into="o-2"))
    given(*merged).when(MergeOrganization(merged_into="o-2", reason="again")).then_nothing()
    given(*merged).when(MergeOrganization(merged_into="o-3")).then_not_open("merged")


def test_a_unit_is_added_once_under_its_id() -> None:
    command = AddUnit(unit_id="ai", name="AI", unit_type="team")
    given(LAB).when(command).then(UNIT)
    given(LAB, UNIT).when(command).then_nothing()
    given(LAB, UNIT).when(AddUnit(unit_id="ai", name="Other", unit_type="team")).then_refused("duplicate_unit")


def test_a_unit_is_in_a_known_open_unit_other_than_itself() -> None:
    def inside(parent: str) -> AddUnit:
        return AddUnit(unit_id="ml", name="ML", unit_type="team", parent_unit_id=parent)

    given(LAB, UNIT).when(inside("ai")).then(UnitAdded(unit_id="ml", name="ML", unit_type="team", parent_unit_id="ai"))
    given(LAB).when(inside("ai")).then_refused("unknown_unit")
    given(LAB).when(inside("ml")).then_refused("self_reference")
    given(LAB, UNIT, UnitClosed(unit_id="ai", reason="x")).when(inside("ai")).then_refused("unit_closed")


def test_only_an_empty_unit_is_closed() -> None:
    close = CloseUnit(unit_id="ai", reason="x")
    below = UnitAdded(unit_id="ml", name="ML", unit_type="team", parent_unit_id="ai")
    closed = UnitClosed(unit_id="ai", reason="x")
    given(LAB).when(close).then_refused("unknown_unit")
    given(*STAFFED).when(close).then_refused("unit_not_empty")
    given(LAB, UNIT, below).when(close).then_refused("unit_not_empty")
    given(LAB, UNIT, below, UnitClosed(unit_id="ml", reason="x")).when(close).then(closed)
    given(LAB, UNIT, closed).when(close).then_nothing()


def test_a_role_is_defined_again_as_a_whole() -> None:
    given(LAB).when(DefineRole(role_id="fellow", title="Fellow", permissions=["read", "write"])).then(ROLE)
    given(LAB, ROLE).when(DefineRole(role_id="fellow", title="Fellow", permissions=["write", "read"])).then_nothing()
    given(LAB, ROLE).when(DefineRole(role_id="fellow", title="Fellow")).then(
        RoleDefined(role_id="fellow", title="Fellow")
    )
    given(LAB, RoleDefined(role_id="fellow", title="Fellow")).when(
        DefineRole(role_id="fellow", title="Fellow", permissions=[])
    ).then_nothing()


def test_a_deprecated_role_is_given_to_nobody_and_not_defined_again() -> None:
    gone = (*ACTIVE, ROLE, RoleDeprecated(role_id="fellow", reason="x"))
    given(*gone).when(DefineRole(role_id="fellow", title="Other")).then_refused("role_deprecated")
    given(*gone).when(AddMember(person_id="p-1", role_id="fellow", since="2026-01-01")).then_refused("role_deprecated")
    given(*gone).when(DeprecateRole(role_id="fellow", reason="y")).then_nothing()


def test_a_role_that_a_member_has_is_not_deprecated() -> None:
    given(*STAFFED).when(DeprecateRole(role_id="fellow", reason="x")).then_refused("role_in_use")
    given(LAB).when(DeprecateRole(role_id="fellow", reason="x")).then_refused("unknown_role")
    given(*STAFFED, MemberRemoved(person_id="p-1")).when(DeprecateRole(role_id="fellow", reason="x")).then(
        RoleDeprecated(role_id="fellow", reason="x")
    )


def test_a_member_joins_an_active_organization_once() -> None:
    given(*ACTIVE, UNIT, ROLE).when(JOIN).then(MEMBER)
    given(*STAFFED).when(JOIN).then_nothing()
    given(*STAFFED).when(AddMember(person_id="p-1", role_id="fellow", since="2026-01-02")).then_refused(
        "duplicate_member"
    )
    given(LAB, UNIT, ROLE).when(JOIN).then_not_open("pending")


def test_a_member_has_a_known_role_and_an_open_unit() -> None:
    given(*ACTIVE, UNIT).when(JOIN).then_refused("unknown_role")
    given(*ACTIVE, ROLE).when(JOIN).then_refused("unknown_unit")
    given(*ACTIVE, UNIT, ROLE, UnitClosed(unit_id="ai", reason="x")).when(JOIN).then_refused("unit_closed")


def test_a_member_is_reassigned_to_a_role_and_a_unit_or_none() -> None:
    given(*STAFFED).when(ReassignMember(person_id="p-1", role_id="fellow", unit_id="ai")).then_nothing()
    given(*STAFFED).when(ReassignMember(person_id="p-1", role_id="fellow")).then(
        MemberReassigned(person_id="p-1", role_id="fellow")
    )
    given(*STAFFED).when(ReassignMember(person_id="p-2", role_id="fellow")).then_refused("unknown_member")
    given(*STAFFED).when(ReassignMember(person_id="p-1", role_id="none")).then_refused("unknown_role")


def test_a_member_leaves_even_a_paused_organization_once() -> None:
    given(*STAFFED, OrganizationSuspended(reason="x")).when(RemoveMember(person_id="p-1")).then(
        MemberRemoved(person_id="p-1")
    )
    given(*STAFFED, MemberRemoved(person_id="p-1")).when(RemoveMember(person_id="p-1", reason="x")).then_nothing()


def test_a_reassigned_member_keeps_the_day_of_joining() -> None:
    given(*STAFFED, MemberReassigned(person_id="p-1", role_id="fellow")).when(
        AddMember(person_id="p-1", role_id="fellow", since="2026-01-01")
    ).then_nothing()


@pytest.mark.parametrize(
    ("limit", "event", "command"),
    [
        (MAX_UNITS, UNIT, AddUnit(unit_id="one-more", name="N", unit_type="team")),
        (MAX_ROLES, ROLE, DefineRole(role_id="one-more", title="N")),
        (MAX_MEMBERS, MEMBER, AddMember(person_id="one-more", role_id="fellow", since="2026-01-01")),
    ],
)
def test_units_roles_and_members_have_limits(limit: int, event: object, command: AddUnit) -> None:
    def numbered(n: int) -> object:
        if isinstance(event, UnitAdded):
            return UnitAdded(unit_id=f"u{n}", name="N", unit_type="team")
        if isinstance(event, RoleDefined):
            return RoleDefined(role_id=f"r{n}", title="N")
        return MemberAdded(person_id=f"m{n}", role_id="fellow", since="2026-01-01")

    full = [numbered(n) for n in range(limit - 1)]
    before = ACTIVE if isinstance(event, RoleDefined) else (*ACTIVE, ROLE)
    answer = given(*before, *full).when(command)
    assert answer.events is not None
    assert len(answer.events) == 1
    given(*before, *full, numbered(limit)).when(command).then_refused("limit_reached")


def test_a_malformed_registration_names_every_member_that_offends() -> None:
    data = {"organization_type": "club", "country": "XX", "lei": "5493001KJTIIGC8Y1R13", "parent_id": " o"}
    given().when_sent("RegisterOrganization", data, kind="organization").then_invalid(
        "data.name", "data.organization_type", "data.country", "data.lei", "data.parent_id"
    )
