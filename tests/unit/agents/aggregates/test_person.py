"""person, row by row of the domain's table."""

from __future__ import annotations

import pytest

from annals.agents.aggregates.person import MAX_EMAILS
from annals.agents.testing import given
from annals.schemas.kinds.person import (
    AddEmail,
    ArchivePerson,
    DeathRecorded,
    EmailAdded,
    EmailRemoved,
    EmailVerified,
    MergePerson,
    PersonArchived,
    PersonMerged,
    PersonReactivated,
    PersonRegistered,
    PersonRenamed,
    PersonSuspended,
    PrimaryEmailSet,
    ProfileUpdated,
    ReactivatePerson,
    RecordDeath,
    RegisterPerson,
    RemoveEmail,
    RenamePerson,
    SetPrimaryEmail,
    SuspendPerson,
    UpdateProfile,
    VerifyEmail,
)

ADA = PersonRegistered(name="Ada Lovelace")
ADAS = "ada@example.org"
WITH_EMAIL = (ADA, EmailAdded(email=ADAS))
WITH_PRIMARY = (*WITH_EMAIL, EmailVerified(email=ADAS), PrimaryEmailSet(email=ADAS))


def test_a_person_is_registered_with_what_was_given_and_nothing_else() -> None:
    given().when(RegisterPerson(name="Ada", languages=["en", "fr"])).then(
        PersonRegistered(name="Ada", languages=["en", "fr"])
    )


def test_registering_the_same_again_is_already_true() -> None:
    command = RegisterPerson(name="Ada Lovelace", email="ADA@example.org", languages=["fr", "en"])
    given(PersonRegistered(name="Ada Lovelace", email=ADAS, languages=["en", "fr"])).when(command).then_nothing()


def test_registering_the_same_again_is_already_true_of_an_archived_person() -> None:
    given(ADA, PersonArchived(reason="left")).when(RegisterPerson(name="Ada Lovelace")).then_nothing()


@pytest.mark.parametrize(
    "command", [RegisterPerson(name="Grace"), RegisterPerson(name="Ada Lovelace", email="grace@example.org")]
)
def test_registering_somebody_else_under_the_same_id_is_not_open(command: RegisterPerson) -> None:
    given(ADA).when(command).then_not_open("active")


@pytest.mark.parametrize(
    "command",
    [
        RenamePerson(name="Ada"),
        UpdateProfile(),
        AddEmail(email=ADAS),
        RemoveEmail(email=ADAS),
        ArchivePerson(reason="why"),
    ],
)
def test_only_registration_is_open_to_an_absent_person(command: RenamePerson) -> None:
    given().when(command).then_not_open("absent")


def test_a_birth_tomorrow_is_refused() -> None:
    given().when(RegisterPerson(name="Ada", birth_date="2026-01-02")).then_refused("birth_in_future")
    given(ADA).when(UpdateProfile(birth_date="2026-01-02")).then_refused("birth_in_future")


def test_a_birth_today_is_not_refused() -> None:
    given(ADA).when(UpdateProfile(birth_date="2026-01-01")).then(ProfileUpdated(birth_date="2026-01-01"))


def test_a_renamed_person_has_the_new_name_and_the_reason_is_kept() -> None:
    given(ADA).when(RenamePerson(name="Ada King", reason="marriage")).then(
        PersonRenamed(name="Ada King", reason="marriage")
    )


def test_a_name_that_somebody_has_is_already_true_whatever_the_reason() -> None:
    given(ADA).when(RenamePerson(name="Ada Lovelace", reason="again")).then_nothing()


def test_an_updated_profile_says_only_what_differs() -> None:
    told = (ADA, ProfileUpdated(phone="+442071838750", time_zone="Europe/London"))
    given(*told).when(UpdateProfile(phone=None, time_zone="Europe/London", languages=["en"])).then(
        ProfileUpdated(phone=None, languages=["en"])
    )


def test_clearing_what_is_not_there_is_already_true() -> None:
    given(ADA).when(UpdateProfile(phone=None, preferred_name=None, languages=[])).then_nothing()


def test_languages_in_another_order_and_case_are_the_same() -> None:
    given(PersonRegistered(name="Ada", languages=["en-GB", "fr"])).when(
        UpdateProfile(languages=["FR", "en-gb"])
    ).then_nothing()


def test_an_address_is_added_once_whatever_its_case() -> None:
    given(ADA).when(AddEmail(email=ADAS)).then(EmailAdded(email=ADAS))
    given(*WITH_EMAIL).when(AddEmail(email="ADA@EXAMPLE.ORG")).then_nothing()


def test_a_person_has_at_most_twenty_addresses() -> None:
    many = [EmailAdded(email=f"ada{n}@example.org") for n in range(MAX_EMAILS)]
    given(ADA, *many).when(AddEmail(email="more@example.org")).then_refused("limit_reached")
    given(ADA, *many[1:]).when(AddEmail(email="more@example.org")).then(EmailAdded(email="more@example.org"))


