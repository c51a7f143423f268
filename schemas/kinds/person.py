"""person on the wire: who somebody is, and how to reach them."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import UNSET, Meta, UnsetType

from annals.schemas.messages import Message
from annals.schemas.values.constraints import PERSONAL, UNORDERED
from annals.schemas.values.fields import AggregateId, Date, Email, Language, Phone, Text, TimeZone

MAX_EMAILS: Final = 20

PersonName = Annotated[Text, PERSONAL]
PersonDate = Annotated[Date, PERSONAL]
PersonEmail = Annotated[Email, PERSONAL]
PersonPhone = Annotated[Phone, PERSONAL]
Languages = Annotated[list[Language], Meta(max_length=10), UNORDERED]


class RegisterPerson(Message):
    """Somebody becomes known."""

    name: PersonName
    preferred_name: PersonName | UnsetType = UNSET
    birth_date: PersonDate | UnsetType = UNSET
    email: PersonEmail | UnsetType = UNSET
    phone: PersonPhone | UnsetType = UNSET
    languages: Languages | UnsetType = UNSET
    time_zone: TimeZone | UnsetType = UNSET


class PersonRegistered(RegisterPerson):
    """Somebody became known."""


class RenamePerson(Message):
    """Somebody's name changes."""

    name: PersonName
    reason: Text | UnsetType = UNSET


class PersonRenamed(RenamePerson):
    """Somebody's name changed."""


class UpdateProfile(Message):
    """What is given changes; null clears."""

    preferred_name: PersonName | UnsetType | None = UNSET
    birth_date: PersonDate | UnsetType | None = UNSET
    phone: PersonPhone | UnsetType | None = UNSET
    languages: Languages | UnsetType = UNSET
    time_zone: TimeZone | UnsetType | None = UNSET


class ProfileUpdated(UpdateProfile):
    """What is given changed; null: it was cleared."""


class AddEmail(Message):
    """An address is added, unverified."""

    email: PersonEmail


class EmailAdded(AddEmail):
    """An address was added, unverified."""


class VerifyEmail(Message):
    """An address is shown to be the person's."""

    email: PersonEmail


class EmailVerified(VerifyEmail):
    """An address was shown to be the person's."""


class SetPrimaryEmail(Message):
    """A verified address becomes the one to write to."""

    email: PersonEmail


class PrimaryEmailSet(SetPrimaryEmail):
    """A verified address became the one to write to."""


class RemoveEmail(Message):
    """An address is no longer used."""

    email: PersonEmail


class EmailRemoved(RemoveEmail):
    """An address is no longer used."""


class SuspendPerson(Message):
    """Somebody gets no work for a while."""

    reason: Text


class PersonSuspended(SuspendPerson):
    """Somebody gets no work for a while."""


class ReactivatePerson(Message):
    """Somebody gets work again."""

    reason: Text


class PersonReactivated(ReactivatePerson):
    """Somebody gets work again."""


class RecordDeath(Message):
    """Somebody has died."""

    death_date: PersonDate


class DeathRecorded(RecordDeath):
    """Somebody has died."""


class MergePerson(Message):
    """This person is the same as another, who stays."""

    merged_into: AggregateId
    reason: Text


class PersonMerged(MergePerson):
    """This person is the same as another, who stays."""


class ArchivePerson(Message):
    """Nothing more is expected of this person's record."""

    reason: Text


class PersonArchived(ArchivePerson):
    """Nothing more is expected of this person's record."""


Command = (
    RegisterPerson
    | RenamePerson
    | UpdateProfile
    | AddEmail
    | VerifyEmail
    | SetPrimaryEmail
    | RemoveEmail
    | SuspendPerson
    | ReactivatePerson
    | RecordDeath
    | MergePerson
    | ArchivePerson
)
Event = (
    PersonRegistered
    | PersonRenamed
    | ProfileUpdated
    | EmailAdded
    | EmailVerified
    | PrimaryEmailSet
    | EmailRemoved
    | PersonSuspended
    | PersonReactivated
    | DeathRecorded
    | PersonMerged
    | PersonArchived
)
