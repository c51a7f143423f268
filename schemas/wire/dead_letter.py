"""Why a record cannot be read as a command, or not be decided: the reasons, as a dead letter's header has them."""

from typing import Final, NamedTuple

from annals.schemas.suggestion import with_known

NOT_JSON: Final = "not_json"
NOT_AN_OBJECT: Final = "not_an_object"
NO_ID: Final = "no_id"
NO_AGGREGATE_ID: Final = "no_aggregate_id"
KEY_MISMATCH: Final = "key_mismatch"
BAD_CLOUDEVENT: Final = "bad_cloudevent"
TOO_LARGE: Final = "too_large"
MISROUTED: Final = "misrouted"
INTERNAL_ERROR: Final = "internal_error"
BAD_ACK: Final = "bad_ack"
"""Of what a subscriber sent to its `acks.<name>`: no command, and in none of the counts of these."""
REASONS: Final = (
    NOT_JSON,
    NOT_AN_OBJECT,
    NO_ID,
    NO_AGGREGATE_ID,
    KEY_MISMATCH,
    BAD_CLOUDEVENT,
    TOO_LARGE,
    MISROUTED,
    INTERNAL_ERROR,
)


def unknown_reason(reason: str) -> str | None:
    """Return what is said of a reason that no dead letter of this release has; None of one that some may have."""
    known = (*REASONS, BAD_ACK)
    if reason in known:
        return None
    return with_known("there is no reason", reason, known)


class DeadLetter(NamedTuple):
    """A record that cannot be answered: the reason, and a sentence that repeats none of its bytes."""

    reason: str
    message: str
