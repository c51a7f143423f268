"""From a record to a command: what is carried over, what is filled in, and what bounds it."""

import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from annals.schemas.cid import CID_PREFIX, cid_text
from annals.schemas.envelope import Command
from annals.schemas.wire.dead_letter import KEY_MISMATCH, NOT_JSON, TOO_LARGE, DeadLetter
from annals.schemas.wire.reading import MOST_KEY_AND_HEADER_BYTES, _read_surely, read_command, read_commands

CID = CID_PREFIX + bytes(32)
WHOLE: dict[str, Any] = {"id": "c-1", "type": "RegisterPerson", "aggregate_id": "p-1", "data": {"name": "Ada"}}
FULL: dict[str, Any] = {
    **WHOLE,
    "expected_version": 3,
    "expected_head": cid_text(CID),
    "correlation_id": "k-1",
    "causation_id": "e-1",
    "actor": "hr-service",
    "issued_at": "2026-11-21T09:30:00Z",
}


def _value(**members: Any) -> bytes:
    return json.dumps({**WHOLE, **members}).encode()


def _read(value: bytes | None, key: bytes | None = b"p-1", limit: int = 1_000_000, **headers: bytes | None) -> Any:
    return read_command(key, value, list(headers.items()), limit)


def test_a_full_command_is_carried_over_member_by_member() -> None:
    assert _read(json.dumps(FULL).encode()) == Command(
        id="c-1",
        type="RegisterPerson",
        aggregate_id="p-1",
        data={"name": "Ada"},
        expected_version=3,
        expected_head=CID,
        correlation_id="k-1",
        causation_id="e-1",
        actor="hr-service",
    )


def test_a_short_command_correlates_with_itself_and_expects_nothing() -> None:
    command = _read(_value())
    assert command == Command("c-1", "RegisterPerson", "p-1", {"name": "Ada"}, "c-1")
    assert (command.correlation_id, command.expected_version, command.expected_head) == ("c-1", "any", None)


@pytest.mark.parametrize("name", [name for name in FULL if name not in WHOLE])
def test_an_optional_member_that_is_null_is_absent(name: str) -> None:
    assert _read(_value(**{name: None})) == _read(_value())


@pytest.mark.parametrize("escape", [False, True])
@pytest.mark.parametrize("identity", ["Ä", "数据", "a b", "😀", "-", "e\u0301", "\u200b", "x\u00a0y", "p:1/2?3#4"])
def test_an_id_may_be_any_text_without_controls(identity: str, *, escape: bool) -> None:
    value = json.dumps({**WHOLE, "id": identity, "aggregate_id": identity}, ensure_ascii=escape).encode()
    command = _read(value, key=identity.encode())
    assert (command.id, command.aggregate_id, command.errors) == (identity, identity, ())


@pytest.mark.parametrize(
    "data",
    [
        {"n": [0, -1, 2**63, 2**64 - 1, -(2**63)]},
        {"f": [1.0, 0.1, 1e22, 5e-324, 1.7976931348623157e308]},
        {"t": ["", "é", "😀", "\x7f", "\u2028", "\ufffe", '"', "\\", "\x00"]},
        {"a": {"b": {"c": [[], {}, None, True]}}},
        {"": {"": ""}},
    ],
)
def test_the_data_are_what_was_sent(data: dict[str, Any]) -> None:
    command = _read(_value(data=data))
    assert repr(command.data) == repr(data)
    assert command.errors == ()


@pytest.mark.parametrize("levels", [62, 63])
def test_the_fast_path_counts_the_levels_of_the_envelope_too(levels: int) -> None:
    value = _value(data={}).replace(b"{}", b'{"a":' + b"[" * levels + b"]" * levels + b"}")
    assert (_read_surely(value, (None, None)) is not None) == (levels == 62)


def test_many_brackets_that_do_not_nest_are_still_read_fast() -> None:
    assert _read_surely(_value(data={"a": [[1]] * 200}), (None, None)) is not None


