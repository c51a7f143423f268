"""The headers of events, outcomes, dead letters and forwarded commands."""

import pytest

from annals.schemas.cid import cid_of, cid_text
from annals.topics.headers import (
    clipped,
    dead_letter_headers,
    decimal_header,
    event_headers,
    forwarded_headers,
    header_differences,
    origin_of,
    outcome_headers,
)

CID = cid_of(b"a block")
TRACEPARENT = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
EVENT = {
    "kind": "person",
    "aggregate_id": "Ä-1",
    "version": 12,
    "previous": cid_of(b"the one before"),
    "type": "PersonRegistered",
    "schema_version": 2,
    "recorded_at": "2026-11-21T09:30:00.000001Z",
    "command_id": "c-1",
    "correlation_id": "r-1",
    "causation_id": "x-1",
    "actor": "hr",
    "data": {},
}


def headers_of(event: dict, **changes: object) -> list[tuple[str, bytes]]:
    values = event | changes
    return event_headers(
        kind=values["kind"],
        key=values["aggregate_id"].encode(),
        version=values["version"],
        type_name=values["type"],
        schema_version=values["schema_version"],
        recorded_at=values["recorded_at"],
        cid=cid_text(CID),
        command_id=values["command_id"],
        correlation_id=values["correlation_id"],
        causation_id=values["causation_id"],
        actor=values["actor"],
        traceparent=values.get("traceparent"),
        tracestate=values.get("tracestate"),
    )


def test_the_headers_of_an_event_are_exactly_the_contracts() -> None:
    headers = headers_of(EVENT, traceparent=TRACEPARENT, tracestate=b"a=b")
    assert sorted(headers) == sorted(
        {
            "content-type": b"application/vnd.ipld.dag-cbor",
            "ce_specversion": b"1.0",
            "ce_id": cid_text(CID).encode(),
            "ce_type": b"annals.person.PersonRegistered.v2",
            "ce_source": b"/annals/person",
            "ce_subject": "Ä-1".encode(),
            "ce_time": b"2026-11-21T09:30:00.000001Z",
            "ce_sequence": b"00000000000000000012",
            "ce_partitionkey": "Ä-1".encode(),
            "ce_correlationid": b"r-1",
            "ce_causationid": b"c-1",
            "ce_commandcausationid": b"x-1",
            "ce_actor": b"hr",
            "ce_dataschema": b"urn:annals:schema:person:PersonRegistered:2",
            "traceparent": TRACEPARENT,
            "tracestate": b"a=b",
        }.items()
    )


def test_what_is_null_has_no_header() -> None:
    names = [name for name, _ in headers_of(EVENT, causation_id=None, actor=None)]
    assert not {"ce_commandcausationid", "ce_actor", "traceparent", "tracestate"} & set(names)
    assert len(names) == len(set(names)) == 12


@pytest.mark.parametrize("trace", [{}, {"traceparent": TRACEPARENT, "tracestate": b"a=b"}])
@pytest.mark.parametrize("absent", [{}, {"actor": None}, {"causation_id": None, "actor": None}])
def test_headers_that_agree_with_the_block_have_no_differences(trace: dict, absent: dict) -> None:
    headers = headers_of(EVENT, **absent, **trace)
    assert header_differences(headers, EVENT | absent, CID) == []
    assert header_differences(tuple(headers), EVENT | absent, CID) == []
    assert header_differences(list(reversed(headers)), EVENT | absent, CID) == []


def test_headers_of_others_are_passed_over() -> None:
    assert header_differences([("x-mirror", None), *headers_of(EVENT), ("x-trace", b"1")], EVENT, CID) == []


