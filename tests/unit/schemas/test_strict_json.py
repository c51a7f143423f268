"""The strict parser: what is JSON, what in it cannot be taken, and where."""

import json
from typing import Any

import pytest

from annals.schemas.depth import DEEPEST, nesting
from annals.schemas.wire.strict_json import NotJsonError, join, members_of, parse_strict


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("-0", 0),
        ("9223372036854775808", 2**63),
        ("18446744073709551615", 2**64 - 1),
        ("-9223372036854775808", -(2**63)),
        ("1.0", 1.0),
        ("1e2", 100.0),
        ("1E-400", 0.0),
        ("0.1", 0.1),
        ("9007199254740993.0", 9007199254740992.0),
        ("18446744073709551616.0", 2.0**64),
        ("1e22", 1e22),
        (' \t\n\r"\\u00e9\\ud83d\\ude00\\/" ', "é😀/"),
        ('{"a": {"a": [1, {"a": null}]}}', {"a": {"a": [1, {"a": None}]}}),
        ('{"": [], "b": {}}', {"": [], "b": {}}),
        ("[true, false]", [True, False]),
    ],
)
def test_a_document_without_faults_is_what_it_says(text: str, value: Any) -> None:
    document = parse_strict(text.encode())
    assert (repr(document.value), document.faults) == (repr(value), [])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "Expecting value"),
        (b"\xff", "not UTF-8 at byte 0"),
        (b'"\xed\xa0\x80"', "not UTF-8 at byte 1"),
        (b"\xef\xbb\xbf{}", "not JSON"),
        (b"[NaN]", "NaN is no JSON number"),
        (b"-Infinity", "-Infinity is no JSON number"),
        (b"1 2", "Extra data"),
        (b"{}\x00", "Extra data"),
        (b"\x0c1", "Expecting value"),
        (b"[1,]", "Expecting value"),
        (b'{"a":1,}', "Expecting property name"),
        (b"01", "Extra data"),
        (b".5", "Expecting value"),
        (b"1.", "Extra data"),
        (b"1e", "Extra data"),
        (b"+1", "Expecting value"),
        (b"'a'", "Expecting value"),
        (b'"\t"', "Invalid control character"),
        (b'"\\x41"', "Invalid .*escape"),
        (b'"\\u12g4"', "Invalid .*escape"),
        (b'"a', "Unterminated string"),
        (b"[" * 100, "Expecting value"),
        (b"[" * 100 + b"]" * 99, "Expecting"),
        (b"[" * 100 + b"]" * 101, "Expecting another bracket"),
        (b"[" * 100 + b"]" * 99 + b"}", "Expecting another bracket"),
        (b"[" * 100 + b"]" * 100 + b"x", "Extra data"),
        (b"[" * 100 + b"1 1" + b"]" * 100, "Expecting ','"),
        (b"[" * 100 + b"1,]" + b"]" * 99, "Expecting value"),
        (b"[" * 100 + b"{1:1}" + b"]" * 100, "Expecting property name"),
        (b"[" * 100 + b'{"a" 1}' + b"]" * 100, "Expecting ':'"),
        (b"[" * 100 + b'{"\\u0061" 1}' + b"]" * 100, "Expecting ':'"),
        (b"[" * 100 + b'{"a":]}' + b"]" * 100, "Expecting value"),
        (b"[" * 100 + b'{"a":1]' + b"]" * 100, "Expecting another bracket"),
        (b"[" * 100 + b'{"\\x":1}' + b"]" * 100, "Invalid .*escape"),
        (b"[" * 100 + b'{"\n":1}' + b"]" * 100, "Invalid control character"),
        (b"[" * 100 + b"NaN" + b"]" * 100, "NaN is no JSON number"),
        (b"[" * 100 + b'"\n"' + b"]" * 100, "Invalid control character"),
    ],
)
def test_what_is_not_json_raises_and_says_where(text: bytes, why: str) -> None:
    with pytest.raises(NotJsonError, match=why):
        parse_strict(text)


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("18446744073709551616", [""]),
        ("[1, -9223372036854775809]", ["[1]"]),
        ('{"a": {"b": [0, {"c": 1e400}]}}', ["a.b[1].c"]),
        ('{"a": -0.0, "b": -0e0, "c": -1e-400, "d": 0.0}', ["a", "b", "c"]),
        ('{"a": 1, "b": 2, "a": 3, "b": 4}', ["a", "b"]),
        ('{"a": {"b": 1, "b": 1, "b": 1}}', ["a.b"]),
        ('{"a": "\\ud800", "b": "\\udc00\\ud800", "c": "\\uD83D\\uDE00"}', ["a", "b"]),
        ('{"\\ud800": {"b": -0.0}}', ["\\ud800", "\\ud800.b"]),
        (
            '{"$a": 1, "data": {"$a": {"b": 1, "$": 2}, "c": ["$x", {"$d": 1}]}}',
            ["data.$a", "data.$a.$", "data.c[1].$d"],
        ),
        ('{"other": {"data": {"$a": 1}}, "data": ["$a"]}', []),
        ('{"data": {"\\u0024a": 1}}', ["data.$a"]),
    ],
)
def test_a_fault_is_named_by_its_path(text: str, paths: list[str]) -> None:
    assert [path for path, _ in parse_strict(text.encode()).faults] == paths


