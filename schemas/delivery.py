"""What is not settled with a subscriber: the records of the compacted topic `deliveries.<name>`.

A row is of an aggregate (key: `<kind>/<aggregate id>`), or of one event where later ones may pass (key: its CID). What
has no row is settled up to the subscription's progress. A row that settles leaves a tombstone.
"""

from __future__ import annotations

from sys import intern
from typing import Final, Literal

import msgspec
from msgspec import Struct

from annals.schemas.cid import parse_cid
from annals.schemas.depth import decoded
from annals.schemas.values.numbers import From0, From1, Milliseconds

WAITING: Final = "waiting"
IN_FLIGHT: Final = "in_flight"
PARKED: Final = "parked"
DISCARDED: Final = "discarded"


class Row(Struct, frozen=True, omit_defaults=True, gc=False):
    """One event that is not settled.

    offset: of the event in the journal. ordered: later events of its aggregate wait for it. state: `waiting` to be
    delivered from `due` on, `in_flight` until it is answered or `due` has come, `parked` until somebody decides, or
    `discarded` by somebody: whoever delivers settles it. attempt: how often it was delivered; tries: how many of these
    count against `max_attempts`. at: since when it is in this state. Times are milliseconds since 1970. reason: of the
    last answer or decision; by: whose decision it was. incarnation: of the subscription. While it waits, is_drawn says
    that `due` is the retry policy's, not what an answer asked for. endpoint: that a webhook was posted to last.
    """

    kind: str
    aggregate_id: str
    version: From1
    cid: str
    type: str
    offset: From0
    ordered: bool
    state: Literal["waiting", "in_flight", "parked", "discarded"]
    attempt: From0 = 0
    tries: From0 = 0
    due: Milliseconds = 0
    at: Milliseconds = 0
    reason: str | None = None
    by: str | None = None
    incarnation: From1 = 1
    is_drawn: bool = False
    endpoint: str | None = None


_DECODER: Final = msgspec.json.Decoder(Row)


def row_key(row: Row) -> str:
    """Return the key of a row."""
    return f"{row.kind}/{row.aggregate_id}" if row.ordered else row.cid


def encode_row(row: Row) -> bytes:
    """Return a record's value."""
    return msgspec.json.encode(row)


def decode_row(key: bytes | None, value: bytes) -> Row:
    """Return the row that a record says.

    Raises:
        ValueError: it is none: others may be able to write here.
    """
    row = decoded(_DECODER.decode, value)
    for member in ("kind", "type", "reason", "endpoint"):  # many rows have few of these between them
        if (text := getattr(row, member)) is not None:
            msgspec.structs.force_setattr(row, member, intern(text))
    parse_cid(row.cid)
    if row_key(row).encode() != key:
        raise ValueError("it is not what its key says")
    return row


def replayed(row: Row, now_ms: int, by: str | None = None) -> Row | None:
    """Return a parked row that is to be delivered again; None if it is not parked (any more).

    Attempts go on counting, so that an answer to an earlier one never settles it; `max_attempts` begins anew.
    """
    if row.state != PARKED:
        return None
    return msgspec.structs.replace(row, state=WAITING, tries=0, due=now_ms, at=now_ms, by=by)


def discarded(row: Row, now_ms: int, by: str | None, reason: str) -> Row | None:
    """Return a parked row that is given up; None if it is not parked (any more). Whoever delivers lets the next go."""
    if row.state != PARKED:
        return None
    return msgspec.structs.replace(row, state=DISCARDED, due=now_ms, at=now_ms, by=by, reason=reason)
