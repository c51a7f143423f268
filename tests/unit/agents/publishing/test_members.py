"""A subscription that asks for a member that no event has is told so: it would stop matching without a word."""

import msgspec
import pytest

from annals.agents.aggregates import REGISTRY
from annals.agents.deciding.decider import Decider
from annals.agents.publishing.members import member_problems
from annals.schemas.data.upcast import Upcast
from annals.schemas.kinds.person import PersonRenamed
from annals.schemas.outcome import MOST_ERRORS
from annals.schemas.subscription import AGGREGATE_ID, NEWEST, Definition

PATH = "filters[0].cel"


class PersonRenamed1(msgspec.Struct, frozen=True):
    """As it was before `title` became `label`."""

    title: str


class PersonRenamed2(msgspec.Struct, frozen=True):
    """As it was before `label` became `name`."""

    label: str


def labelled(data):
    return {"label": data["title"]}


def renamed(data):
    return {"name": data["label"]}


def later():
    """The person of a release that has renamed a member twice."""
    person = REGISTRY["person"]
    steps = {PersonRenamed: (Upcast(PersonRenamed1, labelled), Upcast(PersonRenamed2, renamed))}
    return {
        "person": Decider(
            person.kind,
            person.machine,
            person.initial,
            person.state_version,
            person._already_true,
            person._decide,
            person.evolve,
            steps,
        )
    }


def problems(*filters, deciders=REGISTRY, kinds=("person",), **asked):
    wish = {"schema_version": NEWEST, "key": AGGREGATE_ID, **asked}
    definition = Definition("all", [*kinds], filters=[*filters], **wish)
    # As it comes from a request or a record: its texts are equal to those of the code, and not the same.
    return member_problems(msgspec.json.decode(msgspec.json.encode(definition), type=Definition), deciders)


def paths(*filters, **asked):
    return [path for path, _ in problems(*filters, **asked)]


ONE = {"types": ["PersonRenamed"]}


def test_what_was_renamed_is_named_with_what_is_meant_and_what_to_do():
    ((path, message),) = problems({"cel": "data.nam == 'Ada'"}, **ONE)
    assert path == PATH
    assert message == (
        "no event that it may want has a member 'nam' in the version that it gets: ask for another one, or pin the "
        "version that has it. Is name meant?"
    )


@pytest.mark.parametrize(
    ("asked", "is_there"),
    [
        ({}, {"name"}),
        ({"schema_version": {"PersonRenamed": 1}}, {"title"}),
        ({"schema_version": {"PersonRenamed": 2}}, {"label"}),
        ({"schema_version": {"PersonRenamed": 3}}, {"name"}),
        ({"payload": "block"}, {"title", "label", "name"}),
    ],
)
def test_members_are_those_of_the_version_that_it_gets(asked, is_there):
    for member in ("title", "label", "name"):
        found = paths({"cel": f"has(data.{member})"}, deciders=later(), **ONE, **asked)
        assert found == ([] if member in is_there else [PATH])
        assert bool(problems(deciders=later(), key=f"data.{member}", **ONE, **asked)) is (member not in is_there)


def test_a_key_falls_back_to_the_aggregates_id_and_that_is_said():
    ((path, message),) = problems(key="data.team", **ONE)
    assert (path, message.startswith("no event that it may want has a member 'team'")) == ("key", True)
    assert "the aggregate's id is the key instead" in message


@pytest.mark.parametrize(
    "text",
    [
        "data.name == 'data.nobody'",
        'data["name"] == "a \\" data.nobody"',
        "event.data.nobody == 1",
        "event.subject == 'x' // data.nobody",
        "data.size() > 1",
        "['a'].exists(data, data.nobody == 1)",
        "metadata.nobody == 1",
        "'nobody' in data",
        "[{'data': {'nobody': 1}}].exists(x, x . data.nobody == 1)",
        "'''it's data.nobody''' == 'x'",
        "data[r'name'] == data['na\\x6de']",
        "data['\\xg'] == 1",
        "data['\0'] == 1",
    ],
)
def test_what_is_no_member_of_the_data_is_not_taken_for_one(text):
    assert paths({"cel": text}, **ONE) == []


@pytest.mark.parametrize(
    "text", ["data.nobody == 1", "data . nobody", "data['nobody']", "has(data.nobody)", "!data.nobody"]
)
def test_each_way_to_ask_for_a_member_is_seen(text):
    assert paths({"cel": text}, **ONE) == [PATH]
    assert paths({"not": {"any": [{"exact": {"subject": "p-1"}}, {"cel": text}]}}, **ONE) == [
        "filters[0].not.any[1].cel"
    ]


def test_one_event_that_has_it_is_enough_and_of_types_that_nobody_knows_nothing_is_said():
    assert paths({"cel": "data.name == 'Ada'"}) == []
    assert paths({"cel": "data.nobody == 1"}, types=["PersonRenamed", "PersonOfALaterRelease"]) == []
    assert paths({"cel": "data.nobody == 1"}, kinds=()) == [PATH]
    assert paths({"cel": "data.nobody == 1"}, schema_version={"PersonRenamed": 1}) == [PATH], "others are the newest"


def test_a_type_of_two_kinds_has_the_members_of_both():
    """Goes red where the type of the kind that comes last stands for both."""
    both = {"kinds": ("person", "organization"), "types": ["ProfileUpdated"]}
    assert paths({"cel": "data.birth_date == 'x' || data.legal_name == 'x'"}, **both) == []
    assert paths({"cel": "data.nobody == 1"}, **both) == [PATH]


def test_of_kinds_and_versions_that_this_release_does_not_have_nothing_is_said():
    """Goes red where a worker of the release before, or without a distribution, tells of what others have."""
    assert paths({"cel": "data.nobody == 1"}, kinds=("person", "vessel")) == []
    assert paths({"cel": "data.nobody == 1"}, schema_version={"PersonRenamed": 4}, deciders=later(), **ONE) == []


def test_the_first_are_told_of_very_many():
    """Goes red where one subscription has a megabyte of warnings, and takes the event loop seconds for them."""
    text = " || ".join(f"data.nobody{number} == 1" for number in range(MOST_ERRORS + 1))
    assert len(paths({"cel": text})) == MOST_ERRORS
