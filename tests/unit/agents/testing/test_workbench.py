"""The aggregates in memory answer as the contract says."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from annals.agents.testing.specification import NOW
from annals.agents.testing.workbench import Workbench
from annals.schemas.cid import cid_text
from annals.schemas.commands import command
from annals.schemas.kinds.person import AddEmail, RegisterPerson, RenamePerson
from annals.schemas.kinds.workflow import FailStep

if TYPE_CHECKING:
    from annals.schemas.commands import NewCommand
    from annals.schemas.messages import Message

ADA = RegisterPerson(name="Ada")


def to_ada(message: Message, command_id: str) -> NewCommand:
    return command("person", "p-1", message).with_id(command_id)


def test_events_are_sealed_into_one_chain_per_aggregate() -> None:
    bench = Workbench()
    registered = bench.send(to_ada(ADA, "c-1"))
    bench.now = NOW + timedelta(days=1)
    renamed = bench.send(to_ada(RenamePerson(name="Ada Lovelace"), "c-2"))
    first, second = bench.events("person", "p-1")
    assert (registered.status, registered.version, registered.head) == ("accepted", 1, cid_text(first.cid))
    assert (renamed.version, renamed.head) == (2, cid_text(second.cid))
    assert (first.previous, second.previous) == (None, first.cid)
    assert [event.recorded_at for event in (first, second)] == [
        "2026-01-01T12:00:00.000000Z",
        "2026-01-02T12:00:00.000000Z",
    ]
    assert bench.events("person", "p-2") == []


def test_time_never_steps_back_in_a_chain() -> None:
    bench = Workbench()
    bench.send(to_ada(ADA, "c-1"))
    bench.now = NOW - timedelta(days=1)
    bench.send(to_ada(RenamePerson(name="Ada Lovelace"), "c-2"))
    first, second = bench.events("person", "p-1")
    assert first.recorded_at == second.recorded_at


def test_a_command_sent_again_is_a_duplicate_whatever_it_says_now() -> None:
    bench = Workbench()
    first = bench.send(to_ada(ADA, "c-1"))
    bench.send(to_ada(AddEmail(email="ada@example.org"), "c-2"))
    again = bench.send(to_ada(RenamePerson(name="Grace"), "c-1"))
    assert (again.status, again.version, again.head, again.events) == ("duplicate", 1, first.head, first.events)
    assert len(bench.events("person", "p-1")) == 2


def test_a_wish_that_is_true_is_accepted_without_events() -> None:
    bench = Workbench()
    first = bench.send(to_ada(ADA, "c-1"))
    again = bench.send(to_ada(ADA, "c-2"))
    assert (again.status, again.version, again.head, again.events) == ("accepted", 1, first.head, first.events[:0])


def test_a_rejection_says_why_and_leaves_no_event() -> None:
    bench = Workbench()
    early = bench.send(to_ada(RenamePerson(name="Ada"), "c-1"))
    assert early.error is not None
    assert (early.error.code, early.error.details["status"], early.version) == ("invalid_transition", "absent", 0)
    expecting = bench.send(to_ada(ADA, "c-2").expecting(3))
    assert expecting.error is not None
    assert expecting.error.code == "version_conflict"
    of_another = bench.send(to_ada(FailStep(step_id="a", error="x"), "c-3"))
    assert of_another.error is not None
    assert of_another.error.code == "unknown_command"
    assert bench.events("person", "p-1") == []


def test_what_would_be_a_dead_letter_is_an_error() -> None:
    with pytest.raises(ValueError, match="no_id"):
        Workbench().send(to_ada(ADA, "x" * 129))
