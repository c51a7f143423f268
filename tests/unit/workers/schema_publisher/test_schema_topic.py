"""What is written to the topic `schemas`: what differs, and nothing of what a later release knows better."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import orjson
import pytest
from structlog.testing import capture_logs

from annals.schemas.json_schemas.json_schema import MessageSchema
from annals.topics.headers import type_headers
from annals.topics.schemas import release_of, schema_headers, schema_key
from annals.workers.schema_publisher import topic
from annals.workers.schema_publisher.published import published, urns
from annals.workers.schema_publisher.topic import Kept, changes, is_later

ADDED = MessageSchema("person", "event", "EmailAdded", 1, {"$id": "urn", "type": "object"})
KEY = "annals.person.EmailAdded.v1"


def test_the_key_of_an_event_is_its_ce_type() -> None:
    assert schema_key("person", "EmailAdded", 3) == dict(type_headers("person", "EmailAdded", 3))["ce_type"].decode()


def test_every_schema_has_a_key_of_its_own() -> None:
    keys = [schema_key(each.kind, each.name, each.version) for each in published()]
    assert len(set(keys)) == len(keys) > 150


def test_the_names_of_all_are_known_without_making_them() -> None:
    assert list(urns()) == [schema.urn for schema in published()]


def test_the_headers_say_what_it_is_and_who_published_it_first() -> None:
    headers = schema_headers("event", "0.1.0")
    assert dict(headers) == {"content-type": b"application/schema+json", "role": b"event", "release": b"0.1.0"}
    assert release_of(headers) == "0.1.0"
    assert release_of([]) is None


def test_what_is_not_there_is_written_with_this_release() -> None:
    (schema, kept) = changes({}, [ADDED], "0.2.0")[KEY]
    assert schema is ADDED
    assert json.loads(kept.value) == ADDED.schema
    assert kept.release == "0.2.0"


def test_what_is_there_already_is_not_written_again() -> None:
    (_, kept) = changes({}, [ADDED], "0.2.0")[KEY]
    assert changes({KEY: kept}, [ADDED], "0.2.0") == {}
    assert changes({KEY: kept._replace(release="0.1.0")}, [ADDED], "0.2.0") == {}


def test_what_differs_is_written_and_keeps_the_release_that_was_first() -> None:
    (_, kept) = changes({KEY: Kept(b"{}", "0.1.0")}, [ADDED], "0.2.0")[KEY]
    assert json.loads(kept.value) == ADDED.schema
    assert kept.release == "0.1.0"
    assert changes({KEY: Kept(b"{}", None)}, [ADDED], "0.2.0")[KEY][1].release == "0.2.0"


OURS = {
    "$id": "urn",
    "description": "ours",
    "type": "object",
    "properties": {"email": {"type": "string", "maxLength": 9}},
    "required": ["email"],
    "additionalProperties": False,
}


def later(**said: Any) -> bytes:
    return orjson.dumps(OURS | said)


@pytest.mark.parametrize(
    "value",
    [
        later(),
        later(description="another"),
        later(properties=OURS["properties"] | {"since": {"type": "string"}}),
        later(properties=OURS["properties"] | {"title": {"type": "string"}}),
    ],
)
def test_what_a_later_release_published_is_left_if_it_says_all_that_ours_says(value: bytes) -> None:
    schema = ADDED._replace(schema=OURS)
    assert changes({KEY: Kept(value, "0.10.0")}, [schema], "0.9.1") == {}


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"{}",
        b"no schema",
        b"[" * 5_000 + b"]" * 5_000,
        orjson.dumps([OURS]),
        later(**{"$id": "another"}),
        later(properties={}),
        later(properties={"email": {"type": "string", "maxLength": 9, "pattern": "^$"}}),
        later(required=["email", "since"]),
        later(**{"not": {}}),
        b'{"$id":"urn"}',
    ],
)
def test_what_only_says_that_a_later_release_published_it_is_named_and_written_anew(value: bytes) -> None:
    schema = ADDED._replace(schema=OURS)
    with capture_logs() as said:
        (_, kept) = changes({KEY: Kept(value, "9.0.0")}, [schema], "0.9.1")[KEY]
    assert (json.loads(kept.value), kept.release) == (OURS, "0.9.1")
    assert [(each["log_level"], each["key"], each["said"]) for each in said] == [("error", KEY, "9.0.0")]


class Record(NamedTuple):
    value: bytes | None
    headers: list[tuple[str, bytes]]


def test_of_what_others_wrote_no_more_is_kept_than_which_release_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topic, "MOST_OTHERS", 2)
    found: dict[str, Kept] = {}
    for number in range(5):
        topic._take(found, f"annals.person.E{number}.v1", Record(b"x" * 1_000, [("release", b"9.0.0")]), {KEY})
    topic._take(found, KEY, Record(b"x" * (topic.LARGEST + 1), [("release", b"9" * 1_000)]), {KEY})
    topic._take(found, "annals.person.E1.v1", Record(None, []), {KEY})
    assert found == {
        "annals.person.E0.v1": Kept(b"", "9.0.0"),
        "annals.person.E2.v1": Kept(b"", "9.0.0"),
        KEY: Kept(b"", None),
    }


def test_releases_are_compared_by_their_numbers() -> None:
    assert is_later("0.10.0", "0.9.1")
    assert is_later("1.0.0", "0.99.99rc1")
    assert not is_later("0.1.0", "0.1.0")
    assert not is_later(None, "0.1.0")
    assert is_later("9" * 5_000, "0.1.0")  # a stranger's: longer than Python makes a number of
