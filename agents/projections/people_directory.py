"""people_directory: who there is, found by e-mail address or by a word of a name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, get_args

from msgspec.structs import replace

from annals.agents.projections.projection import Projection, Row, given_members, personal_key, words_of
from annals.schemas.kinds import person as say

if TYPE_CHECKING:
    from annals.agents.projections.projection import Happened, ProjectionRows

# --- Row -------------------------------------------------------------------------------------------------------------


class Person(Row, kw_only=True):
    """Somebody; `emails` in lower case, verified or not. shared_with: the ids of the first 20 others with one of them.

    Who shares an address is found when rows are asked for, since others are in any partition. All who have one are
    found by it.
    """

    name: str
    preferred_name: str | None = None
    emails: list[str] = []
    primary_email: str | None = None
    phone: str | None = None
    status: str = "active"
    shared_with: list[str] = []


STATUSES: Final[dict[type, str]] = {
    say.PersonSuspended: "suspended",
    say.PersonReactivated: "active",
    say.DeathRecorded: "deceased",
    say.PersonMerged: "merged",
    say.PersonArchived: "archived",
}


def indexes(row: Person) -> dict[str, list[str]]:
    """E-mail addresses and words of names, which are personal."""
    words = words_of(row.name, row.preferred_name)
    return {"email": [personal_key(e) for e in row.emails], "name": [personal_key(word) for word in words]}


# --- Fold ------------------------------------------------------------------------------------------------------------


def fold(event: Happened, rows: ProjectionRows[Person]) -> None:
    """Change the person's row."""
    message = event.message
    if isinstance(message, say.PersonRegistered):
        emails = [message.email.lower()] if isinstance(message.email, str) else []
        given = given_members(message, "preferred_name", "phone")
        row = Person(kind=event.kind, aggregate_id=event.aggregate_id, name=message.name, emails=emails, **given)
        rows.put(row, event.aggregate_id)
    elif old := rows.get(event.aggregate_id):
        rows.put(_changed(message, old), event.aggregate_id)


def _changed(message: object, row: Person) -> Person:
    match message:
        case say.PersonRenamed():
            return replace(row, name=message.name)
        case say.ProfileUpdated():
            return replace(row, **given_members(message, "preferred_name", "phone"))
        case say.EmailAdded():
            return replace(row, emails=sorted({*row.emails, message.email.lower()}))
        case say.PrimaryEmailSet():
            return replace(row, primary_email=message.email.lower())
        case say.EmailRemoved():
            email = message.email.lower()
            primary = None if row.primary_email == email else row.primary_email
            return replace(row, emails=[e for e in row.emails if e != email], primary_email=primary)
        case _:
            return replace(row, status=STATUSES.get(type(message), row.status))


PEOPLE_DIRECTORY: Final = Projection(
    name="people_directory",
    version=1,
    wanted={"person": frozenset(get_args(say.Event))},
    row=Person,
    parameters=("email", "name"),
    indexes=indexes,
    fold=fold,
    values={
        "email": lambda email: [personal_key(email)],
        "name": lambda names: [personal_key(word) for word in words_of(names)],
    },
)
