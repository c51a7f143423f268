"""person: who somebody is, and how to reach them.

References: none but `merged_into`, another person. No health, faith, origin or national ids: a journal does not forget.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, assert_never

from msgspec import UNSET
from msgspec.structs import replace

from annals.agents.deciding.comparison import changes, matches, or_none
from annals.agents.deciding.decider import Decider
from annals.agents.deciding.machine import ABSENT, Machine, On
from annals.agents.deciding.refusals import Refused
from annals.agents.deciding.rules import drop, known, put, refuse_full, refuse_self
from annals.agents.deciding.state import State
from annals.schemas.kinds import person as say
from annals.schemas.messages import event_from
from annals.schemas.values.constraints import PERSONAL
from annals.schemas.values.standards.calendar import day_of

if TYPE_CHECKING:
    from annals.agents.deciding.decider import Circumstances

MAX_EMAILS: Final = 20

# --- Lifecycle -------------------------------------------------------------------------------------------------------

MACHINE: Final = Machine(
    open_={"active": "", "suspended": "gets no work"},
    terminal={"deceased": "", "merged": "the same as another", "archived": ""},
    rows=(
        On(say.RegisterPerson, (say.PersonRegistered,), where=(ABSENT,), to="active"),
        On(say.RenamePerson, (say.PersonRenamed,)),
        On(say.UpdateProfile, (say.ProfileUpdated,)),
        On(say.AddEmail, (say.EmailAdded,)),
        On(say.VerifyEmail, (say.EmailVerified,)),
        On(say.SetPrimaryEmail, (say.PrimaryEmailSet,)),
        On(say.RemoveEmail, (say.EmailRemoved,)),
        On(say.SuspendPerson, (say.PersonSuspended,), where=("active",), to="suspended"),
        On(say.ReactivatePerson, (say.PersonReactivated,), where=("suspended",), to="active"),
        On(say.RecordDeath, (say.DeathRecorded,), to="deceased"),
        On(say.MergePerson, (say.PersonMerged,), to="merged"),
        On(say.ArchivePerson, (say.PersonArchived,), to="archived"),
    ),
)

# --- State -----------------------------------------------------------------------------------------------------------


class Person(State):
    """What is known of somebody; `emails` has each address in lower case, and whether it is verified."""

    name: Annotated[str, PERSONAL] = ""
    preferred_name: Annotated[str | None, PERSONAL] = None
    birth_date: Annotated[str | None, PERSONAL] = None
    death_date: Annotated[str | None, PERSONAL] = None
    emails: Annotated[dict[str, bool], PERSONAL] = {}
    primary_email: Annotated[str | None, PERSONAL] = None
    phone: Annotated[str | None, PERSONAL] = None
    languages: list[str] = []
    time_zone: str | None = None
    merged_into: str | None = None


def already_true(command: say.Command, person: Person) -> bool:
    """Whether the command's wish is true of the person."""
    match command:
        case (
            say.RenamePerson()
            | say.UpdateProfile()
            | say.SuspendPerson()
            | say.ReactivatePerson()
            | say.RecordDeath()
            | say.MergePerson()
            | say.ArchivePerson()
        ):
            return matches(command, person)
        case say.RegisterPerson():
            return matches(command, person) and (command.email is UNSET or _key(command.email) in person.emails)
        case say.AddEmail():
            return _key(command.email) in person.emails
        case say.VerifyEmail():
            return person.emails.get(_key(command.email), False)
        case say.SetPrimaryEmail():
            return person.primary_email == _key(command.email)
        case say.RemoveEmail():
            return _key(command.email) not in person.emails
        case _:
            assert_never(command)


def _key(email: str) -> str:
    """The address as the state keeps it: e-mail compares without case."""
    return email.lower()


# --- Decide ----------------------------------------------------------------------------------------------------------