@pytest.mark.parametrize("name", [name for name, _ in headers_of(EVENT)])
def test_each_header_that_is_altered_missing_null_or_double_is_named(name: str) -> None:
    headers = headers_of(EVENT)
    altered = [(n, v + b"!" if n == name else v) for n, v in headers]
    missing = [(n, v) for n, v in headers if n != name]
    null = [(n, None if n == name else v) for n, v in headers]
    double = [*headers, (name, b"other")]
    for damaged in (altered, missing, null, double):
        (difference,) = header_differences(damaged, EVENT, CID)
        assert difference.startswith(name + " ")


def test_a_header_that_the_block_has_no_value_for_is_named() -> None:
    differences = header_differences(headers_of(EVENT), EVENT | {"actor": None}, CID)
    assert differences == ["ce_actor is 'hr', the block has none"]


def test_a_header_that_is_no_text_is_shown_and_not_fatal() -> None:
    headers = [(n, b"\xff" if n == "ce_actor" else v) for n, v in headers_of(EVENT)]
    assert header_differences(headers, EVENT, CID) == ["ce_actor is '\\\\xff', the block says 'hr'"]


def test_an_outcome_says_which_command_it_answers() -> None:
    assert outcome_headers("c-1", 17) == [("command-id", b"c-1"), ("command-offset", b"17")]


def test_an_outcome_carries_origin_journal_and_trace() -> None:
    headers = outcome_headers("c-1", 17, 99, (b"2", b"5"), TRACEPARENT, b"a=b")
    assert headers == [
        ("command-id", b"c-1"),
        ("command-offset", b"17"),
        ("journal-offset", b"99"),
        ("origin-partition", b"2"),
        ("origin-offset", b"5"),
        ("traceparent", TRACEPARENT),
        ("tracestate", b"a=b"),
    ]


def test_a_forwarded_copy_names_its_origin_after_the_original_headers() -> None:
    headers = forwarded_headers((("a", None), ("a", b"1")), 2, 5)
    assert headers == [("a", None), ("a", b"1"), ("origin-partition", b"2"), ("origin-offset", b"5")]
    assert origin_of(headers) == (b"2", b"5")


@pytest.mark.parametrize("headers", [(), [("a", b"b")], [("origin-partition", b"1")], [("origin-offset", b"1")]])
def test_a_command_without_both_origin_headers_is_no_copy(headers: list) -> None:
    assert origin_of(headers) is None


def test_origin_headers_without_a_value_are_still_there() -> None:
    assert origin_of([("origin-partition", None), ("origin-offset", b"1")]) == (b"", b"1")


def test_a_dead_letter_has_the_original_headers_first_and_ours_last() -> None:
    headers = dead_letter_headers([("reason", b"mine"), ("x", None)], "not_json", "no", "commands.person", 3, 7, 1_700)
    assert headers == [
        ("reason", b"mine"),
        ("x", None),
        ("reason", b"not_json"),
        ("message", b"no"),
        ("source-topic", b"commands.person"),
        ("source-partition", b"3"),
        ("source-offset", b"7"),
        ("source-timestamp", b"1700"),
    ]
    assert dict(headers)["reason"] == b"not_json"


@pytest.mark.parametrize("message", ["x" * 500, "x" * 501, "ä" * 400, "x" + "€" * 300, "\ud800" * 300, ""])
def test_a_message_is_at_most_500_bytes_of_utf_8(message: str) -> None:
    text = clipped(message).decode()
    assert len(clipped(message)) <= 500
    assert text == message or "\ud800" in message or (text[-1] == "…" and message.startswith(text[:-1]))


@pytest.mark.parametrize(
    ("value", "number"),
    [(b"0", 0), (b"12", 12), (b"-1", None), (b"", None), (b"1.0", None), (b"x", None), (None, None), (b"1" * 20, None)],
)
def test_a_number_in_a_header_is_decimal_or_nothing(value: bytes | None, number: int | None) -> None:
    assert decimal_header([("command-offset", b"5"), ("command-offset", value)], "command-offset") == number


def test_a_number_whose_header_is_absent_is_nothing() -> None:
    assert decimal_header([], "command-offset") is None
