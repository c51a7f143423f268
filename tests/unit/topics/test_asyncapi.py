"""The AsyncAPI document: valid by the specification's own schema, complete, and every reference leads somewhere."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft7Validator, Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from annals.agents.aggregates import REGISTRY
from annals.agents.message_schemas import message_schemas
from annals.topics.asyncapi import INTERNAL, asyncapi
from annals.topics.catalog import catalogue
from annals.topics.headers import event_headers

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parents[1]
COMMITTED = HERE.parents[1] / "schemas/json"
DOCUMENT: dict[str, Any] = json.loads((COMMITTED / "asyncapi.json").read_text())
SPECIFICATION = Draft7Validator(json.loads((HERE.parent / "schemas/asyncapi-3.0.0.json").read_text()))


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from (value["$ref"] for _ in [0] if isinstance(value.get("$ref"), str))
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from references(item)


def at(pointer: str) -> Any:
    found: Any = DOCUMENT
    for step in pointer.removeprefix("#/").split("/"):
        found = found[step]
    return found


def payload_validator(message: str) -> Draft202012Validator:
    """A validator of a message's payload, as a tool makes it: references are relative to the document."""

    def retrieve(uri: str) -> Resource[Any]:
        return DRAFT202012.create_resource(json.loads((COMMITTED / uri).read_text()))

    schema = DOCUMENT["components"]["messages"][message]["payload"]["schema"]
    # its stub does not say the name by which attrs takes it
    return Draft202012Validator(schema, registry=Registry(retrieve=retrieve))  # type: ignore[call-arg]


def test_the_document_is_valid_by_the_schema_of_the_specification() -> None:
    errors = [f"{list(error.absolute_path)}: {error.message}" for error in SPECIFICATION.iter_errors(DOCUMENT)]
    assert errors == []


@pytest.mark.parametrize(
    ("place", "wrong"),
    [
        ("asyncapi", "2.6.0"),
        ("channels/events.person/bindings/kafka/bindingVersion", "9"),
        ("channels/events.person/bindings/kafka/topicConfiguration/retention.ms", "-1"),
        ("channels/events.person/bindings/kafka/partitions", 0),
        ("operations/receive.commands.person/action", "listen"),
        ("components/messages/person.RegisterPerson/contentType", 1),
    ],
)
def test_a_document_with_a_mistake_is_not_valid(place: str, wrong: Any) -> None:
    document = deepcopy(DOCUMENT)
    *way, last = place.split("/")
    inside = document
    for step in way:
        inside = inside[step]
    assert last in inside
    inside[last] = wrong
    assert not SPECIFICATION.is_valid(document)


def test_every_topic_of_the_catalogue_is_a_channel_with_its_settings() -> None:
    channels = DOCUMENT["channels"]
    described = [spec for spec in catalogue(kinds=tuple(REGISTRY)) if spec.role not in INTERNAL]
    for spec in described:
        (channel,) = [each for each in channels.values() if each["address"] == spec.name]
        binding = channel["bindings"]["kafka"]
        assert (binding["topic"], binding["partitions"], binding["replicas"]) == (
            spec.name,
            spec.partitions,
            1,
        )
        found = {
            name: ",".join(value) if isinstance(value, list) else str(value)
            for name, value in binding["topicConfiguration"].items()
        }
        assert found == spec.config
    assert len(channels) == len(described) + 1
    assert channels["subscribers"]["address"] == "subscribers.{name}"
    assert list(channels["subscribers"]["parameters"]) == ["name"]


def test_every_reference_inside_the_document_leads_somewhere() -> None:
    inner = [reference for reference in references(DOCUMENT) if reference.startswith("#/")]
    assert inner
    for reference in inner:
        assert at(reference), reference


def test_every_reference_out_of_the_document_is_a_file_beside_it() -> None:
    outer = {reference for reference in references(DOCUMENT) if not reference.startswith("#/")}
    assert {"wire/Command.1.json", "person/RegisterPerson.1.json", "person/PersonRegistered.1.json"} <= outer
    for reference in outer:
        assert (COMMITTED / reference).is_file(), reference


def test_every_command_and_event_is_a_message_of_its_topic() -> None:
    for kind, decider in REGISTRY.items():
        commands = DOCUMENT["channels"][f"commands.{kind}"]["messages"]
        assert set(commands) == {f"{kind}.{name}" for name in decider.commands}
        events = DOCUMENT["channels"][f"events.{kind}"]["messages"]
        assert set(events) >= {f"{kind}.{name}.v{spec.schema_version}" for name, spec in decider.events.items()}
        reply = DOCUMENT["operations"][f"receive.commands.{kind}"]["reply"]
        assert reply == {"channel": {"$ref": f"#/channels/outcomes.{kind}"}}


def test_a_command_fits_the_payload_of_its_message_only() -> None:
    command = {"id": "c-1", "type": "RegisterPerson", "aggregate_id": "p-1", "data": {"name": "Ada"}}
    assert payload_validator("person.RegisterPerson").is_valid(command)
    assert not payload_validator("person.RenamePerson").is_valid(command)
    for wrong in ({"data": {"name": ""}}, {"id": ""}, {"expected_version": -1}, {"more": 1}):
        assert not payload_validator("person.RegisterPerson").is_valid(command | wrong)


def test_an_events_headers_are_those_that_are_written() -> None:
    message = DOCUMENT["components"]["messages"]["person.PersonRegistered.v1"]
    written = event_headers(
        kind="person",
        key=b"p-1",
        version=1,
        type_name="PersonRegistered",
        schema_version=1,
        recorded_at="2026-01-01T00:00:00.000000Z",
        cid="bafyr4i",
        command_id="c-1",
        correlation_id="c-1",
        causation_id="x",
        actor="y",
        traceparent=b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        tracestate=b"a=b",
        via=b"hr",
    )
    headers = {name: value.decode() for name, value in written}
    shared, own = message["headers"]["allOf"]
    schema = at(shared["$ref"])
    assert set(schema["properties"]) == set(headers)
    Draft7Validator({"allOf": [schema, own]}).validate(headers)
    assert not Draft7Validator(own).is_valid(headers | {"ce_source": "/annals/agent"})


def test_the_prefix_of_topics_is_in_every_address() -> None:
    document = asyncapi(catalogue("lab.", subscribers=("name",)), message_schemas(), "1")
    assert all(channel["address"].startswith("lab.") for channel in document["channels"].values())
    assert document["channels"]["subscribers"]["address"] == "lab.subscribers.{name}"