def decide(command: say.Command, person: Person, at: Circumstances) -> list[say.Event]:
    """The events of a command that is open and not yet true.

    Raises:
        Refused: the first rule of the command's row that is broken.
    """
    match command:
        case say.RegisterPerson():
            _refuse_birth_in_future(command.birth_date, at)
            return [event_from(command, say.PersonRegistered)]
        case say.RenamePerson():
            return [event_from(command, say.PersonRenamed)]
        case say.UpdateProfile():
            _refuse_birth_in_future(command.birth_date, at)
            return [say.ProfileUpdated(**changes(command, person))]
        case say.AddEmail():
            refuse_full(person.emails, MAX_EMAILS, "e-mail addresses")
            return [event_from(command, say.EmailAdded)]
        case say.VerifyEmail():
            known(person.emails, _key(command.email), "email")
            return [event_from(command, say.EmailVerified)]
        case say.SetPrimaryEmail():
            if not known(person.emails, _key(command.email), "email"):
                raise Refused("email_unverified", "only a verified address can be the primary one: VerifyEmail first")
            return [event_from(command, say.PrimaryEmailSet)]
        case say.RemoveEmail():
            if person.primary_email == _key(command.email) and len(person.emails) > 1:
                raise Refused("primary_in_use", "this address is the primary one: make another the primary one first")
            return [event_from(command, say.EmailRemoved)]
        case say.SuspendPerson():
            return [event_from(command, say.PersonSuspended)]
        case say.ReactivatePerson():
            return [event_from(command, say.PersonReactivated)]
        case say.RecordDeath():
            if command.death_date > day_of(at.now):
                raise Refused("death_in_future", "death_date is after today (UTC)")
            if person.birth_date is not None and command.death_date < person.birth_date:
                raise Refused("death_before_birth", "death_date is before the person's birth_date")
            return [event_from(command, say.DeathRecorded)]
        case say.MergePerson():
            refuse_self(command.merged_into, at.aggregate_id, "merged_into")
            return [event_from(command, say.PersonMerged)]
        case say.ArchivePerson():
            return [event_from(command, say.PersonArchived)]
        case _:
            assert_never(command)


def _refuse_birth_in_future(birth_date: object, at: Circumstances) -> None:
    if isinstance(birth_date, str) and birth_date > day_of(at.now):
        raise Refused("birth_in_future", "birth_date is after today (UTC)")


# --- Evolve ----------------------------------------------------------------------------------------------------------


def evolve(person: Person, event: say.Event) -> Person:
    """The person after the event."""
    match event:
        case say.PersonRegistered():
            return Person(
                status="active",
                name=event.name,
                preferred_name=or_none(event.preferred_name),
                birth_date=or_none(event.birth_date),
                emails={} if event.email is UNSET else {_key(event.email): False},
                phone=or_none(event.phone),
                languages=or_none(event.languages) or [],
                time_zone=or_none(event.time_zone),
            )
        case say.PersonRenamed():
            return replace(person, name=event.name)
        case say.ProfileUpdated():
            return replace(person, **changes(event, person))
        case say.EmailAdded():
            return replace(person, emails=put(person.emails, _key(event.email), part=False))
        case say.EmailVerified():
            return replace(person, emails=put(person.emails, _key(event.email), part=True))
        case say.PrimaryEmailSet():
            return replace(person, primary_email=_key(event.email))
        case say.EmailRemoved():
            key = _key(event.email)
            return replace(
                person,
                emails=drop(person.emails, key),
                primary_email=None if person.primary_email == key else person.primary_email,
            )
        case say.PersonSuspended():
            return replace(person, status="suspended")
        case say.PersonReactivated():
            return replace(person, status="active")
        case say.DeathRecorded():
            return replace(person, status="deceased", death_date=event.death_date)
        case say.PersonMerged():
            return replace(person, status="merged", merged_into=event.merged_into)
        case say.PersonArchived():
            return replace(person, status="archived")
        case _:
            assert_never(event)


# --- Decider ---------------------------------------------------------------------------------------------------------

PERSON: Final = Decider(
    "person", MACHINE, Person(), state_version=1, already_true=already_true, decide=decide, evolve=evolve
)
