"""Events that had another form once: which they are, what becomes of them, and that the new form is written."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

import msgspec
import pytest

from annals.agents.aggregates import REGISTRY
from annals.agents.deciding.refusals import UnknownEventError
from annals.agents.testing import given
from annals.schemas.json_schemas.json_schema import Schema, message_schema
from annals.schemas.kinds import agent, location, organization

ADDRESS = {"locality": "London", "country": "GB"}
POSITION = {"latitude": 51.5, "longitude": 0}
URL = "https://example.org/room"

FORMS: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = [
    (
        "agent",
        "ModelConfigured",
        {"model": "anthropic/claude/4", "top_p": 1},
        {"provider": "anthropic", "model": "claude/4", "top_p": 1},
    ),
    (
        "organization",
        "MemberAdded",
        {"person_id": "p-1", "role_id": "lead", "joined_on": "2025-12-31"},
        {"person_id": "p-1", "role_id": "lead", "since": "2025-12-31"},
    ),
    ("location", "LocationDefined", {"name": "Lab"}, {"name": "Lab", "location_type": "logical"}),
    *(
        ("location", "LocationDefined", {"name": "Lab", **place}, {"name": "Lab", **place, "location_type": found})
        for place, found in (
            ({"address": ADDRESS}, "physical"),
            ({"coordinates": POSITION}, "physical"),
            ({"access_url": URL}, "virtual"),
            ({"access_url": URL, "coordinates": POSITION}, "hybrid"),
        )
    ),
]


@pytest.mark.parametrize(("kind", "name", "stored", "newest"), FORMS)
def test_version_1_is_read_as_version_2(kind: str, name: str, stored: dict[str, Any], newest: dict[str, Any]) -> None:
    decider = REGISTRY[kind]
    assert decider.events[name].schema_version >= 2
    event = decider.read_event(name, 1, stored)
    assert decider.event_data(event) == newest
    assert decider.read_event(name, 2, newest) == event


@pytest.mark.parametrize(("kind", "name", "stored", "newest"), FORMS[:3])
def test_data_of_one_version_under_the_number_of_the_other_are_not_guessed(
    kind: str, name: str, stored: dict[str, Any], newest: dict[str, Any]
) -> None:
    for version, data in ((1, newest), (2, stored)):
        with pytest.raises(UnknownEventError, match="its data do not fit"):
            REGISTRY[kind].read_event(name, version, data)


def test_the_newest_version_is_what_is_written() -> None:
    configured = given(
        agent.AgentDeployed(name="a", agent_type="analyst", owner_id="p-1"),
    ).when(agent.ConfigureModel(provider="anthropic", model="claude"))
    defined = given().when(location.DefineLocation(name="Lab", location_type="logical"))
    added = given(
        organization.OrganizationRegistered(name="Lab", organization_type="other"),
        organization.OrganizationActivated(),
        organization.RoleDefined(role_id="lead", title="Lead"),
    ).when(organization.AddMember(person_id="p-1", role_id="lead", since="2025-12-31"))
    for kind, answer in (("agent", configured), ("location", defined), ("organization", added)):
        assert answer.events is not None
        newest = REGISTRY[kind].schema_version(answer.events[0])
        assert newest == REGISTRY[kind].events[type(answer.events[0]).__name__].schema_version >= 2


def in_order(schema: Schema) -> Schema:
    return {**schema, "required": sorted(schema.get("required", ()))}


def test_the_type_of_an_older_version_is_what_its_published_schema_says() -> None:
    folder = resources.files("annals.schemas").joinpath("json")
    for kind, decider in REGISTRY.items():
        for name, spec in decider.events.items():
            for version, upcaster in enumerate(spec.upcasters, 1):
                older: Any = upcaster.older
                made = message_schema(kind, "event", older, version).schema
                said = json.loads(json.dumps(made).replace(older.__name__, name))
                kept = json.loads(folder.joinpath(f"{kind}/{name}.{version}.json").read_text(encoding="utf-8"))
                assert in_order(kept) == in_order(said), f"{older.__name__}: published versions never change"


def test_an_older_type_is_named_by_its_version_and_is_nobodys_event() -> None:
    for decider in REGISTRY.values():
        for name, spec in decider.events.items():
            for version, upcaster in enumerate(spec.upcasters, 1):
                assert issubclass(upcaster.older, msgspec.Struct)
                assert upcaster.older.__name__ == f"{name}{version}"
                assert upcaster.older.__name__ not in decider.events
