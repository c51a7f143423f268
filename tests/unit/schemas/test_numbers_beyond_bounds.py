"""A number that neither Kafka, a store nor a calendar can take is no row, whoever wrote it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from annals.schemas.cid import cid_of, cid_text
from annals.schemas.delivery import PARKED, Row, decode_row, encode_row, row_key
from annals.schemas.progress import Progress, decode_progress, encode_progress
from annals.schemas.reaction_rows import process_of
from annals.schemas.settlement import SETTLEMENT_KEY, Settlement, parse_settlement
from annals.schemas.subscription import parse, parse_record
from annals.schemas.values.numbers import LATEST_MS, MOST

if TYPE_CHECKING:
    from collections.abc import Callable

ROW = Row("person", "p-1", 1, cid_text(cid_of(b"x")), "PersonRegistered", 7, ordered=True, state=PARKED, at=1)
SETTLED = Settlement("r", "me", "POST", "/", "now", 202, None, "replay", 0, [(1, 2)], 2)
BEYOND = (MOST + 1, 2**64, 10**40)


def row(**changed: Any) -> Any:
    return decode_row(row_key(ROW).encode(), json.dumps({**json.loads(encode_row(ROW)), **changed}).encode())


def progress(**changed: Any) -> Any:
    return decode_progress(json.dumps({**json.loads(encode_progress(Progress(7))), **changed}).encode())


def settlement(**changed: Any) -> Any:
    said = {name: getattr(SETTLED, name) for name in SETTLED.__struct_fields__}
    return parse_settlement(SETTLEMENT_KEY, json.dumps({**said, **changed}).encode())


def subscription(**changed: Any) -> Any:
    definition = parse({"name": "billing"})
    assert not isinstance(definition, list)
    found = parse_record({"definition": {"name": "billing"}, "incarnation": 1, "begin": {"person": [0]}, **changed})
    if isinstance(found, list):
        raise ValueError(found)  # noqa: TRY004 - as the reader of the topic says it
    return found


MEMBERS: dict[Callable[..., Any], tuple[str, ...]] = {
    row: ("version", "offset", "attempt", "tries", "due", "at", "incarnation"),
    progress: ("position", "incarnation", "acks", "version", "quiet_until"),
    settlement: ("partition", "count"),
    subscription: ("incarnation",),
}


@pytest.mark.parametrize(("record", "member"), [(each, name) for each, names in MEMBERS.items() for name in names])
def test_a_number_beyond_what_can_be_looked_up_is_none(record: Callable[..., Any], member: str) -> None:
    for number in BEYOND:
        with pytest.raises(ValueError, match=r"."):
            record(**{member: number})
    record()


@pytest.mark.parametrize("member", ["due", "at"])
def test_a_delivery_has_times_of_the_calendar(member: str) -> None:
    row(**{member: LATEST_MS})
    with pytest.raises(ValueError, match=r"."):
        row(**{member: LATEST_MS + 1})


def test_a_settlement_has_offsets() -> None:
    with pytest.raises(ValueError, match=r"."):
        settlement(spans=[[0, MOST + 1]])


@pytest.mark.parametrize(
    "due", ["2026-13-45T09:30:00.000000Z", "2026-02-30T09:30:00.000000Z", "٢٠٢٦-01-01T09:30:00.000000Z"]
)
def test_a_timer_is_due_at_a_moment(due: str) -> None:
    timer = {"version": 1, "due": due, "cause": "c", "correlation_id": None}
    with pytest.raises(ValueError, match=r"."):
        process_of(b'["timer","w-1","","late"]', json.dumps(timer).encode())
