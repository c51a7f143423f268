"""How two JSON Schemas differ: what the newer one takes no longer (narrower), and what it takes in addition (wider).

It knows the keywords that this project's schemas use; another one that differs, and two patterns that differ, count as
both. So does a default that differs: what a message leaves out means something else. A personal mark that is gone is
narrower: who reads by the newer schema no longer knows what to protect. Titles and descriptions are no rules.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from annals.schemas.json_schemas.json_schema import Schema

DEFAULT, PERSONAL = "default", "x-personal"
NOTES: Final = frozenset({"$schema", "$id", "$defs", "title", "description", DEFAULT, "examples", PERSONAL})
LOWER: Final = frozenset({"minimum", "minLength", "minItems", "minProperties"})
UPPER: Final = frozenset({"maximum", "maxLength", "maxItems", "maxProperties", "x-max-dag-cbor-bytes"})
CONDITIONAL: Final = frozenset({"then", "else"})
NESTED: Final = frozenset({"items", "additionalProperties", "propertyNames"})
Seen = frozenset[str]


class Difference(NamedTuple):
    """One difference: where, what, and in which directions."""

    path: str
    what: str
    is_narrower: bool = False
    is_wider: bool = False


def differences(old: Schema, new: Schema) -> list[Difference]:
    """Every difference that is a rule, in the order of the members."""
    return [*_notes(old, new, old, new, "data"), *_compare(old, new, old, new, "data", frozenset())]


def _notes(old: Any, new: Any, all_old: Schema, all_new: Schema, path: str) -> Iterator[Difference]:
    """What differs of a default and of the mark of personal data, which are no part of what is taken."""
    before, after = _note(DEFAULT, old, all_old), _note(DEFAULT, new, all_new)
    if before != after:
        yield Difference(path, f"default {_said(before)} → {_said(after)}", is_narrower=True, is_wider=True)
    before, after = _note(PERSONAL, old, all_old), _note(PERSONAL, new, all_new)
    if before != after:
        what = "marked as personal" if after else "no longer marked as personal"
        yield Difference(path, what, is_narrower=bool(before) and not after)


def _note(word: str, schema: Any, whole: Schema) -> Any:
    """What a schema says of itself: beside a reference, behind it, or in one of its alternatives."""
    resolved = _resolved(schema, whole)
    if not isinstance(resolved, dict):
        return None
    if word in resolved:
        return resolved[word]
    found = (_note(word, arm, whole) for arm in resolved.get("anyOf", ()))
    return next((each for each in found if each is not None), None)


def _compare(old: Any, new: Any, all_old: Schema, all_new: Schema, path: str, seen: Seen) -> Iterator[Difference]:
    names = {each["$ref"] for each in (old, new) if isinstance(each, dict) and "$ref" in each}
    if names and names <= seen:
        return  # free JSON refers to itself
    before, after = old, new
    old, new = _resolved(old, all_old), _resolved(new, all_new)
    if old == new and (all_old.get("$defs") == all_new.get("$defs")):
        return
    if not isinstance(old, dict) or not isinstance(new, dict):
        yield from _open_or_closed(old, new, path)
        return
    if _is_union(old) != _is_union(new):
        # The reference itself is the one alternative: what it stands for is compared with the arm that it pairs with.
        olds, news = old["anyOf"] if _is_union(old) else [before], new["anyOf"] if _is_union(new) else [after]
        yield from _arms(olds, news, all_old, all_new, path, seen)
        return
    seen |= names
    yield from _members(old, new, all_old, all_new, path, seen)
    for word in sorted((old.keys() | new.keys()) - NOTES - {"properties", "required"}):
        before, after = old.get(word), new.get(word)
        if word in NESTED:
            here = f"{path}{_STEP[word]}"
            if before is not None and after is not None:
                yield from _notes(before, after, all_old, all_new, here)
            yield from _compare(old.get(word, True), new.get(word, True), all_old, all_new, here, seen)
        elif word == "anyOf" and before and after:
            yield from _arms(before, after, all_old, all_new, path, seen)
        elif word in CONDITIONAL and before and after:
            yield from _compare(_whole(old, before), _whole(new, after), all_old, all_new, f"{path} ({word})", seen)
        elif before != after:
            yield _rule(word, before, after, path)


_STEP: Final = {"items": "[]", "additionalProperties": ".*", "propertyNames": " (names)"}


def _resolved(schema: Any, whole: Schema) -> Any:
    """What a reference stands for, with the words beside it."""
    if isinstance(schema, dict) and "$ref" in schema:
        target = whole["$defs"][schema["$ref"].removeprefix("#/$defs/")]
        return target | {word: value for word, value in schema.items() if word != "$ref"}
    return schema


def _whole(schema: Schema, conditional: Schema) -> Schema:
    """What a conditional part says of members, with what is said of them anyway."""
    always = schema.get("properties", {})
    return {"properties": {name: always.get(name, {}) | said for name, said in conditional["properties"].items()}}


def _open_or_closed(old: Any, new: Any, path: str) -> Iterator[Difference]:
    """`true` or nothing takes all, `false` none; a schema some."""
    if old == new:
        return
    if new is False or old is True:
        yield Difference(path, "no longer takes any member", is_narrower=True)
    else:
        yield Difference(path, "takes more members", is_wider=True)


def _members(old: Schema, new: Schema, all_old: Schema, all_new: Schema, path: str, seen: Seen) -> Iterator[Difference]:
    before, after = old.get("properties", {}), new.get("properties", {})
    needed_before, needed_after = set(old.get("required", ())), set(new.get("required", ()))
    for name in [*before, *(name for name in after if name not in before)]:
        here = f"{path}.{name}"
        if name not in after:
            yield Difference(here, "member removed", is_narrower=True, is_wider=name in needed_before)
        elif name not in before:
            needed = name in needed_after
            what = "required member added" if needed else "optional member added"
            yield Difference(here, what, is_narrower=needed, is_wider=True)
        else:
            if (name in needed_before) != (name in needed_after):
                needed = name in needed_after
                what = "became required" if needed else "became optional"
                yield Difference(here, what, is_narrower=needed, is_wider=not needed)
            yield from _notes(before[name], after[name], all_old, all_new, here)
            yield from _compare(before[name], after[name], all_old, all_new, here, seen)


def _is_union(schema: Schema) -> bool:
    """Whether it says nothing but alternatives: what `T | None` is, and `T` is not."""
    return schema.keys() - NOTES == {"anyOf"}


def _rules(arm: Any) -> Any:
    return {word: value for word, value in arm.items() if word not in NOTES} if isinstance(arm, dict) else arm


def _one_type_each(arm: Any) -> list[Any]:
    """An alternative of several types as one for each."""
    if isinstance(arm, dict) and arm.keys() - NOTES == {"type"} and isinstance(arm["type"], list):
        return [{"type": type_} for type_ in arm["type"]]
    return [arm]


def _arms(
    before: list[Any], after: list[Any], all_old: Schema, all_new: Schema, path: str, seen: Seen
) -> Iterator[Difference]:
    """Alternatives: those that are gone, those that came, and those that changed, in their order."""
    olds, news = ([_rules(arm) for each in arms for arm in _one_type_each(each)] for arms in (before, after))
    gone = [arm for arm in olds if arm not in news]
    come = [arm for arm in news if arm not in olds]
    pairs = [*zip(gone, come, strict=False), *((arm, arm) for arm in olds if arm in news)]
    for one, other in pairs:
        yield from _compare(one, other, all_old, all_new, path, seen)
    if len(gone) > len(come):
        yield Difference(path, "an alternative is gone", is_narrower=True)
    if len(come) > len(gone):
        yield Difference(path, "an alternative was added", is_wider=True)


def _rule(word: str, before: Any, after: Any, path: str) -> Difference:
    if word in {"type", "enum"}:
        return _choice(word, before, after, path)
    what = f"{word} {_said(before)} → {_said(after)}"
    if before is None or after is None:
        return Difference(path, what, is_narrower=before is None, is_wider=after is None)
    if word in LOWER | UPPER:
        is_tighter = (after > before) == (word in LOWER)
        return Difference(path, what, is_narrower=is_tighter, is_wider=not is_tighter)
    return Difference(path, what, is_narrower=True, is_wider=True)


def _choice(word: str, before: Any, after: Any, path: str) -> Difference:
    """A type or a list of codes: values that are gone and values that came. An integer is a number too."""
    if before is None or after is None:
        what = f"{word} {_said(before)} → {_said(after)}"
        return Difference(path, what, is_narrower=before is None, is_wider=after is None)
    olds, news = _values(before), _values(after)
    gone, come = sorted(map(str, olds - news)), sorted(map(str, news - olds))
    parts = [f"without {', '.join(gone)}"] * bool(gone) + [f"with {', '.join(come)}"] * bool(come)
    return Difference(path, f"{word} {' and '.join(parts)}", is_narrower=bool(gone), is_wider=bool(come))


def _values(said: Any) -> set[Any]:
    values = set(said) if isinstance(said, list) else {said}
    return values | {"integer"} if "number" in values else values


def _said(value: Any) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= 40 else f"{text[:40]}…"