@pytest.mark.parametrize("version", [3, 2**64 - 1, "any", "exists", None])
def test_what_a_large_command_expects_is_read_fast_and_as_that_of_a_small_one(version: Any) -> None:
    small, large = ({**FULL, "expected_version": version, "data": {"name": "a" * size}} for size in (3, 20_000))
    found = _read_surely(json.dumps(large).encode(), (None, None, None))
    assert found is not None
    assert found.expected_version == _read(json.dumps(small).encode()).expected_version


def test_errors_in_the_envelope_leave_the_ids_and_name_each_member() -> None:
    command = _read(_value(type=1, data=[], expected_version=-1, actor="", extra=1))
    assert (command.id, command.aggregate_id, command.type, command.data) == ("c-1", "p-1", None, None)
    assert [path for path, _ in command.errors] == ["extra", "type", "data", "expected_version", "actor"]


def test_the_type_of_a_command_with_errors_is_kept_so_that_an_unknown_one_is_named() -> None:
    assert _read(_value(actor="")).type == "RegisterPerson"


def test_of_an_id_named_twice_the_last_is_answered() -> None:
    command = _read(b'{"id": "c-0", ' + _value()[1:])
    assert command.id == "c-1"
    assert [path for path, _ in command.errors] == ["id"]


@pytest.mark.parametrize(("extra", "is_taken"), [(0, True), (1, False)])
def test_a_value_may_have_as_many_bytes_as_are_allowed(extra: int, *, is_taken: bool) -> None:
    value = _value()
    read = _read(value + b" " * extra, limit=len(value))
    assert isinstance(read, Command) == is_taken
    assert is_taken or read == DeadLetter(TOO_LARGE, f"the value has {len(value) + 1} bytes, {len(value)} are allowed")


@pytest.mark.parametrize(("more", "is_taken"), [(0, True), (1, False)])
def test_key_and_headers_may_have_65536_bytes_together(more: int, *, is_taken: bool) -> None:
    room = MOST_KEY_AND_HEADER_BYTES - len(b"p-1") - len("ä".encode()) + more
    read = _read(_value(), ä=b"x" * room)
    assert isinstance(read, Command) == is_taken
    assert is_taken or read.reason == TOO_LARGE


def test_what_forwarding_adds_makes_no_command_too_large() -> None:
    headers = {"x": b"x" * (MOST_KEY_AND_HEADER_BYTES - 1)}
    assert _read(_value(), **headers).reason == TOO_LARGE
    forwarded = {**headers, "origin-partition": b"3", "origin-offset": b"1234"}
    assert isinstance(_read(_value(), key=None, **headers), Command)
    assert isinstance(_read(_value(), **forwarded), Command)
    assert _read(_value(), **{**forwarded, "y": b""}).reason == TOO_LARGE


@pytest.mark.parametrize("name", ["origin-partition", "origin-offset"])
def test_a_header_under_a_forwarding_name_that_no_worker_wrote_counts(name: str) -> None:
    long = b"x" * MOST_KEY_AND_HEADER_BYTES
    assert _read(_value(), **{"origin-partition": b"3", "origin-offset": b"4", name: long}).reason == TOO_LARGE
    assert _read(_value(), **{name: long}).reason == TOO_LARGE


def test_a_header_name_that_is_not_utf_8_counts_with_its_bytes() -> None:
    name = b"\xff\xfe".decode(errors="surrogateescape")
    room = MOST_KEY_AND_HEADER_BYTES - len(b"p-1") - 2
    assert isinstance(_read(_value(), **{name: b"x" * room}), Command)
    assert _read(_value(), **{name: b"x" * (room + 1)}).reason == TOO_LARGE


def test_a_key_alone_may_be_too_large() -> None:
    assert _read(_value(), key=b"x" * (MOST_KEY_AND_HEADER_BYTES + 1)).reason == TOO_LARGE


def test_a_key_that_is_not_there_need_not_agree() -> None:
    assert isinstance(_read(_value(), key=None), Command)


def test_a_command_with_errors_for_another_key_is_nobodys() -> None:
    assert _read(_value(type=1), key=b"p-2").reason == KEY_MISMATCH


