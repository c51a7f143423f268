"""What differs from what was published is found, and whom it breaks is said; each kind of break is caught."""

from __future__ import annotations

import copy
import json
import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from click import UsageError
from click.testing import CliRunner

from annals.agents.aggregates import REGISTRY
from annals.agents.deciding.decider import Decider
from annals.schemas.data.upcast import Upcast
from annals.schemas.json_schemas.compatibility import differences
from annals.schemas.json_schemas.json_schema import message_schema
from annals.workers.cli.schemas import schemas
from annals.workers.schema_publisher.compatibility import (
    NEW_READERS,
    OLD_READERS,
    OLD_SENDERS,
    SNAPSHOTS,
    STORED,
    Baseline,
    Finding,
    compare,
    read_baseline,
)
from annals.workers.schema_publisher.published import FOLDER, files

if TYPE_CHECKING:
    from pathlib import Path

PUBLISHED = read_baseline(FOLDER)
REGISTERED = "urn:annals:schema:person:PersonRegistered:1"
REGISTER = "urn:annals:schema:person:RegisterPerson:1"
SHARED = "urn:annals:schema:document:DocumentShared:1"


def changed(urn: str, change: Any) -> Baseline:
    """What was published, had it been other than it is: the code is then what differs."""
    whole = copy.deepcopy(dict(PUBLISHED.schemas))
    change(whole[urn])
    return PUBLISHED._replace(schemas=whole)


def only(before: Baseline, **how: Any) -> Finding:
    (finding,) = compare(before, **how)
    return finding


def test_the_code_is_what_was_published() -> None:
    assert list(compare(PUBLISHED)) == []


def test_an_event_type_that_was_removed_breaks_stored_events() -> None:
    fewer = {kind: decider for kind, decider in REGISTRY.items() if kind != "policy"}
    gone = {finding.name: finding.breaks for finding in compare(PUBLISHED, fewer)}
    assert "urn:annals:schema:policy:PolicyDrafted:1" in gone
    assert gone["urn:annals:schema:policy:PolicyDrafted:1"] == (STORED, NEW_READERS)


def test_a_command_that_was_removed_breaks_those_who_send_it() -> None:
    fewer = {kind: decider for kind, decider in REGISTRY.items() if kind != "policy"}
    gone = {finding.name: finding.breaks for finding in compare(PUBLISHED, fewer)}
    assert gone["urn:annals:schema:policy:DraftPolicy:1"] == (OLD_SENDERS,)
    assert {name: gone[name] for name in gone.keys() & PUBLISHED.commands} == dict.fromkeys(
        (f"urn:annals:schema:policy:{name}:1" for name in REGISTRY["policy"].commands), (OLD_SENDERS,)
    )


def test_a_version_that_nothing_reads_any_more_breaks_stored_events() -> None:
    older = dict(PUBLISHED.schemas) | {REGISTERED.replace(":1", ":7"): PUBLISHED.schemas[REGISTERED]}
    finding = only(PUBLISHED._replace(schemas=older))
    assert (finding.name, finding.what[:7]) == (REGISTERED.replace(":1", ":7"), "removed")
    assert STORED in finding.breaks


def test_a_type_that_changed_breaks_stored_events_and_readers() -> None:
    def was_a_number(schema: Any) -> None:
        schema["properties"]["time_zone"] = {"type": "integer"}

    found = list(compare(changed(REGISTERED, was_a_number)))
    assert {finding.path for finding in found} == {"data.time_zone"}
    assert found[0].what == "enum none → ['Africa/Abidjan', 'Africa/Accra', 'Afri…"
    (kind,) = (finding for finding in found if finding.what.startswith("type"))
    assert kind.what == "type without integer and with string"
    assert set(kind.breaks) == {STORED, NEW_READERS, OLD_READERS}


def test_a_required_member_without_an_upcaster_breaks_stored_events() -> None:
    def had_no_name(schema: Any) -> None:
        del schema["properties"]["name"]
        schema["required"].remove("name")

    finding = only(changed(REGISTERED, had_no_name))
    assert finding[:3] == (REGISTERED, "data.name", "required member added")
    assert STORED in finding.breaks


