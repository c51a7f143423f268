"""Lines for `annals send`: what goes over the wire, and what is refused before it does."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annals.schemas.envelope import Command
from annals.schemas.wire.reading import read_command
from annals.workers.client import sendable
from annals.workers.client.sendable import NotSendableError, Sendable, from_line, from_members

KINDS = ("person", "organization")
LIMIT = 1_000


# A member of the first name comes last: the way by which most lines are read does not take it.
MANY = b"{%b}" % b",".join(b'"m%d": 1' % at for at in range(5_000))
DEEP = b"[" * 70 + b"]" * 70
INTRICATE = b"[" + b"{}," * 5_000 + b"[" * 599 + b"]" * 599 + b"]"


def sent(line: str | bytes, limit: int = LIMIT) -> Sendable:
    return from_line(line.encode() if isinstance(line, str) else line, KINDS, limit, lambda: "made-id")


def refusal(line: str | bytes, limit: int = LIMIT) -> str:
    with pytest.raises(NotSendableError) as caught:
        sent(line, limit)
    return str(caught.value)


def rest(**members: Any) -> str:
    return json.dumps({"id": "c-1", "type": "T", "aggregate_id": "p-1", "data": {}, **members})[1:]


def test_a_line_is_its_command_without_the_kind() -> None:
    found = sent('{"kind": "person", ' + rest())
    assert (found.kind, found.id, found.key) == ("person", "c-1", b"p-1")
    assert json.loads(found.value) == {"id": "c-1", "type": "T", "aggregate_id": "p-1", "data": {}}


def test_the_kind_may_stand_anywhere_and_in_the_data_too() -> None:
    line = '{"type": "T", "data": {"kind": "organization"}, "kind": "person", "aggregate_id": "p-1", "id": "c-1"}'
    found = sent(line)
    assert found.kind == "person"
    assert json.loads(found.value)["data"] == {"kind": "organization"}
    assert "kind" not in json.loads(found.value)


@pytest.mark.parametrize("number", ["1.0", "1e400", "18446744073709551616", "-0.0", "1E2", "0.10", "9" * 5_000])
def test_a_number_is_passed_on_as_it_was_written(number: str) -> None:
    members = rest()[:-1] + f', "expected_version": {number}}}'
    assert f'"expected_version": {number}'.encode() in sent('{"kind": "person", ' + members, 9_000).value
    moved = f'{{"data": {{"n": {number}}}, "kind": "person", "id": "c-1", "type": "T", "aggregate_id": "p-1"}}'
    assert f'{{"n": {number}}}'.encode() in sent(moved, 9_000).value


def test_a_line_without_an_id_gets_one() -> None:
    line = '{"kind": "person", "type": "T", "aggregate_id": "p-1", "data": {}}'
    assert (sent(line).id, json.loads(sent(line).value)["id"]) == ("made-id", "made-id")


@pytest.mark.parametrize(
    "line",
    [
        '{"kind": "person", "id": null, "type": "T", "aggregate_id": "p-1", "data": {}}',
        '{"kind": "person", "type": "T", "aggregate_id": "p-1", "data": {"id": "inner"}}',
        '{"type": "T", "aggregate_id": "p-1", "data": {}, "kind": "person"}',
    ],
)
def test_an_id_that_is_null_or_only_inside_the_data_is_no_id(line: str) -> None:
    found = sent(line)
    assert found.id == "made-id"
    assert json.loads(found.value)["data"] == json.loads(line)["data"]


def test_an_escaped_name_is_the_name_that_it_spells() -> None:
    assert sent(r'{"kin\u0064": "person", "\u0069d": "c-9", ' + rest()[len('"id": "c-1", ') :]).id == "c-9"
    twice = '{"kind": "person", ' + rest()[:-1] + r', "kin\u0064": "organization"}'
    assert "given once" in refusal(twice)


def test_a_member_that_is_there_twice_is_left_to_the_worker_to_refuse() -> None:
    found = sent('{"kind": "person", ' + rest()[:-1] + ', "data": {"a": 1}}')
    command = read_command(found.key, found.value, (), LIMIT)
    assert isinstance(command, Command)
    assert [path for path, _ in command.errors] == ["data"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("nonsense", "not JSON"),
        ("[]", "a line is a JSON object"),
        ('"text"', "a line is a JSON object"),
        ("{}", '"kind" must be given'),
        ('{"kind": 3, ' + rest(), '"kind" must be given'),
        ('{"kind": "car", ' + rest(), "there is no kind 'car': there are person, organization"),
        ('{"kind": "person", "kind": "person", ' + rest(), "given once"),
        ('{"kind": "person"}', "no_aggregate_id"),
        ('{"kind": "person", ' + rest(id=7), "no_id"),
        ('{"kind": "person", ' + rest(id=""), "no_id"),
        ('{"kind": "person", ' + rest(aggregate_id=7), "no_aggregate_id"),
        ('{"kind": "person", ' + rest(aggregate_id=" p"), "no_aggregate_id"),
        ('{"kind": "person", ' + rest(data={"text": "x" * LIMIT}), "too_large"),
        ('{"kind": "person", ' + rest()[:-1] + ', "n": NaN}', "not_json"),
        ('{"kind": "person", ' + rest() + " more", "not JSON"),
        ("{" + '"a": [' * 3_000, "not JSON"),
        (b'{"kind": "person", \xff}', "not UTF-8"),
        (b"\xef\xbb\xbf{}", "not JSON"),
        (MANY, "has more than 1,000 members"),
        (MANY[:-1] + b', "deep": ' + DEEP + b"}", "has more than 1,000 members"),
        (b'{"kind": "person", "x": ' + INTRICATE + b"}", "not_json: nests 601 levels"),
        (INTRICATE, "a line is a JSON object"),
        (b"[" + b"1," * 5_000 + b"1]", "a line is a JSON object"),
    ],
)
def test_what_nobody_could_answer_is_refused(line: str | bytes, said: str) -> None:
    assert said in refusal(line)


@pytest.mark.parametrize(
    ("line", "reason"),
    [(b"nonsense", "not_json"), (b'{"x": ' + INTRICATE + b"}", "not_json"), (b"[]", "not_an_object")],
)
def test_the_reason_of_a_refusal_is_that_of_the_dead_letter_that_it_would_be(line: bytes, reason: str) -> None:
    with pytest.raises(NotSendableError) as refused:
        sent(line)
    assert refused.value.reason == reason
    assert read_command(None, line, (), 1_000_000).reason == reason  # type: ignore[union-attr]


def test_members_beyond_those_that_any_command_has_are_not_gone_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Goes red when each of them is: a megabyte of them took seconds, for every command that came with a token."""
    names: list[str] = []
    scanned = sendable._scan

    def scan(text: str, at: int) -> Any:
        names.append(text[at : at + 9])
        return scanned(text, at)

    monkeypatch.setattr(sendable, "_scan", scan)
    assert "has more than 1,000 members" in refusal(MANY)
    assert len(names) < 2_100


