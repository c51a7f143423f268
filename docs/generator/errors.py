"""docs/reference/errors.md, from the code's constants; a code that nobody explains fails here."""

from __future__ import annotations

import json
from textwrap import dedent
from typing import Any

from annals.agents.ports import errors
from annals.schemas import outcome
from annals.schemas.cid import cid_of
from annals.schemas.wire import dead_letter
from generator.markdown import code, fenced, table

_CID = cid_of(b"the block's bytes")

# What each code means, and its details as the code's own function makes them.
CODES: dict[str, tuple[str, dict[str, Any]]] = {
    outcome.UNKNOWN_COMMAND: ("the kind has no command of that name", outcome.unknown_details("RenamePersn")),
    outcome.INVALID_COMMAND: (
        (
            f"members offend: each with its path; at most {outcome.MOST_ERRORS}, and in `more` how many were found "
            f"beyond them before looking stopped, which it does at {outcome.MOST_FOUND}. Of a wrong length only that"
        ),
        outcome.invalid_details([("data.name", "is required")]),
    ),
    outcome.VERSION_CONFLICT: (
        "the aggregate is at another version than `expected_version`",
        outcome.version_details(2, 3),
    ),
    outcome.HEAD_CONFLICT: ("the aggregate's last event is not `expected_head`", outcome.head_details(_CID, None)),
    outcome.INVALID_TRANSITION: (
        "the command is not open in the aggregate's status; `absent` before its first event",
        outcome.transition_details("archived", "RenamePerson"),
    ),
    outcome.RULE_VIOLATED: (
        "a rule of the command's row is broken: see [commands and events](commands.md)",
        outcome.rule_details("email_unverified"),
    ),
    outcome.TOO_LARGE: (
        "the command's events in one batch exceed the topic's limit",
        outcome.size_details(4_200_000, 4_194_304),
    ),
    outcome.AGGREGATE_FULL: (
        "the aggregate has `ANNALS_MAX_EVENTS_PER_AGGREGATE` events",
        outcome.full_details(100_000),
    ),
    outcome.INTERNAL_ERROR: (
        (
            "deciding the command failed by a defect in the code of its aggregate; nothing of it has happened, and it "
            "is kept as a dead letter. Sent again it is decided again"
        ),
        {},
    ),
}

# What each reason of a dead letter means.
REASONS = {
    dead_letter.NOT_JSON: "the value is not JSON (RFC 8259, UTF-8), or null",
    dead_letter.NOT_AN_OBJECT: "the value is JSON, but not an object",
    dead_letter.NO_ID: "there is no `id`, or none that could be answered to",
    dead_letter.NO_AGGREGATE_ID: "there is no `aggregate_id`, or none that could be one",
    dead_letter.KEY_MISMATCH: "the record's key is not `aggregate_id`",
    dead_letter.BAD_CLOUDEVENT: "it says that it is a CloudEvent, and is none that carries a command",
    dead_letter.TOO_LARGE: "value, or key and headers, are larger than allowed",
    dead_letter.MISROUTED: "it was forwarded once, and still lies in a partition that its key does not belong to",
    dead_letter.INTERNAL_ERROR: "deciding it failed by a defect; the only reason with an outcome beside it",
}

INTRO = """# Errors

The first that applies answers: unreadable (a dead letter), misplaced (forwarded), `duplicate`, then the codes in this
order, with *already true* (accepted, no events) between `head_conflict` and `invalid_transition`; `internal_error`
wherever the code of an aggregate fails.

## Codes of a rejected command

In the outcome's `error`, with a message in words and the aggregate's current `version` and `head`.
"""

DEAD_LETTERS = """## Reasons of a dead letter

In the header `reason`, with a sentence in `message`: what cannot be read as a command, and so has no outcome; and what
failed by a defect, which has one.
"""

PORTS = """## When a shard cannot go on

What went wrong between a shard and its journal. None of these is an answer to a command: it is decided later, or by
another worker.
"""


def page() -> str:
    """Return the page."""
    if set(CODES) != set(outcome.CODES):
        raise LookupError(f"codes without an explanation, or no longer there: {set(CODES) ^ set(outcome.CODES)}")
    if set(REASONS) != set(dead_letter.REASONS):
        raise LookupError(
            f"reasons without an explanation, or no longer there: {set(REASONS) ^ set(dead_letter.REASONS)}"
        )
    rows = [[code(name), CODES[name][0], code(json.dumps(CODES[name][1]))] for name in outcome.CODES]
    _, _, tree = (errors.__doc__ or "").partition("\n\n")
    reasons = [[code(name), REASONS[name]] for name in dead_letter.REASONS]
    parts = [INTRO, table(["code", "means", "details, for example"], rows)]
    parts += [DEAD_LETTERS, table(["reason", "means"], reasons), PORTS, fenced("text", dedent(tree).strip())]
    return "\n".join(parts)
