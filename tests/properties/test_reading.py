"""The fast way of reading a command says nothing that the strict one does not say, and the strict one is exact."""

import json
from dataclasses import dataclass, field
from typing import Any, Never

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annals.schemas.depth import nesting
from annals.schemas.envelope import Command
from annals.schemas.wire import strict_json
from annals.schemas.wire.deep_json import take_apart
from annals.schemas.wire.reading import _read_strictly, _read_surely, read_command, read_commands
from annals.schemas.wire.strict_json import Document, NotJsonError, members_of, parse_strict
from json_texts import VALUES, broken, commands

NO_TRACE = (None, None, None)
IDS = st.text(st.characters(categories=["L", "N", "P"], exclude_characters='"$'), min_size=1, max_size=20)
DATA = st.dictionaries(IDS, st.integers(-(2**63), 2**64 - 1) | IDS | st.floats(0.5, 1e15) | st.lists(IDS, max_size=3))


def _refuse(constant: str) -> Never:
    raise json.JSONDecodeError(f"{constant} is no number", constant, 0)  # as of all that is no JSON


# The grammar alone: numbers stay text, so that none is out of range.
GRAMMAR = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=_refuse)


def _is_json(text: str) -> bool:
    try:
        GRAMMAR.decode(text)
    except ValueError:
        return False
    return True


@settings(max_examples=300)
@given(commands() | broken(commands()))
def test_the_fast_path_reads_what_the_strict_path_reads_or_nothing(text: str) -> None:
    value = text.encode()
    surely = _read_surely(value, NO_TRACE)
    if surely is not None:
        strictly = _read_strictly(value, NO_TRACE)
        assert repr(surely) == repr(strictly)
        assert isinstance(strictly, Command)
        assert strictly.errors == ()


@settings(max_examples=300)
@given(commands() | broken(commands()))
def test_a_document_of_very_many_values_is_judged_as_one_of_few(text: str) -> None:
    value = text.encode()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(strict_json, "MOST_VALUES", -1)
        patched.setattr(strict_json, "MOST_STEPS", -1)
        many = _document(value)
    few = _document(value)
    if few is None or many is None:
        assert few is many is None
    elif few.faults:
        assert many.faults
        assert {path.split(".")[0].split("[")[0] for path, _ in many.faults} <= {"data", *_names(few)}
    else:
        assert repr(many) == repr(few)


def _document(value: bytes) -> Document | None:
    try:
        return parse_strict(value)
    except NotJsonError:
        return None


def _names(document: Document) -> set[str]:
    return {path.split(".")[0].split("[")[0] for path, _ in document.faults}


@given(IDS, IDS, DATA)
def test_the_fast_path_reads_every_ordinary_command(command_id: str, aggregate_id: str, data: dict[str, Any]) -> None:
    members = {"id": command_id, "type": "T", "aggregate_id": aggregate_id, "data": data, "actor": None}
    for value in (json.dumps(members), json.dumps(members, ensure_ascii=False, separators=(",", ":"))):
        command = _read_surely(value.encode(), NO_TRACE)
        assert command is not None
        assert repr(command.data) == repr(data)
        assert (command.id, command.aggregate_id) == (command_id, aggregate_id)


@dataclass
class Produced:
    """What is read of a record."""

    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]] = field(default_factory=list)


RECORDS = st.builds(
    Produced,
    st.none() | st.just(b"p-1") | st.binary(max_size=3),
    st.none() | (commands() | broken(commands())).map(str.encode) | st.binary(max_size=20),
    st.lists(st.sampled_from((("traceparent", b"no"), ("ce_specversion", b"1.0"), ("x", None))), max_size=1),
)


@settings(max_examples=300)
@given(st.lists(RECORDS, max_size=5), st.sampled_from((60, 1_000)))
def test_many_records_together_are_read_as_each_by_itself(records: list[Produced], limit: int) -> None:
    apart = [read_command(record.key, record.value, record.headers, limit) for record in records]
    assert repr(read_commands(records, limit)) == repr(apart)


@settings(max_examples=300)
@given(st.lists(commands() | broken(commands()), max_size=4))
def test_one_that_is_not_as_it_was_sent_is_found_among_many(texts: list[str]) -> None:
    records = [Produced(None, text.encode()) for text in texts]
    apart = [read_command(None, text.encode(), [], 1_000) for text in texts]
    assert repr(read_commands(records, 1_000)) == repr(apart)


@given(st.lists(st.builds(dict, id=IDS, aggregate_id=IDS, data=DATA), min_size=1, max_size=5))
def test_many_ordinary_commands_are_read_as_each_by_itself(said: list[dict[str, Any]]) -> None:
    records = [Produced(each["aggregate_id"].encode(), json.dumps({"type": "T", **each}).encode()) for each in said]
    apart = [read_command(record.key, record.value, record.headers, 1_000) for record in records]
    assert repr(read_commands(records, 1_000)) == repr(apart)


@settings(max_examples=200)
@given(VALUES | broken(VALUES))
def test_the_strict_parser_takes_exactly_what_is_json(text: str) -> None:
    if not _is_json(text):
        with pytest.raises(NotJsonError):
            parse_strict(text.encode())
        return
    document = parse_strict(text.encode())
    if not document.faults:
        assert repr(document.value) == repr(json.loads(text))


@settings(max_examples=200)
@given(VALUES | broken(VALUES))
def test_the_reader_without_recursion_agrees_with_the_one_that_recurses(text: str) -> None:
    if not _is_json(text):
        with pytest.raises(ValueError, match=r"."):
            take_apart(text, GRAMMAR.raw_decode)
        with pytest.raises(NotJsonError):
            members_of(text.encode(), GRAMMAR.raw_decode)
        return
    members = take_apart(text, GRAMMAR.raw_decode)
    whole = GRAMMAR.decode(text)
    assert (members is None) == (not isinstance(whole, dict))
    if members is not None:
        assert {member.name: GRAMMAR.decode(member.text) for member in members} == whole
        assert [member.levels for member in members] == [1 + nesting(member.text.encode()) for member in members]
        assert members_of(text.encode(), GRAMMAR.raw_decode) == [member[:2] for member in members]


@given(st.binary(max_size=100) | broken(commands()).map(str.encode))
def test_whatever_comes_is_a_command_or_a_dead_letter_whose_text_can_be_written(value: bytes) -> None:
    read = read_command(None, value, [], 1000)
    if isinstance(read, Command):
        json.dumps([read.id, read.aggregate_id, read.errors]).encode()
        "".join(path + message for path, message in read.errors).encode()
    else:
        assert len(read.message.encode()) <= 500
