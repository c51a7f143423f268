"""Whatever is changed in a copy of an event that was read changes neither that nor what is stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from annals.agents.aggregates import REGISTRY
from annals.agents.testing.strategies import events
from annals.schemas.canonical import encode
from annals.schemas.data.copies import own

if TYPE_CHECKING:
    from collections.abc import Iterator

    from annals.agents.deciding.decider import Decider


@pytest.mark.parametrize("decider", REGISTRY.values(), ids=REGISTRY)
@given(data=st.data())
def test_copies_of_events_of_every_kind_have_nothing_of_them(decider: Decider[Any], data: st.DataObject) -> None:
    event = data.draw(events(decider))
    stored, name, version = decider.event_data(event), decider.event_name(event), decider.schema_version(event)
    before = encode(stored)
    read = decider.read_event(name, version, stored)
    for each in list(containers_in(own(read))):
        each.clear()
    assert encode(stored) == before
    assert read == event


def containers_in(value: Any) -> Iterator[Any]:
    if isinstance(value, msgspec.Struct):
        for each in msgspec.structs.astuple(value):
            yield from containers_in(each)
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from containers_in(each)
        yield value
