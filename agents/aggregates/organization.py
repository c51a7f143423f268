"""organization: a body with units, roles and members.

References, not checked: persons (members), organizations (parent_id, merged_into), a location (headquarters_id).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, assert_never

from msgspec import UNSET
from msgspec.structs import replace

from annals.agents.deciding.comparison import changes, is_identical, matches, or_none
from annals.agents.deciding.decider import Decider
from annals.agents.deciding.machine import ABSENT, Machine, On
from annals.agents.deciding.refusals import Refused
from annals.agents.deciding.rules import amend, drop, known, put, refuse_full, refuse_self, refuse_taken
from annals.agents.deciding.state import State, StatePart
from annals.schemas.former.organization import UPCASTERS
from annals.schemas.kinds import organization as say
from annals.schemas.messages import event_from

if TYPE_CHECKING:
    from annals.agents.deciding.decider import Circumstances

MAX_UNITS: Final = 500
MAX_ROLES: Final = 200
MAX_MEMBERS: Final = 2_000

# --- Lifecycle -------------------------------------------------------------------------------------------------------

MACHINE: Final = Machine(
    open_={
        "pending": "known, not yet at work",
        "active": "",
        "inactive": "by its own wish",
        "suspended": "by an authority",
    },
    terminal={"dissolved": "", "merged": "part of another"},
    rows=(
        On(say.RegisterOrganization, (say.OrganizationRegistered,), where=(ABSENT,), to="pending"),
        On(say.UpdateProfile, (say.ProfileUpdated,)),
        On(
            say.ActivateOrganization,
            (say.OrganizationActivated,),
            where=("pending", "inactive", "suspended"),
            to="active",
        ),
        On(say.DeactivateOrganization, (say.OrganizationDeactivated,), where=("active",), to="inactive"),
        On(say.SuspendOrganization, (say.OrganizationSuspended,), where=("active",), to="suspended"),
        On(
            say.DissolveOrganization,
            (say.OrganizationDissolved,),
            where=("active", "inactive", "suspended"),
            to="dissolved",
        ),
        On(say.MergeOrganization, (say.OrganizationMerged,), where=("active",), to="merged"),
        On(say.AddUnit, (say.UnitAdded,)),
        On(say.CloseUnit, (say.UnitClosed,)),
        On(say.DefineRole, (say.RoleDefined,)),
        On(say.DeprecateRole, (say.RoleDeprecated,)),
        On(say.AddMember, (say.MemberAdded,), where=("active",)),
        On(say.ReassignMember, (say.MemberReassigned,), where=("active",)),
        On(say.RemoveMember, (say.MemberRemoved,)),
    ),
)

# --- State -----------------------------------------------------------------------------------------------------------


class Unit(StatePart):
    """A part of the body; without a parent it is at the top."""

    name: str
    unit_type: str
    parent_unit_id: str | None = None
    closed: bool = False


class Role(StatePart):
    """What a member is there for, and may do."""

    title: str
    permissions: list[str] = []
    deprecated: bool = False


class Member(StatePart):
    """A person who belongs to the body."""

    role_id: str
    since: str
    unit_id: str | None = None


class Organization(State):
    """The body: units and roles by their slugs, members by their person ids."""

    name: str = ""
    legal_name: str | None = None
    organization_type: str = ""
    country: str | None = None
    lei: str | None = None
    website: str | None = None
    parent_id: str | None = None
    merged_into: str | None = None
    headquarters_id: str | None = None
    units: dict[str, Unit] = {}
    roles: dict[str, Role] = {}
    members: dict[str, Member] = {}


def already_true(command: say.Command, body: Organization) -> bool:
    """Whether the command's wish is true of the organization."""
    match command:
        case say.AddUnit():
            unit = body.units.get(command.unit_id)
            return unit is not None and matches(command, unit)
        case say.CloseUnit():
            unit = body.units.get(command.unit_id)
            return unit is not None and unit.closed
        case say.DefineRole():
            role = body.roles.get(command.role_id)
            return role is not None and is_identical(command, role)
        case say.DeprecateRole():
            role = body.roles.get(command.role_id)
            return role is not None and role.deprecated
        case say.AddMember():
            member = body.members.get(command.person_id)
            return member is not None and matches(command, member)
        case say.ReassignMember():
            member = body.members.get(command.person_id)
            return member is not None and is_identical(command, member)
        case say.RemoveMember():
            return command.person_id not in body.members
        case (
            say.RegisterOrganization()
            | say.UpdateProfile()
            | say.ActivateOrganization()
            | say.DeactivateOrganization()
            | say.SuspendOrganization()
            | say.DissolveOrganization()
            | say.MergeOrganization()
        ):
            return matches(command, body)
        case _:
            assert_never(command)


# --- Decide ----------------------------------------------------------------------------------------------------------