def test_when_the_document_is_the_data_its_paths_begin_there() -> None:
    document = parse_strict(b'{"$a": 1, "data": {"b": -0.0}}', is_data=True)
    assert [path for path, _ in document.faults] == ["data.$a", "data.data.b"]


def test_an_integer_of_any_length_is_a_fault_and_never_converted() -> None:
    document = parse_strict(b"[" + b"9" * 1_000_000 + b"]")
    assert [path for path, _ in document.faults] == ["[0]"]


@pytest.mark.parametrize("levels", [1, DEEPEST - 1, DEEPEST])
def test_a_document_may_nest_up_to_the_bound(levels: int) -> None:
    assert parse_strict(b"[" * levels + b"]" * levels).faults == []


def test_the_members_that_nest_too_deep_are_faults_and_the_others_are_read() -> None:
    deep = "[" * DEEPEST + "]" * DEEPEST
    document = parse_strict(f' {{ "a" : 1 , "b": {deep}, "c": {{"d": "}}"}}, "e": {deep} , "f": -0.0 }} '.encode())
    assert {name: document.value[name] for name in "ac"} == {"a": 1, "c": {"d": "}"}}
    assert [path for path, _ in document.faults] == ["b", "e", "f"]


def test_a_member_named_twice_is_found_beside_one_that_nests_too_deep() -> None:
    deep = b"[" * DEEPEST + b"]" * DEEPEST
    assert [path for path, _ in parse_strict(b'{"a": 1, "a": %b}' % deep).faults] == ["a", "a"]


def _deep(opening: bytes, closing: bytes, levels: int) -> bytes:
    return b'{"data": ' + opening * levels + b"1" + closing * levels + b"}"


@pytest.mark.parametrize(
    "text",
    [
        _deep(b"[", b"]", 499_000),
        _deep(b"[ ", b" ]", 240_000),
        _deep(b'{"a":', b"}", 160_000),
        _deep(b'[{"\\n":', b"}]", 100_000),
        _deep(b'{"a\\u0041": [ ', b"\n] }", 50_000),
    ],
    ids=lambda text: text[9:21].decode() + "…",
)
def test_a_megabyte_of_nesting_is_read_without_recursion(text: bytes) -> None:
    assert [path for path, _ in parse_strict(text).faults] == ["data"]


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b"[{", b'["', b'[1,[{"\\n":'])
def test_a_megabyte_of_brackets_that_never_close_is_not_json(opening: bytes) -> None:
    with pytest.raises(NotJsonError):
        parse_strict(opening * (1_000_000 // len(opening)))


@pytest.mark.parametrize(
    "text", [b"[" + b"[]," * 300_000 + b"1]", b'["' + b"[{" * 400_000 + b'"]', b'["' + b'\\"[' * 300_000 + b'"]']
)
def test_many_brackets_that_do_not_nest_are_no_fault(text: bytes) -> None:
    assert parse_strict(text).faults == []


@pytest.mark.parametrize(
    ("text", "levels"),
    [
        (b"1", 0),
        (b"[]", 1),
        (b'[{"a": []}, []]', 3),
        (b'["[[[["]', 1),
        (b'["\\"[[[["]', 1),
        (b'["\\\\", [1], "\\\\\\"[["]', 2),
    ],
)
def test_nesting_is_counted_outside_of_text(text: bytes, levels: int) -> None:
    assert nesting(text) == levels


def test_a_path_is_bounded_and_can_always_be_written() -> None:
    assert join("", "a") == "a"
    assert join("a", "\ud800") == "a.\\ud800"
    assert len(join("a", "x" * 1_000)) == 200


@pytest.mark.parametrize("deep", ["", '"deep": ' + "[" * 70 + "]" * 70 + ", "])
def test_a_member_of_many_values_is_one_step(deep: str) -> None:
    """Goes red when each of them is: a command of a megabyte then takes seconds, and whoever is served beside waits."""
    steps = 0

    def scan(text: str, at: int) -> tuple[Any, int]:
        nonlocal steps
        steps += 1
        return json.JSONDecoder().raw_decode(text, at)

    many = [1] * 5_000
    found = members_of(f'{{{deep}"a": {json.dumps(many)}, "b": 1, "b": 2}}'.encode(), scan)
    assert found is not None
    assert [(name, text) for name, text in found if name == "b"] == [("b", "1"), ("b", "2")]
    assert json.loads(dict(found)["a"]) == many
    assert steps < 1_000


def test_members_that_no_parser_reads_are_no_json() -> None:
    intricate = b'{"deep": ' + b"[" * 600 + b"]" * 600 + b', "a": [' + b",".join([b"{}"] * 5_000) + b"]}"
    with pytest.raises(NotJsonError, match="nests 601 levels, with too many values there to be read"):
        members_of(intricate, json.JSONDecoder().raw_decode)
