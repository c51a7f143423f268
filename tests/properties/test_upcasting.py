"""Upcasting is total: whatever an older version could say is read, and is valid in the newest one."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from annals.agents.aggregates import REGISTRY
from annals.agents.testing import laws
from annals.agents.testing.strategies import structs
from annals.schemas.data.upcast import Upcast
from annals.schemas.former.agent import ModelConfigured1, split_model
from annals.schemas.former.location import LocationDefined1

if TYPE_CHECKING:
    from annals.agents.deciding.decider import Decider
    from annals.schemas.messages import Message

OLDER = [
    (decider, name, version, upcaster.older)
    for decider in REGISTRY.values()
    for name, spec in decider.events.items()
    for version, upcaster in enumerate(spec.upcasters, 1)
]
NAMES = [f"{name}.{version}" for _, name, version, _ in OLDER]


def test_three_events_or_more_have_an_older_version() -> None:
    assert {"ModelConfigured.1", "LocationDefined.1", "MemberAdded.1"} <= set(NAMES)


@pytest.mark.parametrize(("decider", "name", "version", "older"), OLDER, ids=NAMES)
@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_whatever_an_older_version_says_is_read_as_the_newest(
    decider: Decider[Any], name: str, version: int, older: type[Message], data: st.DataObject
) -> None:
    laws.upcasting_is_total(decider, name, version, data.draw(structs(older)))


def test_the_law_names_data_that_an_upcaster_loses() -> None:
    agent = REGISTRY["agent"]
    spec = agent.events["ModelConfigured"]
    whole = spec.upcasters
    older = ModelConfigured1(model="anthropic/claude")
    for broken, why in (
        (lambda data: {"model": data["model"]}, "is not read: .*provider"),
        (lambda data: {**split_model(data), "provider": "No Slug"}, "not valid"),
        (lambda data: [data.pop("model")] and {"provider": "a", "model": "b"}, "changed what is stored"),
    ):
        object.__setattr__(spec, "upcasters", (Upcast(ModelConfigured1, broken),))
        try:
            with pytest.raises(AssertionError, match=re.compile(why)):
                laws.upcasting_is_total(agent, "ModelConfigured", 1, older)
        finally:
            object.__setattr__(spec, "upcasters", whole)
    laws.upcasting_is_total(agent, "ModelConfigured", 1, older)


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(structs(LocationDefined1))
def test_a_derived_location_type_is_one_that_the_place_rules_allow(older: LocationDefined1) -> None:
    import msgspec

    from annals.agents.aggregates.location import _refuse_misplaced

    event: Any = REGISTRY["location"].read_event("LocationDefined", 1, msgspec.to_builtins(older))
    _refuse_misplaced(event.location_type, event.address, event.coordinates, event.access_url)
