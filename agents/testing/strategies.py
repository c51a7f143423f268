"""Hypothesis strategies made from the types: valid values of any member, commands and events of any aggregate.

Ids and texts come mostly from small pools, so that commands meet what earlier ones left behind. Now and then a value is
at an end of its type (`annals.agents.testing.extremes`): what no author thinks of is there.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar, get_args, get_origin

import msgspec
from hypothesis import strategies as st
from msgspec import UNSET, Struct

from annals.agents.testing import extremes
from annals.schemas.data.complaints import complaints
from annals.schemas.values import fields
from annals.schemas.values.constraints import extras, is_union, key_of, marks_of, takes_null, type_hints
from annals.schemas.wire.strict_json import LEAST_INTEGER, MOST_INTEGER

if TYPE_CHECKING:
    from annals.agents.deciding.decider import Decider
    from annals.schemas.messages import Message

S = TypeVar("S", bound=Struct)

MAX_ITEMS: Final = 4
"""Of drawn lists and maps: enough for doubles and order, small enough to be shrunk and read."""

_LETTERS: Final = st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Cn", "Z"))
_DAYS: Final = st.sampled_from(("1815-12-10", "1999-12-31", "2000-02-29", "2025-12-31", "2026-01-01", "2026-01-02"))
_MOMENTS: Final = st.sampled_from(
    ("2025-01-01T00:00:00Z", "2026-01-01T12:00:00Z", "2026-01-01T12:00:00.5Z", "2027-06-30T23:59:60Z")
)


def _pool(annotation: Any, *few: str, rare: st.SearchStrategy[str] | None = None) -> tuple[int, st.SearchStrategy[Any]]:
    """A named type, by its first mark, with the values to draw."""
    mark = id(marks_of(annotation)[1][0])
    texts = extremes.TEXTS[mark]
    # by their places: hypothesis would write each strategy's values into its name
    some, ends = st.sampled_from(few), st.sampled_from(range(len(texts))).map(texts.__getitem__)
    return mark, st.one_of(*[some] * 14, ends, some if rare is None else rare)


_POOLS: Final[dict[int, st.SearchStrategy[Any]]] = dict(
    (
        _pool(fields.Text, "Ada", "Grace", "a b", rare=st.text(_LETTERS, min_size=1, max_size=200)),
        _pool(fields.LongText, "why", "one\n\ttwo", rare=st.text(_LETTERS, min_size=1, max_size=300)),
        _pool(fields.Prompt, "You are", "one\n\ttwo", rare=st.text(_LETTERS, min_size=1, max_size=300)),
        _pool(fields.Slug, "a", "b", rare=st.from_regex(r"[a-z0-9][a-z0-9._-]{0,63}", fullmatch=True)),
        _pool(fields.AggregateId, "p-1", "p-2", "this-one", rare=st.text(_LETTERS, min_size=1, max_size=64)),
        (id(marks_of(fields.Date)[1][0]), st.one_of(_DAYS, st.dates().map(str), st.sampled_from(extremes.DAYS))),
        (id(marks_of(fields.Time)[1][0]), st.one_of(*[_MOMENTS] * 3, st.sampled_from(extremes.MOMENTS))),
        _pool(fields.Email, "ada@example.org", "Ada@Example.org", "grace@example.org"),
        _pool(fields.Phone, "+442071838750", "+12025550123"),
        _pool(fields.Url, "https://example.org", "https://example.org/a?b=c#d"),
        _pool(fields.Language, "en", "en-GB", "EN-gb", "zh-Hant-TW"),
        _pool(fields.License, "MIT", "Apache-2.0", "LicenseRef-ours"),
        _pool(fields.MediaType, "text/plain", "application/pdf"),
        _pool(fields.Lei, "5493001KJTIIGC8Y1R12", "213800WSGIIZCXF1P572"),
        _pool(
            fields.ContentCid,
            "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy",
            "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi",
        ),
    )
)


@cache
def structs(struct: type[S]) -> st.SearchStrategy[S]:
    """Valid values of a message or part; members that need not be given are given half the time."""
    required = {field.name for field in msgspec.structs.fields(struct) if field.required}
    members = {
        name: values(hint) if name in required else st.one_of(st.just(UNSET), values(hint))
        for name, hint in type_hints(struct).items()
    }
    defaults = {f.name: f.default for f in msgspec.structs.fields(struct) if f.default is not msgspec.NODEFAULT}

    def make(drawn: dict[str, Any]) -> S:
        return struct(**{n: defaults.get(n, UNSET) if v is UNSET else v for n, v in drawn.items()})

    built = st.fixed_dictionaries(members).map(make)
    return built.filter(_is_valid) if hasattr(struct, "problems") else built


def values(annotation: Any) -> st.SearchStrategy[Any]:
    """Valid values of a member's type, null included where it is allowed, UNSET never."""
    present = _present_values(annotation)
    return st.one_of(st.none(), present) if takes_null(annotation) else present


