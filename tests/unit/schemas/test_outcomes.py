"""Outcomes: the JSON that a worker writes, to the letter, and the typed view of those who read it."""

import json
from typing import Any

import pytest

from annals.schemas import outcome
from annals.schemas.cid import CID_PREFIX, cid_text
from annals.schemas.outcome import Outcome, OutcomeEvent, Rejection, decode_outcome

FIRST, SECOND = CID_PREFIX + b"1" * 32, CID_PREFIX + b"2" * 32
ODD = 'c"\\ä😀\u2028'


def _events(*cids: bytes) -> list[dict[str, Any]]:
    return [{"version": n, "type": "PersonRenamed", "cid": cid_text(cid)} for n, cid in enumerate(cids, 3)]


@pytest.mark.parametrize("command_id", ["c-1", ODD])
@pytest.mark.parametrize(("status", "write"), [("accepted", outcome.accepted), ("duplicate", outcome.duplicate)])
@pytest.mark.parametrize("cids", [(), (FIRST,), (FIRST, SECOND)])
def test_a_command_that_was_taken_has_its_version_head_and_events(
    command_id: str, status: str, write: Any, cids: tuple[bytes, ...]
) -> None:
    head = cids[-1] if cids else FIRST
    events = [(n, "PersonRenamed", cid) for n, cid in enumerate(cids, 3)]
    assert json.loads(write(command_id, "person", ODD, 4, head, events)) == {
        "command_id": command_id,
        "kind": "person",
        "aggregate_id": ODD,
        "status": status,
        "version": 4,
        "head": cid_text(head),
        "events": _events(*cids),
        "error": None,
    }


def test_nothing_done_to_an_absent_aggregate_has_no_head() -> None:
    written = json.loads(outcome.accepted("c-1", "person", "p-1", 0, None, []))
    assert (written["version"], written["head"], written["events"]) == (0, None, [])


@pytest.mark.parametrize("identity", ["c-1", ODD])
def test_the_short_way_for_one_event_says_the_same(identity: str) -> None:
    short = outcome.accepted_event(identity, b"person", identity, 3, b"PersonRenamed", cid_text(FIRST).encode())
    assert short == outcome.accepted(identity, "person", identity, 3, FIRST, [(3, "PersonRenamed", FIRST)])


@pytest.mark.parametrize(
    ("details", "shape"),
    [
        (outcome.unknown_details("Nope"), {"type": "Nope"}),
        (outcome.version_details(3, 2), {"expected": 3, "actual": 2}),
        (outcome.version_details("exists", 0), {"expected": "exists", "actual": 0}),
        (outcome.head_details(FIRST, SECOND), {"expected": cid_text(FIRST), "actual": cid_text(SECOND)}),
        (outcome.head_details(FIRST, None), {"expected": cid_text(FIRST), "actual": None}),
        (outcome.transition_details("absent", "RenamePerson"), {"status": "absent", "command": "RenamePerson"}),
        (outcome.rule_details("birth_in_future"), {"rule": "birth_in_future"}),
        (outcome.size_details(5, 4), {"bytes": 5, "limit": 4}),
        (outcome.full_details(7), {"limit": 7}),
        (outcome.invalid_details([("data.x", "no")]), {"errors": [{"path": "data.x", "message": "no"}], "more": 0}),
    ],
)
def test_the_details_have_the_shape_of_their_code(details: dict[str, Any], shape: dict[str, Any]) -> None:
    assert details == shape
    written = json.loads(outcome.rejected("c-1", "person", "p-1", 2, FIRST, "code", "why", details))
    assert written == {
        "command_id": "c-1",
        "kind": "person",
        "aggregate_id": "p-1",
        "status": "rejected",
        "version": 2,
        "head": cid_text(FIRST),
        "events": [],
        "error": {"code": "code", "message": "why", "details": shape},
    }


def test_twenty_errors_are_listed_and_the_others_counted() -> None:
    details = outcome.invalid_details([(f"data.x[{n}]", "no") for n in range(33)])
    assert [error["path"] for error in details["errors"]] == [f"data.x[{n}]" for n in range(20)]
    assert details["more"] == 13


def test_paths_and_messages_are_cut_by_characters() -> None:
    details = outcome.invalid_details([("ä" * 201, "😀" * 501)])
    assert details["errors"] == [{"path": "ä" * 200, "message": "😀" * 500}]
    written = json.loads(outcome.rejected("c", "person", "p", 0, None, "code", "😀" * 501, {}))
    assert (written["error"]["message"], written["head"]) == ("😀" * 500, None)


def test_an_outcome_is_read_as_it_was_written() -> None:
    value = outcome.accepted("c-1", "person", "p-1", 3, FIRST, [(3, "PersonRenamed", FIRST)])
    assert decode_outcome(value) == Outcome(
        "c-1", "person", "p-1", "accepted", 3, cid_text(FIRST), [OutcomeEvent(3, "PersonRenamed", cid_text(FIRST))]
    )


def test_a_rejection_is_read_with_its_reason_and_what_a_later_release_adds_is_passed_over() -> None:
    written = json.loads(outcome.rejected("c", "person", "p", 0, None, "rule_violated", "why", {"rule": "r"}))
    read = decode_outcome(json.dumps({**written, "later": 1}).encode())
    assert read.error == Rejection("rule_violated", "why", {"rule": "r"})


@pytest.mark.parametrize("value", [b"", b"{}", b"[]", b'{"command_id": 1}', b"\xff", b'{"command_id": "\xff"}'])
def test_other_bytes_are_no_outcome(value: bytes) -> None:
    with pytest.raises(ValueError, match="no outcome"):
        decode_outcome(value)
