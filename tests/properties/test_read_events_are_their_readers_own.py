"""Whatever is changed in an event that was read changes neither what is stored nor what others read of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from annals.agents.aggregates import REGISTRY
from annals.agents.testing.strategies import events
from annals.schemas.canonical import encode
from annals.schemas.data.copies import is_unchangeable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from annals.agents.deciding.decider import Decider


@pytest.mark.parametrize("decider", REGISTRY.values(), ids=REGISTRY)
@given(data=st.data())
def test_events_of_every_kind_are_their_readers_own(decider: Decider[Any], data: st.DataObject) -> None:
    event = data.draw(events(decider))
    stored, name, version = decider.event_data(event), decider.event_name(event), decider.schema_version(event)
    before = encode(stored)
    read = decider.read_event(name, version, stored)
    containers = list(containers_in(read))
    assert is_unchangeable(read) == (not containers)
    for each in containers:
        each.clear()
    assert encode(stored) == before
    assert decider.read_event(name, version, stored) == event


def containers_in(value: Any) -> Iterator[Any]:
    if isinstance(value, msgspec.Struct):
        for each in msgspec.structs.astuple(value):
            yield from containers_in(each)
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from containers_in(each)
        yield value
