"""Members of events' data that a subscription asks for, and that no event of these schemas has.

Where a new version of an event renames a member, an expression that asks for the former one fails from then on, which
is counted, or does not even fail (`has(data.name)`); a key falls back to the aggregate's id. Nothing else tells of it.
"""

from __future__ import annotations

import re
from ast import literal_eval
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import fields

from annals.agents.publishing.administration import kinds_of
from annals.schemas.outcome import MOST_ERRORS
from annals.schemas.subscription import AGGREGATE_ID, NEWEST
from annals.schemas.subscription_filters import expressions
from annals.schemas.suggestion import meant

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from msgspec import Struct

    from annals.agents.deciding.decider import Decider, EventSpec
    from annals.schemas.data.complaints import Problem
    from annals.schemas.subscription import Definition

WHAT: Final = "no event that it may want has a member {!r} in the version that it gets"
FAILS: Final = "ask for another one, or pin the version that has it"
FALLS_BACK: Final = "the aggregate's id is the key instead; ask for another one, or pin the version that has it"
_TEXT: Final = r"""[rRbB]{0,2}(?:'''(?:\\.|[^\\])*?'''|\"{3}(?:\\.|[^\\])*?\"{3}|'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*")"""
_ASKED: Final = re.compile(
    rf"""(?<!\w)data\s*\.\s*(?P<member>[A-Za-z_]\w*)\b(?!\s*\() | (?<!\w)data\s*\[\s*(?P<text>{_TEXT})\s*\]
    | \.\s*data\b | {_TEXT} | //[^\n]*""",
    re.VERBOSE | re.DOTALL,
)
_OWN_DATA: Final = re.compile(r"\(\s*data\s*,")  # the variable of a macro, as in `list.all(data, …)`


def member_problems(definition: Definition, deciders: Mapping[str, Decider[Any]]) -> list[Problem]:
    """Return which members it asks for that no event has which it may want, in the version that it gets; not very many.

    Nothing where it wants a kind, type or version that this release does not have: nobody knows the members of that.
    """
    asked = [(path, member, FAILS) for path, text in expressions(definition.filters) for member in _asked(text)]
    if definition.key != AGGREGATE_ID:
        asked.append(("key", definition.key.removeprefix("data."), FALLS_BACK))
    if not asked or not set(definition.kinds) <= deciders.keys():
        return []
    events = [item for kind in kinds_of(definition, deciders) for item in deciders[kind].events.items()]
    wanted = [(name, spec) for name, spec in events if name in definition.types or not definition.types]
    pinned = {} if definition.schema_version == NEWEST else definition.schema_version
    if not {name for name, _ in wanted} >= set(definition.types) or any(
        pinned.get(name, 1) > spec.schema_version for name, spec in wanted
    ):
        return []
    known = {member for name, spec in wanted for member in _members(definition, name, spec)}
    missing = [each for each in asked if each[1] not in known]
    return [(path, f"{WHAT.format(member)}: {so}.{meant(member, known)}") for path, member, so in missing[:MOST_ERRORS]]


def _members(definition: Definition, name: str, spec: EventSpec) -> Iterator[str]:
    """Yield the members of a type: as it was recorded, of any version; else of the version that is asked for."""
    versions = [*(step.older for step in spec.upcasters), spec.type]
    if definition.payload != "block":
        newest = spec.schema_version
        pinned = newest if definition.schema_version == NEWEST else definition.schema_version.get(name, newest)
        versions = versions[pinned - 1 : pinned]
    for version in versions:
        yield from _names(version)


@cache
def _names(version: type[Struct]) -> frozenset[str]:
    return frozenset(field.encode_name for field in fields(version))


def _asked(text: str) -> Iterator[str]:
    """Yield the members of `data` that an expression asks for, each once, as far as its text says."""
    if _OWN_DATA.search(text):
        return
    found = (match["member"] or _literal(match["text"]) for match in _ASKED.finditer(text))
    yield from dict.fromkeys(member for member in found if member)


def _literal(text: str | None) -> str:
    """Return the value of a string of CEL, which Python reads the same; empty where it does not."""
    try:
        return str(literal_eval(text or "''"))
    except (SyntaxError, ValueError):
        return ""