def test_a_member_that_became_required_breaks_stored_events() -> None:
    finding = only(changed(REGISTERED, lambda schema: schema["required"].remove("name")))
    assert finding[1:] == ("data.name", "became required", (STORED, NEW_READERS))


def test_an_optional_member_in_the_same_version_breaks_old_readers_only() -> None:
    finding = only(changed(REGISTERED, lambda schema: schema["properties"].pop("phone")))
    assert finding[1:] == ("data.phone", "optional member added", (OLD_READERS,))


def test_a_member_that_was_removed_breaks_stored_events_that_have_it() -> None:
    finding = only(changed(REGISTERED, lambda schema: schema["properties"].update(fax={"type": "string"})))
    assert finding[1:] == ("data.fax", "member removed", (STORED, NEW_READERS))


@pytest.mark.parametrize(
    ("word", "was", "breaks"),
    [
        ("maxLength", 300, (STORED, NEW_READERS)),
        ("maxLength", None, (STORED, NEW_READERS)),
        ("maxLength", 100, (OLD_READERS,)),
        ("minLength", 0, (STORED, NEW_READERS)),
        ("minLength", 2, (OLD_READERS,)),
        ("pattern", "^x$", (STORED, NEW_READERS, OLD_READERS)),
    ],
)
def test_a_narrower_rule_breaks_stored_data_and_a_wider_one_old_readers(word: str, was: Any, breaks: Any) -> None:
    def was_other(schema: Any) -> None:
        schema["properties"]["name"].pop(word)
        if was is not None:
            schema["properties"]["name"][word] = was

    assert only(changed(REGISTERED, was_other)).breaks == breaks


@pytest.mark.parametrize(
    ("codes", "breaks"),
    [
        (["read", "comment", "write", "admin", "own"], (STORED, NEW_READERS)),
        (["read", "comment", "write"], (OLD_READERS,)),
    ],
)
def test_a_code_that_is_gone_breaks_stored_data_and_a_new_one_old_readers(codes: Any, breaks: Any) -> None:
    def had(schema: Any) -> None:
        for arm in schema["properties"]["access"]["anyOf"]:
            if "enum" in arm:
                arm["enum"] = codes

    assert only(changed(SHARED, had)).breaks == breaks


def test_an_alternative_that_is_gone_breaks_stored_data() -> None:
    def had_numbers(schema: Any) -> None:
        schema["properties"]["access"]["anyOf"].append({"type": "integer"})

    assert only(changed(SHARED, had_numbers))[2:] == ("an alternative is gone", (STORED, NEW_READERS))


PROFILE = "urn:annals:schema:person:UpdateProfile:1"
PROFILED = "urn:annals:schema:person:ProfileUpdated:1"


@pytest.mark.parametrize(("urn", "breaks"), [(PROFILE, ()), (PROFILED, (OLD_READERS,))])
def test_a_member_that_null_may_clear_from_now_on_breaks_at_most_old_readers(urn: str, breaks: Any) -> None:
    def had_no_null(schema: Any) -> None:
        member = schema["properties"]["preferred_name"]
        arms = member.pop("anyOf")
        member |= next(arm for arm in arms if arm != {"type": "null"})

    assert only(changed(urn, had_no_null))[1:] == ("data.preferred_name", "an alternative was added", breaks)


@pytest.mark.parametrize(("urn", "breaks"), [(REGISTER, (OLD_SENDERS,)), (REGISTERED, (STORED, NEW_READERS))])
def test_a_member_that_takes_null_no_longer_breaks_those_who_sent_or_stored_it(urn: str, breaks: Any) -> None:
    def had_null(schema: Any) -> None:
        schema["properties"]["phone"] = {"anyOf": [schema["properties"]["phone"], {"type": "null"}]}

    assert only(changed(urn, had_null))[1:] == ("data.phone", "an alternative is gone", breaks)


