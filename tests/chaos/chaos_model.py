"""What the project's aggregates must do with the commands of these tests, written a second time from their description.

Nothing here is imported from the project: a mistake that both make would have to be made twice.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Events = list[tuple[str, dict[str, Any]]]
PERSON_COMMANDS = {"RegisterPerson", "RenamePerson", "SuspendPerson", "ReactivatePerson"}
WAGON_COMMANDS = {"OpenWagon", "LoadCrates"}
WAGON_CAPACITY = 10_000
MOST_COMMAND_BYTES = 1_000_000
MOST_KEY_AND_HEADER_BYTES = 65_536
DEEP = re.compile(rb"\[{1000,}\]{1000,}")


@dataclass
class Answer:
    """What a command must be answered: `events` are those it causes, `first` their first version."""

    status: str
    code: str | None = None
    events: Events = field(default_factory=list)
    first: int = 0


@dataclass
class Standing:
    """An aggregate: `seen` has the commands that caused events, with the first version and number of them."""

    version: int = 0
    status: str = "absent"
    name: str = ""
    crates: int = 0
    seen: dict[str, tuple[int, int]] = field(default_factory=dict)


def parsed(value: bytes | None) -> Any:
    """A command's value; what nests deeper than this parser goes is read as an empty list."""
    return json.loads(DEEP.sub(b"[]", value or b""))


def unreadable(key: bytes | None, value: bytes | None, headers: Mapping[str, bytes] | None = None) -> str | None:
    """The reason for which a record is a dead letter; None for a command."""
    beside = len(key or b"") + sum(len(name) + len(said or b"") for name, said in (headers or {}).items())
    if len(value or b"") > MOST_COMMAND_BYTES or beside > MOST_KEY_AND_HEADER_BYTES:
        return "too_large"
    try:
        body = parsed(value)
    except ValueError:
        return "not_json"
    if not isinstance(body, dict):
        return "not_an_object"
    if "id" not in body:
        return "no_id"
    if "aggregate_id" not in body:
        return "no_aggregate_id"
    if key is not None and key != body["aggregate_id"].encode():
        return "key_mismatch"
    return None


def answer(kind: str, body: dict[str, Any], standing: Standing) -> Answer:
    """Decide a command, and change the standing by what it causes."""
    if body["id"] in standing.seen:
        first, count = standing.seen[body["id"]]
        return Answer("duplicate", first=first, events=[("", {})] * count)
    known, valid, decide = (  # a barge is a wagon of another kind
        (PERSON_COMMANDS, _valid_person, _person) if kind == "person" else (WAGON_COMMANDS, _valid_wagon, _wagon)
    )
    if body["type"] not in known:
        return Answer("rejected", "unknown_command")
    if not valid(body["type"], body["data"]):
        return Answer("rejected", "invalid_command")
    expected = body.get("expected_version", "any")
    fits = expected == "any" or (standing.version > 0 if expected == "exists" else standing.version == expected)
    if not fits:
        return Answer("rejected", "version_conflict")
    decided = decide(body["type"], body["data"], standing)
    if decided.events:
        decided.first = standing.version + 1
        standing.version += len(decided.events)
        standing.seen[body["id"]] = decided.first, len(decided.events)
    return decided


def _valid_person(type_name: str, data: dict[str, Any]) -> bool:
    wanted = {"reason"} if type_name in {"SuspendPerson", "ReactivatePerson"} else {"name"}
    return set(data) == wanted and all(isinstance(value, str) for value in data.values())


def _person(type_name: str, data: dict[str, Any], person: Standing) -> Answer:
    match type_name, person.status:
        case "RegisterPerson", "absent":
            person.status, person.name = "active", data["name"]
            return Answer("accepted", events=[("PersonRegistered", data)])
        case "RegisterPerson", _:
            return Answer("accepted") if data["name"] == person.name else Answer("rejected", "invalid_transition")
        case _, "absent":
            return Answer("rejected", "invalid_transition")
        case "RenamePerson", _:
            if data["name"] == person.name:
                return Answer("accepted")
            person.name = data["name"]
            return Answer("accepted", events=[("PersonRenamed", data)])
    after, event = {
        "SuspendPerson": ("suspended", "PersonSuspended"),
        "ReactivatePerson": ("active", "PersonReactivated"),
    }[type_name]
    if person.status == after:
        return Answer("accepted")
    person.status = after
    return Answer("accepted", events=[(event, data)])


def _valid_wagon(type_name: str, data: dict[str, Any]) -> bool:
    if type_name == "OpenWagon":
        return set(data) == {"label"} and isinstance(data["label"], str)
    return "count" in data and set(data) <= {"count", "contents"}


def _wagon(type_name: str, data: dict[str, Any], wagon: Standing) -> Answer:
    if type_name == "OpenWagon":
        if wagon.status == "open":
            return Answer("accepted") if data["label"] == wagon.name else Answer("rejected", "invalid_transition")
        wagon.status, wagon.name = "open", data["label"]
        return Answer("accepted", events=[("WagonOpened", data)])
    if wagon.status == "absent":
        return Answer("rejected", "invalid_transition")
    if wagon.crates + data["count"] > WAGON_CAPACITY:
        return Answer("rejected", "rule_violated")
    contents = "x" * data.get("contents", 0)
    numbers = range(wagon.crates + 1, wagon.crates + data["count"] + 1)
    wagon.crates += data["count"]
    return Answer("accepted", events=[("CrateLoaded", {"number": number, "contents": contents}) for number in numbers])
