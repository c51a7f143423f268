"""The schemas of what is around the data, held to what is really read and written."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from annals.schemas import outcome
from annals.schemas.canonical import decode
from annals.schemas.chain import seal
from annals.schemas.cid import cid_of, cid_text
from annals.schemas.json_schemas.wire_schemas import wire_schemas
from annals.schemas.snapshot import Snapshot, encode_snapshot

sys.path.insert(0, str(Path(__file__).parents[2]))
from bad_commands import CASES
from command_cases import Accepted, Rejected

CHECKS = {schema.name: Draft202012Validator(schema.schema) for schema in wire_schemas()}
HEAD = cid_of(b"head")
ENVELOPE = CHECKS["Command"]


def in_dag_json(value: Any) -> Any:
    """Links and bytes as DAG-JSON has them."""
    if isinstance(value, bytes):
        return {"/": cid_text(value)} if len(value) == 36 else {"/": {"bytes": value.hex()}}
    return {name: in_dag_json(member) for name, member in value.items()} if isinstance(value, dict) else value


@pytest.mark.parametrize(
    "written",
    [
        outcome.accepted("c", "person", "p-1", 0, None, []),
        outcome.accepted("c", "person", "p-1", 2, HEAD, [(1, "PersonRegistered", HEAD), (2, "EmailAdded", HEAD)]),
        outcome.duplicate("c", "person", "p-1", 1, HEAD, [(1, "PersonRegistered", HEAD)]),
    ],
)
def test_an_outcome_that_is_written_fits_its_schema(written: bytes) -> None:
    CHECKS["Outcome"].validate(json.loads(written))


DETAILS = {
    outcome.UNKNOWN_COMMAND: outcome.unknown_details("Nothing"),
    outcome.INVALID_COMMAND: outcome.invalid_details([("data.name", "is required")] * 30),
    outcome.VERSION_CONFLICT: outcome.version_details("exists", 0),
    outcome.HEAD_CONFLICT: outcome.head_details(HEAD, None),
    outcome.INVALID_TRANSITION: outcome.transition_details("absent", "RenamePerson"),
    outcome.RULE_VIOLATED: outcome.rule_details("birth_in_future"),
    outcome.TOO_LARGE: outcome.size_details(5, 4),
    outcome.AGGREGATE_FULL: outcome.full_details(1),
    outcome.INTERNAL_ERROR: {},
}


@pytest.mark.parametrize("code", outcome.CODES)
def test_a_rejection_has_the_details_of_its_code_and_no_others(code: str) -> None:
    written = outcome.rejected("c", "person", "p-1", 0, None, code, "why", DETAILS[code])
    CHECKS["Outcome"].validate(json.loads(written))
    for other in outcome.CODES:
        if other != code:
            wrong = outcome.rejected("c", "person", "p-1", 0, None, code, "why", DETAILS[other])
            assert not CHECKS["Outcome"].is_valid(json.loads(wrong))


def test_an_accepted_outcome_has_no_error_and_a_rejected_one_has() -> None:
    done = json.loads(outcome.accepted("c", "person", "p-1", 1, HEAD, []))
    no = json.loads(outcome.rejected("c", "person", "p-1", 0, None, outcome.RULE_VIOLATED, "x", {"rule": "x"}))
    assert not CHECKS["Outcome"].is_valid(done | {"error": no["error"]})
    assert not CHECKS["Outcome"].is_valid(no | {"error": None})


def test_an_outcome_of_a_later_release_may_have_more_members() -> None:
    done = json.loads(outcome.accepted("c", "person", "p-1", 1, HEAD, [(1, "PersonRegistered", HEAD)]))
    CHECKS["Outcome"].validate(done | {"more": 1})


def test_a_block_fits_its_schema_and_is_the_first_exactly_without_a_previous_one() -> None:
    block, cid = seal(
        kind="person",
        aggregate_id="p-1",
        version=1,
        previous=None,
        type="PersonRegistered",
        schema_version=1,
        recorded_at="2026-01-01T00:00:00.000000Z",
        command_id="c-1",
        correlation_id="c-1",
        causation_id=None,
        actor="hr",
        data={"name": "Ada"},
    )
    event = in_dag_json(decode(block))
    CHECKS["Event"].validate(event)
    link = {"/": cid_text(cid)}
    CHECKS["Event"].validate(event | {"version": 2, "previous": link})
    for wrong in (
        {"previous": link},
        {"version": 2},
        {"more": 1},
        {"data": []},
        {"recorded_at": "2026-01-01T00:00:00Z"},
    ):
        assert not CHECKS["Event"].is_valid(event | wrong)


def test_a_snapshot_fits_its_schema() -> None:
    snapshot = encode_snapshot(Snapshot("person", "p-1", 3, HEAD, 1, b"\x01"))
    CHECKS["Snapshot"].validate(in_dag_json(decode(snapshot)))
    whole = Snapshot("person", "p-1", 3, HEAD, 1, b"\x01", "2026-11-21T09:30:00.123456Z", 41)
    said = in_dag_json(decode(encode_snapshot(whole)))
    CHECKS["Snapshot"].validate(said | {"more": 1})
    assert not CHECKS["Snapshot"].is_valid(said | {"offset": -1})


def readable(value: bytes | None) -> Any:
    try:
        return json.loads(value or b"")
    except (ValueError, RecursionError):
        return None


PLAIN = [
    case
    for case in CASES
    if isinstance(readable(case.value), dict)
    and not any(name == "content-type" or name.startswith("ce_") for name, _ in case.headers)
]


@pytest.mark.parametrize("case", [c for c in PLAIN if isinstance(c.expected, Accepted)], ids=lambda case: case.name)
def test_what_is_read_as_a_command_fits_its_schema(case: Any) -> None:
    ENVELOPE.validate(readable(case.value))


BEYOND = ("named twice", "lone surrogate", "must not nest", "day of the calendar")
"""What no JSON Schema can say of an envelope; nor can it tell 3.0 from 3."""


def _envelope_errors(case: Any) -> list[str]:
    details = case.expected.details if isinstance(case.expected, Rejected) else {}
    return [
        error["path"]
        for error in details.get("errors", ())
        if not error["path"].startswith("data.")
        and not any(said in error["message"] for said in BEYOND)
        and case.name != "version-float"
    ]


@pytest.mark.parametrize("case", [c for c in PLAIN if _envelope_errors(c)], ids=lambda case: case.name)
def test_a_command_whose_envelope_is_refused_does_not_fit_its_schema(case: Any) -> None:
    assert not ENVELOPE.is_valid(readable(case.value))