def test_a_part_that_null_may_clear_from_now_on_is_compared_with_what_it_was() -> None:
    placed = "urn:annals:schema:location:PlaceSet:1"

    def had_no_null_and_needed_less(schema: Any) -> None:
        (arm,) = (arm for arm in schema["properties"]["address"]["anyOf"] if "$ref" in arm)
        schema["properties"]["address"] = arm
        schema["$defs"]["PostalAddress"]["required"].remove("country")

    found = [finding[1:] for finding in compare(changed(placed, had_no_null_and_needed_less))]
    assert found == [
        ("data.address.country", "became required", (STORED, NEW_READERS)),
        ("data.address", "an alternative was added", (OLD_READERS,)),
    ]


def test_a_part_behind_a_reference_is_compared_with_what_it_was() -> None:
    def needed_less(schema: Any) -> None:
        schema["$defs"]["OwnerRef"]["required"].remove("id")

    created = "urn:annals:schema:document:DocumentCreated:1"
    assert "data.owner.id" in {finding.path for finding in compare(changed(created, needed_less))}


def test_a_narrower_command_breaks_those_who_send_it_and_a_wider_one_nobody() -> None:
    narrower = only(changed(REGISTER, lambda schema: schema["properties"]["name"].update(maxLength=300)))
    assert narrower.breaks == (OLD_SENDERS,)
    assert only(changed(REGISTER, lambda schema: schema["properties"].pop("phone"))).breaks == ()


def test_a_new_version_breaks_nobody() -> None:
    before = {urn: schema for urn, schema in PUBLISHED.schemas.items() if not urn.endswith("ModelConfigured:2")}
    finding = only(PUBLISHED._replace(schemas=before))
    assert (finding.what[:11], finding.breaks) == ("new version", ())


def test_a_new_event_breaks_nobody() -> None:
    before = {urn: schema for urn, schema in PUBLISHED.schemas.items() if urn != SHARED}
    assert only(PUBLISHED._replace(schemas=before))[2:] == (
        "new event: releases before this one do not know it",
        (),
    )


def test_a_state_that_changed_under_the_same_version_breaks_snapshots() -> None:
    states = copy.deepcopy(dict(PUBLISHED.states))
    states["person"]["layout"]["Person"].append("shoe_size: int")
    finding = only(PUBLISHED._replace(states=states))
    assert finding[:2] == ("state of person", "Person")
    assert finding.breaks == (SNAPSHOTS,)
    states["person"]["state_version"] = 0
    assert only(PUBLISHED._replace(states=states)).breaks == ()


def test_what_is_around_the_data_is_compared_too() -> None:
    outcome = "urn:annals:schema:wire:Outcome:1"
    finding = only(changed(outcome, lambda schema: schema["required"].remove("head")))
    assert (finding.name, STORED in finding.breaks) == (outcome, True)


def test_titles_and_descriptions_are_no_rules() -> None:
    schema = dict(PUBLISHED.schemas[REGISTERED])
    assert differences(schema, schema | {"title": "x", "description": "y"}) == []


def test_free_json_that_refers_to_itself_is_compared_to_an_end() -> None:
    schema = copy.deepcopy(PUBLISHED.schemas["urn:annals:schema:agent:TaskAssigned:1"])
    schema["$defs"]["FreeJson"]["anyOf"].remove({"type": "null"})
    found = differences(PUBLISHED.schemas["urn:annals:schema:agent:TaskAssigned:1"], schema)
    assert {difference.what for difference in found} == {"an alternative is gone"}


def test_an_upcaster_makes_room_for_a_required_member() -> None:
    person = REGISTRY["person"]
    registered = person.events["PersonRegistered"].type
    later = Decider(
        "person",
        person.machine,
        person.initial,
        1,
        lambda c, s: False,
        lambda c, s, a: [],
        person.evolve,
        upcasters={registered: (Upcast(registered, lambda data: data),)},
    )
    before = {urn: schema for urn, schema in PUBLISHED.schemas.items() if urn != REGISTERED}
    found = list(compare(PUBLISHED._replace(schemas=before), {**REGISTRY, "person": later}))
    assert [(each.name, each.breaks) for each in found] == [
        (REGISTERED, ()),
        (REGISTERED.replace(":1", ":2"), ()),
    ]
    assert message_schema("person", "event", registered, 2).urn == found[1].name


