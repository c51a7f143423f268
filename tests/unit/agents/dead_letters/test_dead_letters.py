"""What is known of a dead letter, which are meant, which are settled, and how one is sent again."""

import msgspec
import pytest
from msgspec.structs import astuple

from annals.agents.dead_letters.letter import DeadLetterRecord, describe, send_again
from annals.agents.dead_letters.selection import Selection
from annals.agents.dead_letters.settled import Settled, Spans
from annals.schemas.settlement import SETTLEMENT_KEY, Settlement, parse_settlement
from annals.topics.headers import dead_letter_headers
from annals.topics.keys import partition_of

KINDS = {"x.commands.person": "person"}
COMMAND = b'{"id":"c-1","type":"RegisterPerson","aggregate_id":"p-1","data":{}}'


def record(value=COMMAND, key=b"p-1", headers=(), topic="x.commands.person", offset=7):
    written = dead_letter_headers(headers, "misrouted", "why", topic, 3, 41, 1_000)
    return DeadLetterRecord(0, offset, key, value, written)


def test_headers_and_bytes_say_what_it_is():
    letter = describe(record(), KINDS)
    assert astuple(letter) == (
        *(0, 7, "misrouted", "why", "person", "p-1", "c-1", "RegisterPerson"),
        *("x.commands.person", 3, 41, "1970-01-01T00:00:01.000000Z"),
    )


@pytest.mark.parametrize(
    ("value", "key", "headers", "members"),
    [
        (b"not json", b"p-1", [], (None, None, "p-1")),
        (b"not json", b"\xff", [], (None, None, None)),
        (None, None, [], (None, None, None)),
        (b"[]", None, [], (None, None, None)),
        (b'{"id": 5, "type": "", "aggregate_id": "p-2"}', None, [], (None, None, "p-2")),
        (b'{"specversion": "1.0", "id": "e", "type": "T", "subject": "s"}', None, [], ("e", "T", "s")),
        (b"{}", None, [("ce_specversion", b"1.0"), ("ce_id", b"e"), ("ce_type", b"T")], ("e", "T", None)),
        (b'{"id":"' + b"a" * 300 + b'"}', None, [], (None, None, None)),
        (b"[" * 5_000, None, [], (None, None, None)),
    ],
)
def test_what_cannot_be_read_says_what_it_can(value, key, headers, members):
    letter = describe(record(value, key, headers), KINDS)
    assert (letter.command_id, letter.type, letter.aggregate_id) == members


def test_a_stranger_s_record_has_no_source():
    letter = describe(
        DeadLetterRecord(0, 1, None, b"x", [("source-offset", b"-5"), ("source-timestamp", b"9" * 19)]), {}
    )
    assert (letter.kind, letter.source_topic, letter.source_offset, letter.at) == (None, "", None, None)
    assert send_again(DeadLetterRecord(0, 1, None, b"x", []), letter, {"x.commands.person": 4}) is None


def test_it_is_sent_again_as_it_was_and_is_no_copy_any_more():
    original = [("traceparent", b"t"), ("origin-partition", b"2"), ("origin-offset", b"9")]
    found = record(headers=original)
    again = send_again(found, describe(found, KINDS), {"x.commands.person": 4})
    assert again == ("x.commands.person", partition_of(b"p-1", 4), b"p-1", COMMAND, [("traceparent", b"t")])


def test_without_a_key_it_goes_where_its_aggregate_is_or_where_it_was():
    found = record(key=None)
    assert send_again(found, describe(found, KINDS), {"x.commands.person": 4}).partition == partition_of(b"p-1", 4)
    found = record(b"not json", key=None)
    assert send_again(found, describe(found, KINDS), {"x.commands.person": 2}).partition == 3 % 2


def test_filters_all_hold():
    letter = describe(record(), KINDS)
    at = "1970-01-01T00:00:01.000000Z"
    for holds in (
        Selection(),
        Selection(reason="misrouted", kind="person", type="RegisterPerson", aggregate_id="p-1", since=at),
        Selection(offsets=frozenset({7}), partition=0, stop_at=8),
    ):
        assert holds.has(letter)
    for fails in (
        Selection(reason="not_json"),
        Selection(kind="agent"),
        Selection(until=at),
        Selection(partition=1),
        Selection(stop_at=7),
        Selection(offsets=frozenset({8})),
    ):
        assert not fails.has(letter)
    assert Selection(offsets=frozenset({5, 9}), stop_at=8).bounds(0, 0, 100) == (5, 8)
    assert Selection(partition=1).bounds(0, 3, 100) == (3, 3)
    assert Selection(stop_at=2).bounds(0, 3, 100) == (3, 3)


def settlement(*spans, request="r", action="replay"):
    count = sum(last - first + 1 for first, last in spans)
    return Settlement(request, "me", "POST", "/", "now", 202, None, action, 0, list(spans), count)


def test_who_settled_first_has_settled():
    settled = Settled()
    settled.add(settlement((3, 5), (9, 9)))
    settled.add(settlement((4, 12), (0, 1), request="s", action="discard"))
    found = {offset: each.action for offset in range(14) if (each := settled.of(0, offset))}
    replayed = {3, 4, 5, 9}
    assert {offset for offset, action in found.items() if action == "replay"} == replayed
    assert set(found) - replayed == {0, 1, 6, 7, 8, 10, 11, 12}
    assert settled.of(1, 4) is None
    assert (settled.count_of("r"), settled.count_of("t")) == (4, 0)


def test_an_open_letter_is_described_and_none_that_is_settled_or_not_meant(monkeypatch):
    settled = Settled()
    settled.add(settlement((3, 5)))
    meant = Selection(kind="person", stop_at=8)
    assert meant.open_letter(record(), settled, KINDS) == describe(record(), KINDS)
    assert meant.open_letter(record(topic="x.commands.agent"), settled, KINDS) is None
    monkeypatch.setattr("annals.agents.dead_letters.selection.describe", None)  # it is not looked into
    assert meant.open_letter(record(offset=4), settled, KINDS) is None
    assert meant.open_letter(record(offset=8), settled, KINDS) is None


def test_spans_are_parted_by_what_is_passed_over_and_not_by_markers():
    spans = Spans()
    for offset in (0, 2, 4, None, 7, 9):
        if offset is None:
            spans.part()
        else:
            spans.take(offset)
    assert (spans.spans, spans.count) == ([(0, 4), (7, 9)], 5)


def test_a_settlement_is_read_back_and_a_strangers_record_is_none():
    written = settlement((3, 5))
    assert parse_settlement(SETTLEMENT_KEY, msgspec.json.encode(written)) == written
    assert parse_settlement(b"request", b"{}") is None
    for bad in (b"{}", b"x", msgspec.json.encode(settlement((5, 3)))):
        with pytest.raises(ValueError, match=r"."):
            parse_settlement(SETTLEMENT_KEY, bad)
