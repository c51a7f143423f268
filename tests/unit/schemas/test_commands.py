"""Commands to be sent: the worker reads them as they were meant."""

from __future__ import annotations

import pytest

from annals.schemas.cid import cid_of, cid_text
from annals.schemas.commands import command
from annals.schemas.envelope import Command, RecordedEvent
from annals.schemas.kinds.person import RenamePerson, UpdateProfile
from annals.schemas.wire.reading import read_command

CID = cid_of(b"\xa0")
EVENT = RecordedEvent(
    kind="person",
    aggregate_id="p-1",
    version=1,
    previous=None,
    type="PersonRegistered",
    schema_version=1,
    recorded_at="2026-01-01T00:00:00.000000Z",
    command_id="c-1",
    correlation_id="story-1",
    causation_id=None,
    actor=None,
    data={"name": "Ada"},
    cid=CID,
)


def read(new: object) -> Command:
    found = read_command(new.key(), new.value(), [], 1_000_000)  # type: ignore[attr-defined]
    assert isinstance(found, Command)
    assert found.errors == ()
    return found


def test_a_command_is_read_as_it_was_built() -> None:
    new = command("person", "p-1", UpdateProfile(phone=None)).with_id("c-1").by("hr").expecting(3, cid_text(CID))
    found = read(new)
    assert (found.id, found.type, found.aggregate_id) == ("c-1", "UpdateProfile", "p-1")
    assert found.data == {"phone": None}
    assert (found.expected_version, found.expected_head) == (3, CID)
    assert (found.correlation_id, found.causation_id, found.actor) == ("c-1", None, "hr")


def test_a_reaction_carries_correlation_and_causation_on_and_is_the_same_when_made_again() -> None:
    reaction = command("person", "p-2", RenamePerson(name="Ada")).caused_by(EVENT)
    found = read(reaction)
    assert found.correlation_id == "story-1"
    assert found.causation_id == cid_text(CID)
    assert found.id == f"{cid_text(CID)}:RenamePerson"
    assert command("person", "p-2", RenamePerson(name="Ada")).caused_by(EVENT).value() == reaction.value()


def test_a_reaction_may_have_an_id_of_its_own() -> None:
    assert command("person", "p-2", RenamePerson(name="Ada")).with_id("c-2").caused_by(EVENT).id == "c-2"


def test_a_command_without_id_and_cause_is_not_sent() -> None:
    with pytest.raises(ValueError, match="needs an id"):
        command("person", "p-1", RenamePerson(name="Ada")).value()


def test_a_line_for_the_command_line_has_the_kind_beside_the_envelope() -> None:
    assert command("person", "p-1", RenamePerson(name="Ada")).with_id("c-1").line() == {
        "kind": "person",
        "id": "c-1",
        "type": "RenamePerson",
        "aggregate_id": "p-1",
        "data": {"name": "Ada"},
        "expected_version": "any",
    }
