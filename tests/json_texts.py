"""Strategies for JSON as it may be spelled: white space, escapes, doubled members, numbers of all forms, and broken."""

import json

from hypothesis import strategies as st

Texts = st.SearchStrategy[str]

SPACE = st.sampled_from(["", "", "", " ", "\n", "\t\r "])
EDGES = (
    "0 1 -1 1.5 -0 -0.0 0.0 -0e5 1e400 -1e400 1e-400 -1e-400 1E+2 1.0 100000000000000000000.5 0.1000000000000000055",
    "9223372036854775808 18446744073709551615 18446744073709551616 -9223372036854775808 -9223372036854775809",
)
NUMBERS = st.integers(-(2**65), 2**65).map(str) | st.sampled_from(" ".join(EDGES).split())
PLAIN = st.text(st.characters(exclude_characters='"\\', exclude_categories=["Cs", "Cc"]), max_size=5)
ODD = st.sampled_from(
    [
        "\\n",
        '\\"',
        "\\\\",
        "\\u0022",
        "\\u0024",
        "$",
        "\\u00e9",
        "\\ud83d\\ude00",
        "\\ud800",
        "\\uDC00",
        "\x7f",
        "\ufdd0",
    ]
)
STRINGS = st.lists(PLAIN | ODD, max_size=3).map(lambda parts: '"' + "".join(parts) + '"')
NAMES = st.sampled_from(['"a"', '"b"', '"c"', '"d"', '"e"', '"$a"']) | STRINGS
SCALARS = NUMBERS | STRINGS | st.sampled_from(["null", "true", "false"])


@st.composite
def _joined(draw: st.DrawFn, items: list[str], opening: str, closing: str) -> str:
    return opening + ",".join([draw(SPACE) + item + draw(SPACE) for item in items] or [draw(SPACE)]) + closing


def objects(values: Texts) -> Texts:
    """Objects of these values; a name may come twice."""
    members = st.tuples(NAMES, SPACE, values).map(lambda member: f"{member[0]}{member[1]}:{member[2]}")
    return st.lists(members, max_size=4).flatmap(lambda items: _joined(items, "{", "}"))


def _containers(inner: Texts) -> Texts:
    return st.lists(inner, max_size=4).flatmap(lambda items: _joined(items, "[", "]")) | objects(inner)


VALUES = st.recursive(SCALARS, _containers, max_leaves=8)


@st.composite
def commands(draw: st.DrawFn) -> str:
    """Texts of commands: most of them whole, some with members of odd types, missing, doubled, unknown."""
    ids = PLAIN.map(lambda text: f'"i{text}d"')
    texts: dict[str, Texts] = {
        "id": ids,
        "type": st.just('"RegisterPerson"'),
        "aggregate_id": ids,
        "data": objects(VALUES),
        "expected_version": st.sampled_from(['"any"', '"exists"', "0", "3", "null"]),
        "expected_head": st.sampled_from(["null", json.dumps("bafyr4i" + "a" * 52)]),
        "correlation_id": ids | st.just("null"),
        "causation_id": ids | st.just("null"),
        "actor": ids | st.just("null"),
        "issued_at": st.sampled_from(['"2026-11-21T09:30:00Z"', "null"]),
        "unknown": SCALARS,
    }
    chosen = ["id", "type", "aggregate_id", "data", *draw(st.sets(st.sampled_from(list(texts)[4:-1]), max_size=3))]
    odd = draw(st.integers(0, 15))
    if odd == 0:
        chosen.remove(draw(st.sampled_from(chosen)))
    elif odd == 1:
        chosen.append(draw(st.sampled_from(list(texts))))
    elif odd == 2:
        name = draw(st.sampled_from(chosen))
        texts[name] = SCALARS | st.sampled_from(
            [
                '""',
                '" x"',
                '"x "',
                '"a\\u0000"',
                '"\ufffe"',
                f'"{"x" * 257}"',
                "3.0",
                "-1",
                '"3"',
                '"2026-02-30T00:00:00Z"',
            ]
        )
    members = [f'"{name}"{draw(SPACE)}:{draw(SPACE)}{draw(texts[name])}' for name in chosen]
    return draw(_joined(draw(st.permutations(members)), "{", "}"))


@st.composite
def broken(draw: st.DrawFn, texts: Texts) -> str:
    """A text with a piece taken out, put in, or put in the place of another."""
    text = draw(texts)
    at = draw(st.integers(0, len(text)))
    end = at + draw(st.integers(0, 3))
    return (
        text[:at]
        + draw(st.sampled_from(["", "{", "}", "[", "]", ",", ":", '"', "\\", "1", "NaN", "\x00"]))
        + text[end:]
    )