def test_an_address_is_verified_once() -> None:
    given(*WITH_EMAIL).when(VerifyEmail(email="Ada@Example.org")).then(EmailVerified(email="Ada@Example.org"))
    given(*WITH_PRIMARY).when(VerifyEmail(email=ADAS)).then_nothing()


def test_an_address_that_nobody_added_is_unknown() -> None:
    given(ADA).when(VerifyEmail(email=ADAS)).then_refused("unknown_email")
    given(ADA).when(SetPrimaryEmail(email=ADAS)).then_refused("unknown_email")


def test_only_a_verified_address_becomes_the_primary_one() -> None:
    given(*WITH_EMAIL).when(SetPrimaryEmail(email=ADAS)).then_refused("email_unverified")
    given(*WITH_EMAIL, EmailVerified(email=ADAS)).when(SetPrimaryEmail(email=ADAS)).then(PrimaryEmailSet(email=ADAS))
    given(*WITH_PRIMARY).when(SetPrimaryEmail(email="ADA@example.org")).then_nothing()


def test_the_primary_address_stays_while_there_are_others() -> None:
    other = EmailAdded(email="other@example.org")
    given(*WITH_PRIMARY, other).when(RemoveEmail(email=ADAS)).then_refused("primary_in_use")
    given(*WITH_PRIMARY, other).when(RemoveEmail(email="other@example.org")).then(
        EmailRemoved(email="other@example.org")
    )
    given(*WITH_PRIMARY).when(RemoveEmail(email=ADAS)).then(EmailRemoved(email=ADAS))


def test_a_removed_primary_address_is_primary_no_more() -> None:
    given(*WITH_PRIMARY, EmailRemoved(email=ADAS), EmailAdded(email=ADAS)).when(
        SetPrimaryEmail(email=ADAS)
    ).then_refused("email_unverified")


def test_removing_an_address_that_is_not_there_is_already_true() -> None:
    given(ADA).when(RemoveEmail(email=ADAS)).then_nothing()


def test_a_person_is_suspended_and_comes_back() -> None:
    suspended = (ADA, PersonSuspended(reason="leave"))
    given(ADA).when(SuspendPerson(reason="leave")).then(PersonSuspended(reason="leave"))
    given(*suspended).when(SuspendPerson(reason="another")).then_nothing()
    given(*suspended).when(ReactivatePerson(reason="back")).then(PersonReactivated(reason="back"))
    given(ADA).when(ReactivatePerson(reason="back")).then_nothing()
    given(*suspended).when(RenamePerson(name="Ada")).then(PersonRenamed(name="Ada"))


def test_a_death_is_recorded_once_and_for_one_day() -> None:
    dead = (ADA, DeathRecorded(death_date="2025-11-27"))
    given(ADA).when(RecordDeath(death_date="2025-11-27")).then(DeathRecorded(death_date="2025-11-27"))
    given(*dead).when(RecordDeath(death_date="2025-11-27")).then_nothing()
    given(*dead).when(RecordDeath(death_date="2025-11-28")).then_not_open("deceased")


def test_a_death_lies_between_birth_and_today() -> None:
    born = (ADA, ProfileUpdated(birth_date="2000-02-29"))
    given(*born).when(RecordDeath(death_date="2026-01-02")).then_refused("death_in_future")
    given(*born).when(RecordDeath(death_date="2000-02-28")).then_refused("death_before_birth")
    given(*born).when(RecordDeath(death_date="2000-02-29")).then(DeathRecorded(death_date="2000-02-29"))


def test_a_person_is_merged_into_another_but_not_into_itself() -> None:
    merged = (ADA, PersonMerged(merged_into="p-2", reason="double"))
    given(ADA).when(MergePerson(merged_into="p-2", reason="double")).then(merged[1])
    given(ADA, aggregate_id="p-1").when(MergePerson(merged_into="p-1", reason="x")).then_refused("self_reference")
    given(*merged).when(MergePerson(merged_into="p-2", reason="other")).then_nothing()
    given(*merged).when(MergePerson(merged_into="p-3", reason="other")).then_not_open("merged")


def test_nothing_but_what_is_true_anyway_is_open_to_an_archived_person() -> None:
    archived = (*WITH_EMAIL, PersonArchived(reason="left"))
    given(*archived).when(ArchivePerson(reason="again")).then_nothing()
    given(*archived).when(AddEmail(email=ADAS)).then_nothing()
    given(*archived).when(RenamePerson(name="Other")).then_not_open("archived")
    given(*archived).when(SuspendPerson(reason="why")).then_not_open("archived")
    given(*archived).when(RecordDeath(death_date="2025-01-01")).then_not_open("archived")


def test_a_malformed_registration_names_every_member_that_offends() -> None:
    data = {
        "name": " Ada",
        "birth_date": "2026-02-30",
        "email": "ada@localhost",
        "phone": "0201",
        "languages": ["en", "xq", "EN"],
        "time_zone": None,
        "nick": "x",
    }
    given().when_sent("RegisterPerson", data, kind="person").then_invalid(
        "data.name",
        "data.birth_date",
        "data.email",
        "data.phone",
        "data.languages[1]",
        "data.time_zone",
        "data.nick",
    )
