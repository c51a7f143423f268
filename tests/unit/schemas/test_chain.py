"""Sealing an event, and reading its block back."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from annals.schemas.canonical import decode, encode
from annals.schemas.chain import DEEPEST_DATA, MEMBERS, ForeignError, read_block, seal
from annals.schemas.cid import CID_PREFIX, cid_of
from annals.schemas.envelope import RecordedEvent
from annals.schemas.kinds import KINDS
from annals.schemas.values.moments import recorded_at

FIRST: dict[str, Any] = {
    "kind": "person",
    "aggregate_id": "p-1",
    "version": 1,
    "previous": None,
    "type": "PersonRegistered",
    "schema_version": 1,
    "recorded_at": "2026-11-21T09:30:00.000000Z",
    "command_id": "c-1",
    "correlation_id": "c-1",
    "causation_id": None,
    "actor": None,
    "data": {"name": "Ada Lovelace"},
}
CID_1, CID_2 = CID_PREFIX + b"1" * 32, CID_PREFIX + b"2" * 32


def _block(**changes: Any) -> bytes:
    return encode({**FIRST, **changes})


def _without(name: str) -> bytes:
    return encode({member: value for member, value in FIRST.items() if member != name})


def test_a_sealed_event_is_read_back_as_it_was() -> None:
    block, cid = seal(**FIRST)
    assert read_block("person", block) == FIRST
    assert cid == cid_of(block)


def test_the_members_stand_in_the_order_in_which_they_are_encoded() -> None:
    assert tuple(decode(seal(**FIRST)[0])) == MEMBERS


def test_an_event_links_to_the_one_before() -> None:
    _, first = seal(**FIRST)
    block, _ = seal(**{**FIRST, "version": 2, "previous": first})
    assert read_block("person", block)["previous"] == first


def test_an_event_with_all_that_may_be_given_is_read() -> None:
    full = {**FIRST, "version": 2, "previous": CID_1, "causation_id": "e-1", "actor": "hr"}
    full["data"] = {"a": [None, True, 1, -1, 1.5, "x", {"b": []}], "": {}}
    assert read_block("person", encode(full)) == full


def test_a_typed_view_says_the_same_and_its_cid() -> None:
    block, cid = seal(**FIRST)
    event = RecordedEvent.of(read_block("person", block), block)
    assert (event.kind, event.version, event.data, event.cid) == ("person", 1, FIRST["data"], cid)


@pytest.mark.parametrize("kind", KINDS)
def test_an_event_is_read_only_as_one_of_its_kind(kind: str) -> None:
    block = _block(kind=kind)
    assert read_block(kind, block)["kind"] == kind
    other = KINDS[KINDS.index(kind) - 1]
    with pytest.raises(ForeignError, match=f"kind is '{kind}', the topic's is '{other}'"):
        read_block(other, block)


@pytest.mark.parametrize("name", MEMBERS)
def test_a_missing_member_is_foreign_and_named(name: str) -> None:
    with pytest.raises(ForeignError, match=f"the member {name} is missing"):
        read_block("person", _without(name))


def test_another_member_is_foreign_and_named() -> None:
    with pytest.raises(ForeignError, match="there is no member 'note' in an event"):
        read_block("person", _block(note=1))


@pytest.mark.parametrize("value", [1, 1.0, True, [], {}, b"x", CID_1])
@pytest.mark.parametrize(
    "name", ["kind", "type", "command_id", "recorded_at", "aggregate_id", "correlation_id", "causation_id", "actor"]
)
def test_what_must_be_text_is_foreign_as_anything_else(name: str, value: Any) -> None:
    with pytest.raises(ForeignError, match=f"{name} is {type(value).__name__}"):
        read_block("person", _block(**{name: value}))


@pytest.mark.parametrize("value", [None, "1", 1.0, True, [], {}, b"x"])
@pytest.mark.parametrize("name", ["version", "schema_version"])
def test_what_must_be_an_integer_is_foreign_as_anything_else(name: str, value: Any) -> None:
    with pytest.raises(ForeignError, match=f"{name} is {type(value).__name__}"):
        read_block("person", _block(**{name: value}))


@pytest.mark.parametrize("value", [None, "x", 1, [], b"x"])
def test_data_that_is_no_map_is_foreign(value: Any) -> None:
    with pytest.raises(ForeignError, match=f"data is {type(value).__name__}"):
        read_block("person", _block(data=value))


@pytest.mark.parametrize("name", ["kind", "type", "command_id", "recorded_at", "aggregate_id", "correlation_id"])
def test_a_text_that_must_be_there_is_foreign_as_null(name: str) -> None:
    with pytest.raises(ForeignError, match=f"{name} is NoneType"):
        read_block("person", _block(**{name: None}))


@pytest.mark.parametrize(
    "value", ["x", 1, [], b"", b"x" * 36, CID_1[:-1], b"\x01\x55\x12\x20" + bytes(32), b"\x12\x20" + bytes(32)]
)
def test_a_previous_that_is_no_link_of_our_form_is_foreign(value: Any) -> None:
    with pytest.raises(ForeignError, match="previous"):
        read_block("person", _block(previous=value))


def test_a_previous_that_is_the_bytes_of_a_cid_but_no_link_is_foreign() -> None:
    block = _block(version=2, previous=CID_1).replace(b"\xd8\x2a\x58\x25\x00" + CID_1, b"\x58\x24" + CID_1)
    with pytest.raises(ForeignError, match="not canonical"):
        read_block("person", block)


@pytest.mark.parametrize("value", [b"x", CID_1, [b""], {"a": {"b": [CID_1]}}, {"a": [[[{"b": b"x"}]]]}])
def test_data_with_bytes_or_a_link_at_any_depth_are_foreign(value: Any) -> None:
    with pytest.raises(ForeignError, match="only JSON types"):
        read_block("person", _block(data={"name": "x", "value": value}))


@pytest.mark.parametrize("value", [-(2**64), [[-(2**63) - 1]]])
def test_an_integer_that_no_command_could_hold_is_json_nevertheless(value: Any) -> None:
    assert read_block("person", _block(data={"value": value}))["data"] == {"value": value}


@pytest.mark.parametrize("levels", [254, 255, DEEPEST_DATA - 1])
def test_data_may_nest_up_to_the_bound(levels: int) -> None:
    nested: Any = 1
    for _ in range(levels):
        nested = [nested]
    assert read_block("person", _block(data={"a": nested}))["data"] == {"a": nested}


@pytest.mark.parametrize("levels", [DEEPEST_DATA, 1_000, 100_000])
def test_data_that_nest_deeper_are_foreign(levels: int) -> None:
    flat = _block(data={"a": 1})
    with pytest.raises(ForeignError, match=r"nested|recursion"):
        read_block("person", flat.replace(b"\x61a\x01", b"\x61a" + b"\x81" * levels + b"\x01"))


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-21T09:30:00Z",
        "2026-11-21T09:30:00.000Z",
        "2026-11-21T09:30:00.0000000Z",
        "2026-11-21T09:30:00.000000+00:00",
        "2026-11-21t09:30:00.000000Z",
        "2026-11-21 09:30:00.000000Z",
        "2026-11-21T09:30:00.000000z",
        "2026-11-21T09:30:00,000000Z",
        "2026-11-21T09:30:00.000000Z\n",
        "2026-11-21T24:00:00.000000Z",
        "2026-11-21T09:60:00.000000Z",
        "2026-11-21T23:59:60.000000Z",
        "2026-13-01T00:00:00.000000Z",
        "2026-00-01T00:00:00.000000Z",
        "2026-02-29T00:00:00.000000Z",
        "1900-02-29T00:00:00.000000Z",
        "2026-04-31T00:00:00.000000Z",
        "2026-11-00T00:00:00.000000Z",
        "0000-01-01T00:00:00.000000Z",
        "2026-W47-6T00:00:00.000000Z",
        "٢٠٢٦-11-21T09:30:00.000000Z",
        "2026-11-21T09:30:00.\u066000000Z",
        "2026-11-21T09:30:00.\u00b200000Z",
        "2026-11-21T09:30:00.-00000Z",
        "2026-11-21T09:30:00.00000 Z",
        "",
    ],
)
def test_a_recorded_at_of_any_other_form_is_foreign(text: str) -> None:
    with pytest.raises(ForeignError, match="recorded_at"):
        read_block("person", _block(recorded_at=text))


def test_every_day_of_a_long_time_is_a_day_of_the_calendar() -> None:
    day = datetime(1895, 1, 1, 12, tzinfo=UTC)
    while day.year < 2105:
        block = _block(recorded_at=recorded_at(day))
        assert read_block("person", block)["recorded_at"].startswith(f"{day:%Y-%m-%d}")
        day += timedelta(days=13)
    for leap_year in (1896, 1996, 2000, 2004, 2012, 2028, 2400):
        read_block("person", _block(recorded_at=f"{leap_year}-02-29T23:59:59.999999Z"))


def test_a_moment_is_recorded_in_utc_with_six_digits() -> None:
    assert recorded_at(datetime(2026, 11, 21, 9, 30, tzinfo=UTC)) == "2026-11-21T09:30:00.000000Z"
    cet = timezone(timedelta(hours=1))
    assert recorded_at(datetime(2026, 1, 1, 0, 30, 0, 5, tzinfo=cet)) == "2025-12-31T23:30:00.000005Z"


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (None, "the value is null"),
        (b"", "no DAG-CBOR"),
        (b"{}", "no DAG-CBOR"),
        (b"\x81\x01", "the block is no map"),
        (b"\x61a", "the block is no map"),
        (b"\x01", "the block is no map"),
        (b"\xf6", "the block is no map"),
        (b"\xa0", "is missing"),
        (b"\xbb" + b"\xff" * 8, "no DAG-CBOR"),
    ],
)
def test_what_is_no_block_is_foreign_and_says_why(value: bytes | None, why: str) -> None:
    with pytest.raises(ForeignError, match=why):
        read_block("person", value)


def test_a_block_that_encodes_otherwise_is_foreign() -> None:
    longer = _block().replace(b"\x67version\x01", b"\x67version\x18\x01")
    with pytest.raises(ForeignError, match="not canonical DAG-CBOR"):
        read_block("person", longer)
