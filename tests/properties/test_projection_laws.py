"""Laws of all projections: batches do not matter, every event is taken, and rows agree with the states."""

from typing import Any

import pytest
from beginnings import BEGINNINGS
from hypothesis import given, settings
from hypothesis import strategies as st

from annals.agents.aggregates import REGISTRY as DECIDERS
from annals.agents.projections import REGISTRY
from annals.agents.projections.projection import Projection
from annals.agents.testing.histories import histories
from annals.agents.testing.projections import GivenEvents, given_events
from annals.agents.testing.strategies import structs
from annals.schemas.values.refs import ref_text

SAME_COLUMNS = {
    "people_directory": ("name", "preferred_name", "primary_email", "phone", "status"),
    "documents": ("title", "owner", "status", "confidentiality", "tags", "access", "published_version"),
    "locations": ("name", "location_type", "status", "parent_id", "access_url", "capacity"),
    "organizations": ("name", "legal_name", "organization_type", "status", "parent_id", "headquarters_id"),
    "agent_workload": ("name", "owner_id", "status", "capacity"),
    "workflow_board": ("name", "definition", "status", "deadline"),
}
every_projection = pytest.mark.parametrize("projection", REGISTRY.values(), ids=list(REGISTRY))


def lived(data: st.DataObject, projection: Projection[Any]) -> tuple[GivenEvents, Any]:
    (kind,) = projection.wanted
    history = data.draw(histories(DECIDERS[kind], BEGINNINGS.get(kind, ())))
    return given_events(kind, "this-one", *history.events), history.state


@every_projection
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_any_cut_of_batches_gives_the_same_bytes(projection: Projection[Any], data: st.DataObject) -> None:
    events, _ = lived(data, projection)
    cuts = data.draw(st.lists(st.integers(0, max(1, len(events.counted)))))
    assert events.bytes_of(projection, cuts) == events.bytes_of(projection)


@every_projection
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_every_wanted_event_is_taken_in_any_order(projection: Projection[Any], data: st.DataObject) -> None:
    ((kind, wanted),) = projection.wanted.items()
    types = sorted(wanted, key=lambda message: message.__name__)
    creation = next((t for t in types if t.__name__.endswith(("Registered", "Defined", "Drafted"))), types[0])
    messages = data.draw(st.lists(st.sampled_from([creation, *types]).flatmap(structs), max_size=12))
    given_events(kind, "any", *messages).project(projection)


@every_projection
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_rows_of_an_aggregate_do_not_depend_on_others(projection: Projection[Any], data: st.DataObject) -> None:
    (kind,) = projection.wanted
    strategy = histories(DECIDERS[kind], BEGINNINGS.get(kind, ()))
    one, other = data.draw(strategy).events, data.draw(strategy).events
    both = given_events(kind, "one", *one).and_events(kind, "other", *other)
    alone = given_events(kind, "one", *one).project(projection).rows()
    beside = both.project(projection).rows()
    assert {key: row for key, row in beside.items() if row.aggregate_id == "one"} == alone


@every_projection
@given(data=st.data())
@settings(max_examples=20, deadline=None)
def test_listed_rows_are_found_by_the_parameters_and_by_nothing_else(
    projection: Projection[Any], data: st.DataObject
) -> None:
    events, _ = lived(data, projection)
    for row in events.project(projection).rows().values():
        assert tuple(projection.indexes(row))[: len(projection.parameters)] == projection.parameters


@pytest.mark.parametrize("name", SAME_COLUMNS)
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_columns_agree_with_the_state_that_the_aggregate_has(name: str, data: st.DataObject) -> None:
    events, state = lived(data, REGISTRY[name])
    for row in events.project(REGISTRY[name]).rows().values():
        for column in SAME_COLUMNS[name]:
            kept = getattr(state, column)
            assert plain(getattr(row, column)) == plain(kept), column


def plain(value: Any) -> Any:
    if hasattr(value, "kind"):
        return ref_text(value)
    return sorted(value) if isinstance(value, list | tuple | set | frozenset) else value


@pytest.mark.parametrize("text", ["", "a", "a\0b", "\0", "a\0"])
def test_keys_are_read_as_they_were_written(text: str) -> None:
    from annals.agents.reading.projecting.rows import key_of, texts_of

    assert texts_of(key_of("P", text, "z")) == ("P", text, "z")
    assert not key_of("a\0", "b").startswith(key_of("a"))
