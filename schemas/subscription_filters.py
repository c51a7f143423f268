"""Filters of a subscription: the dialects of the CloudEvents Subscriptions API, and `cel`.

Source: https://github.com/cloudevents/spec/blob/main/subscriptions/spec.md (3.2.4, Filters).
"""

from __future__ import annotations

import re
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from annals.schemas.data.complaints import Problem

ATTRIBUTES: Final = ("exact", "prefix", "suffix")
LISTS: Final = ("all", "any")
NOT: Final = "not"
CEL: Final = "cel"
DIALECTS: Final = (*ATTRIBUTES, *LISTS, NOT, CEL)

DEEPEST: Final = 8
MOST_FILTERS: Final = 100
LONGEST_EXPRESSION: Final = 2_000
MOST_ATTRIBUTES: Final = 20
LONGEST_VALUE: Final = 1_024
_ATTRIBUTE: Final = re.compile(r"[a-z0-9]{1,40}", re.ASCII)  # as CloudEvents names them: without ce_


def filter_problems(filters: list[Any]) -> Iterator[Problem]:
    """Yield what is wrong with the shape of filters."""
    if sum(1 for _ in islice(_all(filters, 1), MOST_FILTERS + 1)) > MOST_FILTERS:
        yield "filters", f"must be at most {MOST_FILTERS} filters in all"
        return
    for at, each in enumerate(filters):
        yield from _problems(each, f"filters[{at}]", 1)


def expressions(filters: list[Any], path: str = "filters") -> Iterator[tuple[str, str]]:
    """Yield the CEL expressions of filters that are well formed, each with its path."""
    for at, each in enumerate(filters):
        ((dialect, value),) = each.items()
        where = f"{path}[{at}].{dialect}"
        if dialect == CEL:
            yield where, value
        elif dialect == NOT:
            yield from ((found.replace(f"{where}[0]", where, 1), text) for found, text in expressions([value], where))
        elif dialect in LISTS:
            yield from expressions(value, where)


def _all(filters: Any, depth: int) -> Iterator[Any]:
    """Yield filters and those inside of them, no deeper than they may be."""
    for each in filters if isinstance(filters, list) else ():
        yield each
        if isinstance(each, dict) and depth <= DEEPEST:
            for dialect, value in each.items():
                if dialect in LISTS:
                    yield from _all(value, depth + 1)
                elif dialect == NOT:
                    yield from _all([value], depth + 1)


def _problems(value: Any, path: str, depth: int) -> Iterator[Problem]:
    if depth > DEEPEST:
        yield path, f"filters are nested at most {DEEPEST} deep"
    elif not isinstance(value, dict) or len(value) != 1:
        yield path, f"must be an object of one member: {', '.join(DIALECTS)}"
    else:
        ((dialect, inner),) = value.items()
        yield from _of_dialect(dialect, inner, f"{path}.{dialect}"[:200], depth)


def _of_dialect(dialect: str, inner: Any, path: str, depth: int) -> Iterator[Problem]:
    if dialect in ATTRIBUTES:
        yield from _attribute_problems(inner, path)
    elif dialect in LISTS:
        if not isinstance(inner, list) or not inner:
            yield path, "must be a list of at least one filter"
            return
        for at, each in enumerate(inner):
            yield from _problems(each, f"{path}[{at}]", depth + 1)
    elif dialect == NOT:
        yield from _problems(inner, path, depth + 1)
    elif dialect == CEL:
        if not isinstance(inner, str) or not 0 < len(inner) <= LONGEST_EXPRESSION:
            yield path, f"must be an expression of at most {LONGEST_EXPRESSION:,} characters"
    else:
        yield path, f"is no dialect; there are {', '.join(DIALECTS)}"


def _attribute_problems(inner: Any, path: str) -> Iterator[Problem]:
    if not isinstance(inner, dict) or not 0 < len(inner) <= MOST_ATTRIBUTES:
        yield path, f"must be an object of 1 to {MOST_ATTRIBUTES} attributes"
        return
    for name, value in inner.items():
        if not _ATTRIBUTE.fullmatch(name):
            yield f"{path}.{name[:40]}", "is no attribute of a CloudEvent: a-z and 0-9, without ce_"
        elif not isinstance(value, str) or not 0 < len(value) <= LONGEST_VALUE:
            yield f"{path}.{name}", f"must be text of 1 to {LONGEST_VALUE:,} characters"
