"""The published schemas: their files are what the code says, they are found by URN, and the command line shows them."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import pytest
from click.testing import CliRunner
from jsonschema import Draft202012Validator

from annals.agents.aggregates import REGISTRY
from annals.agents.deciding.decider import Decider
from annals.agents.testing import given
from annals.schemas.data.upcast import Upcast
from annals.schemas.kinds.person import RegisterPerson
from annals.schemas.messages import Message
from annals.schemas.values.fields import Text
from annals.topics.headers import type_headers
from annals.workers.cli.failures import CannotAskError
from annals.workers.cli.schemas import schemas
from annals.workers.schema_publisher.published import files, find, newest, published
from full_disk import full_beyond

if TYPE_CHECKING:
    from click.testing import Result

COMMITTED = Path(__file__).parents[3] / "schemas/json"
ALL = {schema.urn: schema for schema in published()}
ADVICE = "run `make docs`"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(schemas, arguments, standalone_mode=False)


def test_the_committed_files_are_what_the_code_says() -> None:
    wanted = dict(files())
    found = {path.relative_to(COMMITTED).as_posix(): path.read_text() for path in COMMITTED.rglob("*.json")}
    differ = sorted(path for path in wanted if found.get(path) != wanted[path])
    assert not differ, f"{differ[:5]} are not what the code says: {ADVICE}"
    assert not found.keys() - wanted.keys(), "nothing makes these: see `annals schemas check`"


def test_the_files_are_part_of_the_package() -> None:
    assert resources.files("annals.schemas").joinpath("json/person/RegisterPerson.1.json").is_file()


@pytest.mark.parametrize("kind", [*REGISTRY, "wire"])
def test_every_schema_is_json_schema_2020_12_and_says_its_own_name(kind: str) -> None:
    of_kind = [schema for schema in ALL.values() if schema.kind == kind]
    assert of_kind
    for schema in of_kind:
        assert schema.schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
        assert schema.schema["$id"] == schema.urn == f"urn:annals:schema:{kind}:{schema.name}:{schema.version}"
        Draft202012Validator.check_schema(schema.schema)


def test_every_command_and_event_of_every_kind_has_a_schema() -> None:
    assert len(ALL) == len(list(published()))
    for kind, decider in REGISTRY.items():
        for name in decider.commands:
            assert ALL[f"urn:annals:schema:{kind}:{name}:1"].role == "command"
        for name, spec in decider.events.items():
            for version in range(1, spec.schema_version + 1):
                assert ALL[f"urn:annals:schema:{kind}:{name}:{version}"].role == "event"


def test_the_header_ce_dataschema_of_every_event_names_a_schema() -> None:
    for kind, decider in REGISTRY.items():
        for name, spec in decider.events.items():
            headers = dict(type_headers(kind, name, spec.schema_version))
            assert find(headers["ce_dataschema"].decode()) is not None


def test_unknown_members_and_missing_ones_are_refused_by_a_schema() -> None:
    checks = Draft202012Validator(ALL["urn:annals:schema:person:RegisterPerson:1"].schema)
    assert checks.is_valid({"name": "Ada"})
    for wrong in ({}, {"name": "Ada", "nick": "x"}, {"name": " Ada"}, {"name": "Ada", "time_zone": "Mars/Olympus"}):
        assert not checks.is_valid(wrong)


def test_sets_lists_and_maps_have_their_limits_in_a_schema() -> None:
    document = Draft202012Validator(ALL["urn:annals:schema:document:CreateDocument:1"].schema["properties"]["tags"])
    assert document.is_valid(["a", "b"])
    assert not document.is_valid(["a", "a"])
    assert not document.is_valid([f"t{n}" for n in range(51)])
    steps = Draft202012Validator(ALL["urn:annals:schema:workflow:DefineWorkflow:1"].schema)
    whole: dict[str, Any] = {"name": "W", "definition": "d", "owner": {"kind": "person", "id": "p"}}
    assert steps.is_valid(whole | {"steps": {"a": {"name": "A", "step_type": "manual"}}})
    assert not steps.is_valid(whole | {"steps": {"A": {"name": "A", "step_type": "manual"}}})
    assert not steps.is_valid(whole | {"steps": {f"s{n}": {"name": "A", "step_type": "manual"} for n in range(101)}})


def test_a_personal_member_is_marked_in_its_schema() -> None:
    members = ALL["urn:annals:schema:person:PersonRegistered:1"].schema["properties"]
    assert [name for name, member in members.items() if member.get("x-personal")] == [
        *("name", "preferred_name", "birth_date", "email", "phone")
    ]


def test_an_event_has_what_a_command_may_leave_to_the_default() -> None:
    command = ALL["urn:annals:schema:agent:DeployAgent:1"].schema
    event = ALL["urn:annals:schema:agent:AgentDeployed:1"].schema
    assert command["properties"]["capacity"]["default"] == 1
    assert "capacity" not in command["required"]
    assert "capacity" in event["required"]


class PersonRegistered1(Message):
    """Somebody became known."""

    full_name: Text


def test_an_older_version_of_an_event_has_a_schema_of_its_own() -> None:
    person = REGISTRY["person"]
    registered = person.events["PersonRegistered"].type
    upcast = Upcast(PersonRegistered1, lambda data: {"name": data["full_name"]})
    older = {"person": _with_upcasters(person, {registered: (upcast,)})}
    first, second = (find(f"urn:annals:schema:person:PersonRegistered:{version}", older) for version in (1, 2))
    assert first is not None
    assert (first.path, first.schema["title"]) == ("person/PersonRegistered.1.json", "PersonRegistered")
    assert list(first.schema["properties"]) == ["full_name"]
    assert second is not None
    assert second == newest("person", "PersonRegistered", older)
    assert "name" in second.schema["properties"]
    assert first in list(published(older))


def _with_upcasters(person: Decider[Any], upcasters: Any) -> Decider[Any]:
    return Decider(
        "person",
        person.machine,
        person.initial,
        1,
        already_true=lambda command, state: False,
        decide=lambda command, state, at: [],
        evolve=person.evolve,
        upcasters=upcasters,
    )


def test_what_a_decider_writes_fits_the_schema_that_its_header_names() -> None:
    answer = given().when(RegisterPerson(name="Ada", languages=["en"]))
    assert answer.events is not None
    person = REGISTRY["person"]
    schema = ALL["urn:annals:schema:person:PersonRegistered:1"].schema
    Draft202012Validator(schema).validate(person.event_data(answer.events[0]))


def test_list_names_every_schema_and_its_role() -> None:
    result = run("list")
    assert result.return_value == 0
    lines = result.output.splitlines()
    assert len(lines) == len(ALL)
    assert "event    urn:annals:schema:person:PersonRegistered:1" in lines


def test_list_as_json_says_what_each_one_is() -> None:
    result = run("list", "--kind", "location", "--json")
    first = json.loads(result.output.splitlines()[0])
    assert first == {
        "urn": "urn:annals:schema:location:DefineLocation:1",
        "kind": "location",
        "role": "command",
        "type": "DefineLocation",
        "version": 1,
        "title": "A place becomes known.",
    }
    assert all(json.loads(line)["kind"] == "location" for line in result.output.splitlines())


def test_list_of_a_kind_that_there_is_not_says_so() -> None:
    """As everywhere else it is wrong usage, exit status 2."""
    result = run("list", "--kind", "planet")
    assert (result.stdout, type(result.exception)) == ("", click.BadParameter)
    said = str(result.exception)
    assert said.startswith("there is no kind 'planet': there are ")
    assert "person, organization" in said


@pytest.mark.parametrize(
    "arguments",
    [
        ("urn:annals:schema:person:AddEmail:1",),
        ("person", "AddEmail"),
        ("person", "AddEmail", "1"),
    ],
)
def test_show_prints_a_schema_by_urn_or_by_kind_and_type(arguments: tuple[str, ...]) -> None:
    result = run("show", *arguments)
    assert result.return_value == 0
    assert json.loads(result.output) == ALL["urn:annals:schema:person:AddEmail:1"].schema


def test_show_prints_what_is_around_the_data() -> None:
    assert json.loads(run("show", "wire", "Outcome").output)["title"] == "Outcome"


@pytest.mark.parametrize("arguments", [("urn:annals:schema:person:AddEmail:2",), ("person", "AddEmail", "2")])
def test_show_says_where_to_look_when_there_is_no_such_schema(arguments: tuple[str, ...]) -> None:
    result = run("show", *arguments)
    assert (result.return_value, result.stdout) == (1, "")
    assert "annals schemas list" in result.stderr


@pytest.mark.parametrize("arguments", [("person",), ("urn:annals:schema:person:AddEmail:1", "AddEmail")])
def test_show_of_half_a_name_is_bad_usage(arguments: tuple[str, ...]) -> None:
    with pytest.raises(Exception, match="by its URN, or by kind and type"):
        CliRunner().invoke(schemas, ["show", *arguments], standalone_mode=False, catch_exceptions=False)


def test_export_writes_every_file_and_leaves_others(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    result = run("export", str(tmp_path), "--json")
    wanted = dict(files())
    assert json.loads(result.output) == {"folder": str(tmp_path), "files": len(wanted)}
    assert {path.relative_to(tmp_path).as_posix(): path.read_text() for path in tmp_path.rglob("*.json")} == wanted
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_export_into_what_is_no_folder_says_so(tmp_path: Path) -> None:
    (tmp_path / "wire").write_text("a file")
    with pytest.raises(CannotAskError, match="wire cannot be written"):
        CliRunner().invoke(schemas, ["export", str(tmp_path)], standalone_mode=False, catch_exceptions=False)


def test_an_export_for_which_there_is_no_room_names_the_file(tmp_path: Path) -> None:
    with full_beyond(1_000), pytest.raises(CannotAskError, match=r"\.json cannot be written \(File too large\)"):
        CliRunner().invoke(schemas, ["export", str(tmp_path)], standalone_mode=False, catch_exceptions=False)