def write(folder: Path, change: Any = None) -> Path:
    for path, text in files():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    if change:
        target = folder / "person/PersonRegistered.1.json"
        schema = json.loads(target.read_text())
        change(schema)
        target.write_text(json.dumps(schema))
    return folder


def run(*arguments: Any, **how: Any) -> Any:
    return CliRunner().invoke(schemas, ["check", *map(str, arguments)], standalone_mode=False, **how)


def test_check_says_that_nothing_differs() -> None:
    result = run()
    assert (result.return_value, result.stdout) == (0, "0 differences, 0 of them break full compatibility\n")


def test_check_says_each_difference_and_what_to_do_and_exits_1_on_a_break(tmp_path: Path) -> None:
    folder = write(tmp_path, lambda schema: schema["required"].remove("name"))
    result = run("--against", folder)
    assert result.return_value == 1
    assert f"{REGISTERED} data.name: became required: breaks stored events, new readers\n" in result.stdout
    assert "new version" in result.stderr


def test_check_holds_to_the_compatibility_that_is_asked_for(tmp_path: Path) -> None:
    folder = write(tmp_path, lambda schema: schema["properties"].pop("phone"))
    assert run("--against", folder).return_value == 1
    assert run("--against", folder, "--compatibility", "forward").return_value == 1
    result = run("--against", folder, "--compatibility", "backward", "--json")
    assert result.return_value == 0
    assert json.loads(result.stdout) == {
        "name": REGISTERED,
        "path": "data.phone",
        "what": "optional member added",
        "breaks": ["old readers"],
    }


def test_check_leaves_other_files_of_the_folder_alone(tmp_path: Path) -> None:
    (write(tmp_path) / "person/notes.md").write_text("mine")
    assert run("--against", tmp_path).return_value == 0


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("states.json", None, r"states\.json is missing"),
        ("asyncapi.json", None, r"asyncapi\.json is missing"),
        ("states.json", '{"person"', r"states\.json cannot be read"),
        ("states.json", "[]", r"states\.json is no JSON object"),
        ("person/AddEmail.1.json", "oops", r"AddEmail\.1\.json cannot be read"),
        ("person/mine.json", "{}", "no schemas"),
        ("person/mine.json", '{"$id": 7}', "no schemas"),
        ("person/mine.json", json.dumps({"$id": REGISTERED}), f"are both {REGISTERED}"),
        ("person/AddEmail.1.json", "[" * 100_000, r"AddEmail\.1\.json cannot be read: it is nested too deep"),
        ("person/AddEmail.1.json", "9" * 10_000, r"AddEmail\.1\.json cannot be read: Exceeds the limit"),
        ("person/AddEmail.1.json", None, r"is not whole: person/AddEmail\.1\.json of \d+ schemas are missing"),
        ("asyncapi.json", "{}", r"asyncapi\.json refers to no schemas"),
        ("asyncapi.json", '{"$ref": "person/AddEmail.1.json", "channels": []}', "has no channels"),
        ("states.json", "{}", r"states\.json lacks 7 \(agent …\) of its kinds"),
        ("states.json", json.dumps(dict.fromkeys(REGISTRY, 1)), "says of person what no export says"),
        (
            "person/AddEmail.1.json",
            '{"$id": "urn:annals:schema:person:AddEmail:1", "properties": 1}',
            "AddEmail:1 is no schema as an export has it",
        ),
    ],
)
def test_check_against_what_is_no_export_is_bad_usage(tmp_path: Path, file: str, text: str | None, said: str) -> None:
    target = write(tmp_path) / file
    if text is None:
        target.unlink()
    else:
        target.write_text(text)
    with pytest.raises(UsageError, match=said):
        CliRunner().invoke(schemas, ["check", "--against", tmp_path], standalone_mode=False, catch_exceptions=False)


def test_an_alternative_of_several_types_is_one_of_each() -> None:
    together = {"anyOf": [{"type": ["null", "string"]}, {"type": "array"}]}
    apart = {"anyOf": [{"type": "null"}, {"type": "string"}, {"type": "array"}]}
    assert differences(together, apart) == differences(apart, together) == []
    (fewer,) = differences(together, {"anyOf": [{"type": "null"}, {"type": "array"}]})
    assert (fewer.is_narrower, fewer.is_wider) == (True, False)