@pytest.mark.parametrize("blanks", ["", " ", "\n\t"])
def test_an_id_that_is_null_is_none_whatever_stands_behind_it(blanks: str) -> None:
    line = f'{{"kind": "person", "id": null{blanks}, "type": "T", "aggregate_id": "p-1", "data": {{}}}}'
    assert sent(line).id == "made-id"


def test_a_wrong_command_that_can_be_answered_is_sent() -> None:
    assert sent('{"kind": "person", ' + rest(type=3, data=[], expected_version="3", more=1)).id == "c-1"


def test_a_deep_command_is_left_to_the_worker_to_refuse() -> None:
    deep = "[" * 5_000 + "]" * 5_000
    found = sent('{"kind": "person", ' + rest()[:-1] + f', "x": {deep}}}', 20_000)
    assert isinstance(read_command(found.key, found.value, (), 20_000), Command)


def test_members_are_sent_as_json_and_get_an_id() -> None:
    found = from_members("person", {"type": "T", "aggregate_id": "p-1", "data": {"n": 1.0}}, LIMIT, lambda: "made-id")
    assert (found.id, found.key) == ("made-id", b"p-1")
    assert b'{"n":1.0}' in found.value


@pytest.mark.parametrize("value", [2**64, {1, 2}, "\ud800"])
def test_members_that_have_no_json_are_refused(value: object) -> None:
    with pytest.raises(NotSendableError):
        from_members("person", {"type": "T", "aggregate_id": "p-1", "data": {"n": value}}, LIMIT, lambda: "made-id")


@given(
    data=st.dictionaries(st.text(), st.recursive(st.none() | st.integers() | st.text(), st.lists), max_size=4),
    order=st.permutations(["kind", "id", "type", "aggregate_id", "data"]),
    ascii_only=st.booleans(),
)
def test_any_order_and_any_spelling_is_the_same_command(data: Any, order: list[str], *, ascii_only: bool) -> None:
    members = {"kind": "person", "id": "c-1", "type": "T", "aggregate_id": "p-1", "data": data}
    line = json.dumps({name: members[name] for name in order}, ensure_ascii=ascii_only)
    try:
        line.encode()
    except UnicodeEncodeError:
        return  # a lone surrogate, which no file can hold unescaped
    del members["kind"]
    assert json.loads(sent(line, 1 << 20).value) == members
