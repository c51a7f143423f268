"""From a command's data to its type: fast when all is well, and when not, naming the members that offend.

The fast way is `msgspec.convert` plus the rules that msgspec does not know (`annals.schemas.data.predicates`). The slow
way (`annals.schemas.data.complaints`) is gone only when the fast one says no, and ends when enough is found.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec
from msgspec import Struct

from annals.schemas.data.complaints import complaints
from annals.schemas.data.predicates import breaks_rule, exceeds_bound
from annals.schemas.outcome import MOST_FOUND

if TYPE_CHECKING:
    from annals.schemas.data.complaints import Problem

T = TypeVar("T", bound=Struct)


class Validator(Generic[T]):
    """Parses data into one struct type.

    A struct may have a method `problems()` that yields (member, message) for rules over several of its members; it is
    asked when every member is well by itself. The member may be a path inside (`parameters.question`).
    """

    __slots__ = ("_breaks", "_exceeds", "_type")

    def __init__(self, struct: type[T]) -> None:
        self._type = struct
        self._breaks = breaks_rule(struct)
        self._exceeds = exceeds_bound(struct)

    def parse(self, data: dict[str, Any], path: str = "data") -> T | list[Problem]:
        """The typed value, or the first `MOST_FOUND` members that offend.

        One offends that is unknown, missing, of the wrong type or against a rule.
        """
        if self._exceeds is None or not self._exceeds(data):
            try:
                value = msgspec.convert(data, self._type)
            except msgspec.ValidationError:
                pass
            else:
                if self._breaks is None or not self._breaks(value):
                    return value
        return list(islice(complaints(self._type, data, path), MOST_FOUND))