def decide(command: say.Command, body: Organization, at: Circumstances) -> list[say.Event]:
    """The events of a command that is open and not yet true.

    Raises:
        Refused: the first rule of the command's row that is broken.
    """
    match command:
        case say.RegisterOrganization():
            refuse_self(command.parent_id, at.aggregate_id, "parent_id")
            return [event_from(command, say.OrganizationRegistered)]
        case say.UpdateProfile():
            refuse_self(command.parent_id, at.aggregate_id, "parent_id")
            return [say.ProfileUpdated(**changes(command, body))]
        case say.ActivateOrganization():
            return [event_from(command, say.OrganizationActivated)]
        case say.DeactivateOrganization():
            return [event_from(command, say.OrganizationDeactivated)]
        case say.SuspendOrganization():
            return [event_from(command, say.OrganizationSuspended)]
        case say.DissolveOrganization():
            return [event_from(command, say.OrganizationDissolved)]
        case say.MergeOrganization():
            refuse_self(command.merged_into, at.aggregate_id, "merged_into")
            return [event_from(command, say.OrganizationMerged)]
        case say.AddUnit():
            return [_add_unit(command, body)]
        case say.CloseUnit():
            known(body.units, command.unit_id, "unit")
            _refuse_unit_not_empty(command.unit_id, body)
            return [event_from(command, say.UnitClosed)]
        case say.DefineRole():
            if command.role_id not in body.roles:
                refuse_full(body.roles, MAX_ROLES, "roles")
            elif body.roles[command.role_id].deprecated:
                raise Refused("role_deprecated", f"the role {command.role_id} is deprecated; define a new one")
            return [event_from(command, say.RoleDefined)]
        case say.DeprecateRole():
            known(body.roles, command.role_id, "role")
            if any(member.role_id == command.role_id for member in body.members.values()):
                raise Refused("role_in_use", f"members have the role {command.role_id}; reassign them first")
            return [event_from(command, say.RoleDeprecated)]
        case say.AddMember():
            role, unit = _place(command, body)
            refuse_taken(body.members, command.person_id, "member")
            refuse_full(body.members, MAX_MEMBERS, "members")
            _refuse_closed_place(role, unit)
            return [event_from(command, say.MemberAdded)]
        case say.ReassignMember():
            known(body.members, command.person_id, "member")
            _refuse_closed_place(*_place(command, body))
            return [event_from(command, say.MemberReassigned)]
        case say.RemoveMember():
            return [event_from(command, say.MemberRemoved)]
        case _:
            assert_never(command)


def _add_unit(command: say.AddUnit, body: Organization) -> say.UnitAdded:
    """Refuses a unit in itself before an unknown one: it would always be both."""
    refuse_self(command.parent_unit_id, command.unit_id, "parent_unit_id")
    parent = None if command.parent_unit_id is UNSET else known(body.units, command.parent_unit_id, "unit")
    refuse_taken(body.units, command.unit_id, "unit")
    refuse_full(body.units, MAX_UNITS, "units")
    if parent is not None and parent.closed:
        raise Refused("unit_closed", f"the unit {command.parent_unit_id} is closed")
    return event_from(command, say.UnitAdded)


def _refuse_unit_not_empty(unit_id: str, body: Organization) -> None:
    if any(unit.parent_unit_id == unit_id and not unit.closed for unit in body.units.values()):
        raise Refused("unit_not_empty", f"there are open units in {unit_id}; close them first")
    if any(member.unit_id == unit_id for member in body.members.values()):
        raise Refused("unit_not_empty", f"there are members in {unit_id}; reassign them first")


def _place(command: say.AddMember | say.ReassignMember, body: Organization) -> tuple[Role, Unit | None]:
    """The role and the unit that the command names; refuses unknown ones."""
    role = known(body.roles, command.role_id, "role")
    return role, None if command.unit_id is UNSET else known(body.units, command.unit_id, "unit")


def _refuse_closed_place(role: Role, unit: Unit | None) -> None:
    if role.deprecated:
        raise Refused("role_deprecated", f"the role {role.title} is deprecated")
    if unit is not None and unit.closed:
        raise Refused("unit_closed", f"the unit {unit.name} is closed")


# --- Evolve ----------------------------------------------------------------------------------------------------------


def evolve(body: Organization, event: say.Event) -> Organization:
    """The organization after the event."""
    match event:
        case say.OrganizationRegistered():
            return Organization(
                status="pending",
                name=event.name,
                legal_name=or_none(event.legal_name),
                organization_type=event.organization_type,
                country=or_none(event.country),
                lei=or_none(event.lei),
                parent_id=or_none(event.parent_id),
            )
        case say.ProfileUpdated():
            return replace(body, **changes(event, body))
        case say.OrganizationActivated():
            return replace(body, status="active")
        case say.OrganizationDeactivated():
            return replace(body, status="inactive")
        case say.OrganizationSuspended():
            return replace(body, status="suspended")
        case say.OrganizationDissolved():
            return replace(body, status="dissolved")
        case say.OrganizationMerged():
            return replace(body, status="merged", merged_into=event.merged_into)
        case say.UnitAdded():
            unit = Unit(name=event.name, unit_type=event.unit_type, parent_unit_id=or_none(event.parent_unit_id))
            return replace(body, units=put(body.units, event.unit_id, unit))
        case say.UnitClosed():
            return replace(body, units=amend(body.units, event.unit_id, closed=True))
        case say.RoleDefined():
            role = Role(title=event.title, permissions=or_none(event.permissions) or [])
            return replace(body, roles=put(body.roles, event.role_id, role))
        case say.RoleDeprecated():
            return replace(body, roles=amend(body.roles, event.role_id, deprecated=True))
        case say.MemberAdded():
            member = Member(role_id=event.role_id, unit_id=or_none(event.unit_id), since=event.since)
            return replace(body, members=put(body.members, event.person_id, member))
        case say.MemberReassigned():
            changed = {"role_id": event.role_id, "unit_id": or_none(event.unit_id)}
            return replace(body, members=amend(body.members, event.person_id, **changed))
        case say.MemberRemoved():
            return replace(body, members=drop(body.members, event.person_id))
        case _:
            assert_never(event)


# --- Decider ---------------------------------------------------------------------------------------------------------

ORGANIZATION: Final = Decider(
    "organization",
    MACHINE,
    Organization(),
    state_version=1,
    already_true=already_true,
    decide=decide,
    evolve=evolve,
    upcasters=UPCASTERS,
)