def _present_values(annotation: Any) -> st.SearchStrategy[Any]:
    bare, marks = marks_of(annotation)
    for mark in marks:
        if id(mark) in _POOLS:
            return _POOLS[id(mark)]
    for mark in marks:
        if mark.extra_json_schema and "enum" in mark.extra_json_schema:
            return st.sampled_from(mark.extra_json_schema["enum"])
    drawn = _of_shape(annotation, bare)
    if extras(annotation, "check"):
        return drawn.filter(lambda value: all(check(value) is None for check in extras(annotation, "check")))
    return drawn


def _of_shape(annotation: Any, bare: Any) -> st.SearchStrategy[Any]:
    origin = get_origin(bare)
    if isinstance(bare, type) and issubclass(bare, Struct):
        return structs(bare)
    if origin is Literal:
        return st.sampled_from(get_args(bare))
    if is_union(bare):
        return st.one_of([values(arm) for arm in get_args(bare)])
    if origin is list:
        return _lists(annotation, get_args(bare)[0])
    if origin is dict:
        name, entry = get_args(bare)
        entries = _json() if entry is Any else values(entry)
        low, high = _limits(annotation, "min_length", "max_length")
        names = st.sampled_from("abc") if entry is Any else values(name)
        few = st.dictionaries(names, entries, min_size=low or 0, max_size=_most(low, high))
        return few if high is None else st.one_of(*[few] * 15, entries.map(lambda one: extremes.full_map(high, one)))
    return _scalars(annotation, bare)


def _lists(annotation: Any, item: Any) -> st.SearchStrategy[list[Any]]:
    low, high = _limits(annotation, "min_length", "max_length")
    unique = (key_of(item) or (lambda one: one)) if extras(annotation, "set") else None
    few = st.lists(values(item), min_size=low or 0, max_size=_most(low, high), unique_by=unique)
    full = extremes.full_list(item, high)
    return few if full is None else st.one_of(*[few] * 15, st.just(full))


def _most(low: int | None, high: int | None) -> int:
    """The most items to draw: few, but what the type wants."""
    return max(MAX_ITEMS if high is None else min(MAX_ITEMS, high), low or 0)


def _scalars(annotation: Any, bare: Any) -> st.SearchStrategy[Any]:
    low, high = _limits(annotation, "ge", "le")
    if bare is int:
        least, most = LEAST_INTEGER if low is None else low, MOST_INTEGER if high is None else high
        small = st.integers(max(least, 0), min(max(least, 0) + 3, most))
        return st.one_of(small, st.integers(least, most), st.sampled_from((least, most)))
    if bare is float:
        ends = [
            number for number in extremes.FLOATS if (low is None or number >= low) and (high is None or number <= high)
        ]
        numbers = st.floats(low, high, allow_nan=False, allow_infinity=False) | st.sampled_from(ends)
        return numbers.filter(lambda number: str(number) != "-0.0")
    if bare is bool:
        return st.booleans()
    patterns = [mark.pattern for mark in marks_of(annotation)[1] if mark.pattern]
    if bare is str and patterns:
        low, high = _limits(annotation, "min_length", "max_length")
        drawn = st.from_regex(patterns[0])
        return drawn.filter(lambda text: not list(complaints(annotation, text, "")))
    if bare is str:
        return st.sampled_from(("Ada", "Grace")) | st.text(_LETTERS, min_size=1, max_size=64)
    raise TypeError(f"no strategy for {annotation}: give its values to strategies.structs' caller")


def _json() -> st.SearchStrategy[Any]:
    leaf = st.one_of(
        st.none() | st.booleans() | st.integers(LEAST_INTEGER, MOST_INTEGER),
        st.sampled_from(("", "x", 0.5, 1.0)),
        st.sampled_from((LEAST_INTEGER, MOST_INTEGER, *extremes.FLOATS, *extremes.FREE_TEXTS)),
    )
    return st.recursive(
        leaf,
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("xyz"), inner, max_size=2),
        max_leaves=4,
    )


def _limits(annotation: Any, low: str, high: str) -> tuple[Any, Any]:
    marks = marks_of(annotation)[1]
    lows = [value for mark in marks if (value := getattr(mark, low)) is not None]
    highs = [value for mark in marks if (value := getattr(mark, high)) is not None]
    return max(lows, default=None), min(highs, default=None)


def _is_valid(value: Any) -> bool:
    return not list(complaints(type(value), msgspec.to_builtins(value), ""))


def commands(decider: Decider[Any]) -> st.SearchStrategy[Message]:
    """Any valid command of the aggregate."""
    return st.one_of([structs(command) for command in decider.commands.values()])


def events(decider: Decider[Any]) -> st.SearchStrategy[Message]:
    """Any event of the aggregate, whether or not it could follow."""
    return st.one_of([structs(spec.type) for spec in decider.events.values()])