def test_a_null_header_is_no_header() -> None:
    headers = {"content-type": None, "traceparent": None, "anything": None}
    assert _read(_value(), **headers) == _read(_value())


def test_a_dead_letter_repeats_none_of_the_bytes() -> None:
    secret = b"a-secret"
    for value in (secret, b"[" * 80 + secret, b'{"id": "' + secret + b' "}', b"\xff" + secret):
        read = _read(value)
        assert isinstance(read, DeadLetter)
        assert "secret" not in read.message
    assert _read(None) == DeadLetter(NOT_JSON, "the value is null")


@dataclass
class _Produced:
    key: bytes | None
    value: bytes
    headers: list[tuple[str, bytes | None]] = field(default_factory=list)


def _said(**members: Any) -> bytes:
    said = {"id": "c-1", "type": "T", "aggregate_id": "p-1", "data": {}, **members}
    return json.dumps(said, ensure_ascii=False).encode()


def _deep(levels: int) -> dict[str, Any]:
    data: dict[str, Any] = {}
    for _ in range(levels):
        data = {"a": data}
    return data


ODD = {
    "an id with an outer space": _Produced(None, _said(id=" c-2")),
    "an aggregate id with an outer space": _Produced(None, _said(aggregate_id="p-1 ")),
    "an actor with an outer space": _Produced(None, _said(actor="a ")),
    "an id with a line feed": _Produced(None, _said(id="c\n2")),
    "an actor with a delete": _Produced(None, _said(actor="a\x7f")),
    "a correlation id with a noncharacter": _Produced(None, _said(correlation_id="\ufdd0")),
    "another key": _Produced(b"p-2", _said()),
    "a member twice": _Produced(None, b'{"id":"c","id":"c","type":"T","aggregate_id":"p","data":{}}'),
    "a member of the data twice": _Produced(None, _said().replace(b"{}", b'{"a":1,"a":2}')),
    "one twice, and marks that are written longer": _Produced(
        None, _said().replace(b"{}", b'{"a":1,"a":"\\u0022\\u0022"}')
    ),
    "a negative zero": _Produced(None, _said().replace(b"{}", b'{"a":-0.0}')),
    "a reserved name": _Produced(None, _said(data={"$a": 1})),
    "an integer beyond 64 bits": _Produced(None, _said(data={"a": 2**64})),
    "a version below 0": _Produced(None, _said(expected_version=-1)),
    "a version that is no integer": _Produced(None, _said(expected_version=1.0)),
    "a head that is none": _Produced(None, _said(expected_head="bafy")),
    "a time that is none": _Produced(None, _said(issued_at="now")),
    "a level too many": _Produced(None, _said(data=_deep(63))),
    "as many levels as may be": _Produced(None, _said(data=_deep(62))),
    "no data": _Produced(None, b'{"id":"c","type":"T","aggregate_id":"p"}'),
    "too many bytes": _Produced(None, _said(data={"a": "b" * 2_000})),
    "a header": _Produced(None, _said(), [("traceparent", b"00-" + b"1" * 32 + b"-" + b"2" * 16 + b"-01")]),
    "what a command may have": _Produced(
        b"p-1",
        _said(expected_version=0, expected_head=cid_text(CID), issued_at="2026-11-24T10:00:00Z", causation_id=None),
    ),
    "letters beyond ASCII, escaped": _Produced(
        None, json.dumps(json.loads(_said(actor="ü", data={"ü": "ü"}))).encode()
    ),
    "letters beyond ASCII": _Produced("p-ü".encode(), _said(aggregate_id="p-ü", data={"name": 'Zoë "Z"\n'})),
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
@pytest.mark.parametrize("others", [0, 1, 5])
def test_commands_together_are_read_as_each_by_itself(odd: _Produced, others: int) -> None:
    plain = [
        _Produced(b"p-1", _said(data={"name": "Ada"}, actor="a", expected_version="exists")) for _ in range(others)
    ]
    records = [*plain, odd, *plain]
    apart = [read_command(record.key, record.value, record.headers, 1_000) for record in records]
    assert repr(read_commands(records, 1_000)) == repr(apart)