def test_what_a_condition_repeats_of_a_member_changes_nothing() -> None:
    def outcome(**events: Any) -> dict[str, Any]:
        return {"properties": {"events": {"type": "array"}}, "if": {}, "then": {"properties": {"events": events}}}

    assert differences(outcome(maxItems=0), outcome(type="array", maxItems=0)) == []
    (more,) = differences(outcome(maxItems=0), outcome(maxItems=1))
    assert (more.path, more.is_narrower, more.is_wider) == ("data (then).events", False, True)


def test_a_baseline_of_which_half_is_missing_is_no_baseline(tmp_path: Path) -> None:
    """Goes red when what is not there passes for new: 'nothing is broken', of whatever was in those files."""
    folder = write(tmp_path)
    kept = sorted(folder.glob("person/*.json"))[::2]
    for file in set(folder.glob("person/*.json")) - set(kept):
        file.unlink()
    with pytest.raises(UsageError, match=r"is not whole: \d+ \(person/\S+ …\) of \d+ schemas are missing"):
        run("--against", folder, catch_exceptions=False)


def test_a_baseline_without_the_events_of_a_kind_is_no_baseline(tmp_path: Path) -> None:
    shutil.rmtree(write(tmp_path) / "policy")
    with pytest.raises(UsageError, match="is not whole"):
        run("--against", tmp_path, catch_exceptions=False)


def test_a_pipe_and_a_folder_that_are_called_as_schemas_are_no_schemas(tmp_path: Path) -> None:
    """Goes red by a test that never ends."""
    os.mkfifo(write(tmp_path) / "person/mine.json")
    with pytest.raises(UsageError, match=r"mine\.json is no file"):
        run("--against", tmp_path, catch_exceptions=False)


DEPLOY = "urn:annals:schema:agent:DeployAgent:1"


@pytest.mark.parametrize(("was", "said"), [(2, "default 2 → 1"), (None, "default none → 1")])
def test_another_default_changes_what_was_left_out(was: Any, said: str) -> None:
    def had(schema: Any) -> None:
        (member,) = (each for each in schema["properties"].values() if each.get("default") == 1)
        member["default"] = was
        if was is None:
            del member["default"]

    finding = only(changed(DEPLOY, had))
    assert (finding.what, finding.breaks) == (said, (OLD_SENDERS,))


def test_another_default_of_an_event_breaks_what_is_stored_and_all_who_read() -> None:
    one, other = ({"type": "object", "properties": {"x": {"default": value}}} for value in (1, 2))
    assert [(each.path, each.is_narrower, each.is_wider) for each in differences(one, other)] == [
        ("data.x", True, True)
    ]


@pytest.mark.parametrize(
    "where", ["beside", "in an alternative", "behind a reference", "in items", "in a map", "at the top"]
)
def test_a_personal_mark_that_is_gone_breaks_and_a_new_one_does_not(where: str) -> None:
    def schema(**mark: Any) -> Any:
        member = {"type": "string", **mark}
        if where == "at the top":
            return {"type": "object", **mark}
        shapes = {
            "beside": member,
            "in an alternative": {"anyOf": [member, {"type": "null"}]},
            "behind a reference": {"$ref": "#/$defs/Name"},
            "in items": {"type": "array", "items": member},
            "in a map": {"type": "object", "additionalProperties": member},
        }
        return {"type": "object", "properties": {"x": shapes[where]}, "$defs": {"Name": member}}

    marked, plain = schema(**{"x-personal": True}), schema()
    (gone,) = differences(marked, plain)
    (come,) = differences(plain, marked)
    assert (gone.what, gone.is_narrower, gone.is_wider) == ("no longer marked as personal", True, False)
    assert (come.what, come.is_narrower, come.is_wider) == ("marked as personal", False, False)


def test_a_mark_that_moves_to_the_alternatives_is_still_there() -> None:
    one = {"properties": {"x": {"type": "string", "x-personal": True}}}
    other = {"properties": {"x": {"anyOf": [{"type": "string", "x-personal": True}, {"type": "null"}]}}}
    assert [each.what for each in differences(one, other)] == ["an alternative was added"]
