"""A projection that is re-keyed: what is refused, how it is tested, and the laws of those who write one."""

from dataclasses import replace

import pytest

from annals.agents import registered
from annals.agents.event_keys import Rekeyed
from annals.agents.projections.projection import problem_of
from annals.agents.reactions.reaction import Reaction
from annals.agents.registered import RegistrationError, streams
from annals.schemas.kinds.agent import TaskAssigned
from annals.schemas.kinds.person import PersonRenamed
from annals.testing import given_events, projection_laws_of
from reactors import Seen, react
from rekeyed_rows import GATHERED, Gathered

RENAMED = PersonRenamed(name="Ada")

test_the_laws_hold = projection_laws_of(GATHERED, max_examples=20)


def test_events_of_several_aggregates_are_in_the_row_of_their_key_in_the_order_of_arrival():
    projected = (
        given_events("person", "p-1", RENAMED, RENAMED, correlation_id="c-1")
        .and_events("person", "p-2", RENAMED, correlation_id="c-2")
        .and_events("person", "p-2", RENAMED, correlation_id="c-1")
        .project(GATHERED)
    )
    projected.then_rows(
        {
            ("c-1",): Gathered(kind="person", aggregate_id="c-1", seen=["p-1@1", "p-1@2", "p-2@2"]),
            ("c-2",): Gathered(kind="person", aggregate_id="c-2", seen=["p-2@1"]),
        }
    )
    projected.then_found("count", "3", ("c-1",)).then_found("count", "2")


def test_an_event_without_the_member_is_in_no_row():
    by_nick = replace(GATHERED, key="data.nickname")
    given_events("person", "p-1", RENAMED).project(by_nick).then_rows({})


def test_rows_that_depend_on_other_keys_break_the_laws():
    def fold(event, rows):
        old = rows.get("all") or Gathered(kind="person", aggregate_id=event.key)
        rows.put(Gathered(kind="person", aggregate_id=event.key, seen=[*old.seen, event.key]), "all")

    with pytest.raises(AssertionError, match="depend on other keys"):
        projection_laws_of(replace(GATHERED, fold=fold))()


def test_rows_that_have_no_key_as_their_aggregate_break_the_laws():
    def fold(event, rows):
        rows.put(Gathered(kind="person", aggregate_id=event.aggregate_id), event.key)

    with pytest.raises(AssertionError, match="no key as `aggregate_id`"):
        projection_laws_of(replace(GATHERED, fold=fold))()


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"key": "aggregate_id"}, "it would have what the journal has"),
        ({"key": "name"}, "neither aggregate_id nor correlation_id nor data.<member>"),
        ({"scope": "global"}, "and so not global"),
        ({"wanted": {**GATHERED.wanted, "agent": frozenset({TaskAssigned})}}, "it wants the events of one kind"),
        ({"rekeyed": False}, "has the key 'correlation_id', and is not re-keyed"),
    ],
)
def test_what_cannot_be_rekeyed_is_refused(changed, problem):
    assert problem in (problem_of(replace(GATHERED, **changed)) or "")
    assert problem_of(GATHERED) is None


def test_its_place_is_its_stream_and_that_of_any_other_its_kinds():
    assert GATHERED.places == ("rekeyed.gathering",)
    assert GATHERED.stream == Rekeyed("gathering", "person", "correlation_id", "projection")
    assert replace(GATHERED, rekeyed=False).places == ("person",)


def test_versions_have_one_key(monkeypatch):
    other = replace(GATHERED, version=2, key="data.name")
    found = [("gathering", (GATHERED, other), "here")]
    monkeypatch.setattr(registered, "_loaded", lambda kind: found if kind == registered.PROJECTIONS_GROUP else [])
    with pytest.raises(RegistrationError, match="are re-keyed by one key, or none is"):
        registered.projections.__wrapped__()


def test_streams_are_of_reactions_and_projections_and_no_two_have_one_name(monkeypatch):
    meeting = Reaction("meeting", 1, "person", frozenset({PersonRenamed}), Seen, react, key="data.name", rekeyed=True)
    monkeypatch.setattr(registered, "projections", lambda: {"gathering": (GATHERED,)})
    monkeypatch.setattr(registered, "reactions", lambda: {"meeting": meeting})
    assert streams() == {"meeting": meeting.stream, "gathering": GATHERED.stream}
    monkeypatch.setattr(registered, "reactions", lambda: {"gathering": replace(meeting, rekeyed=False)})
    with pytest.raises(RegistrationError, match="'gathering' is re-keyed, and a reaction has its name"):
        streams()
