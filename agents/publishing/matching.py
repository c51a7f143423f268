"""Whether a subscription wants an event: kinds, types and filters, compiled once.

A filter holds, does not hold, or fails: an expression in it asks for what the event does not have. `not`, `all` and
`any` treat a failure as an unknown value (Kleene's three-valued logic, as CEL's own `!`, `&&` and `||` do). An event
matches where all filters hold.
"""

from __future__ import annotations

from time import thread_time
from typing import TYPE_CHECKING, Any, Final

from annals.agents.publishing.cel import Expression, ExpressionError
from annals.schemas.outcome import MOST_ERRORS
from annals.schemas.subscription_filters import CEL, NOT, expressions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from annals.schemas.subscription import Definition

    Attributes = Mapping[str, str]
    Data = Mapping[str, Any]
    Test = Callable[[Attributes, Data], bool | None]

UNKNOWN_S: Final = 0.0005  # what an expression is taken to need before any event: most need a fiftieth
FADES: Final = 0.9  # with each event: what took long once, as the first evaluation does, is not held against it


def expression_problems(definition: Definition) -> list[tuple[str, str]]:
    """Return what is wrong with the expressions of a definition, of the first MOST_ERRORS: path, message."""
    wrong: list[tuple[str, str]] = []
    for path, text in expressions(definition.filters):
        try:
            Expression(text)
        except ExpressionError as error:
            wrong.append((path, str(error)))
            if len(wrong) == MOST_ERRORS:
                break
    return wrong


class Matcher:
    """The filters of a definition.

    expressions: its CEL expressions, which count their failures. took_s: how long they took on one of the last events
    at most, in seconds of the processor.
    """

    def __init__(self, definition: Definition) -> None:
        """Compile the filters.

        Raises:
            ExpressionError: an expression cannot be used here.
        """
        self.expressions: list[Expression] = []
        self._types = frozenset(definition.types)
        self._tests = [self._test(each) for each in definition.filters]
        self.took_s = UNKNOWN_S * len(self.expressions)

    def wants_type(self, type_name: str) -> bool:
        """Whether events of a type may be wanted at all: asked first, it spares the rest."""
        return not self._types or type_name in self._types

    @property
    def has_filters(self) -> bool:
        """Whether there is more to ask than the type."""
        return bool(self._tests)

    def matches(self, attributes: Attributes, data: Data) -> bool:
        """Whether all filters hold; one that fails does not. See `Expression.matches`."""
        if not self.expressions:
            return all(test(attributes, data) for test in self._tests)
        began = thread_time()
        holds = all(test(attributes, data) for test in self._tests)
        self.took_s = max(thread_time() - began, FADES * self.took_s)
        return holds

    def _test(self, given: Mapping[str, Any]) -> Test:
        ((dialect, inner),) = given.items()
        if dialect == CEL:
            expression = Expression(inner)
            self.expressions.append(expression)
            return expression.matches
        if dialect == NOT:
            return _negated(self._test(inner))
        if dialect in _DECIDED_BY:
            return _quantified([self._test(each) for each in inner], decided_by=_DECIDED_BY[dialect])
        return _attributes(_COMPARISONS[dialect], inner)


_DECIDED_BY: dict[str, bool] = {"all": False, "any": True}
"""The answer of one inner filter that decides for all of them, whatever the others say."""
_COMPARISONS: dict[str, Callable[[str, str], bool]] = {
    "exact": str.__eq__,
    "prefix": str.startswith,
    "suffix": str.endswith,
}


def _negated(test: Test) -> Test:
    def negated(attributes: Attributes, data: Data) -> bool | None:
        holds = test(attributes, data)
        return None if holds is None else not holds

    return negated


def _quantified(tests: Sequence[Test], *, decided_by: bool) -> Test:
    def quantified(attributes: Attributes, data: Data) -> bool | None:
        has_failed = False
        for test in tests:
            holds = test(attributes, data)
            if holds is decided_by:
                return decided_by
            has_failed = has_failed or holds is None
        return None if has_failed else not decided_by

    return quantified


def _attributes(compare: Callable[[str, str], bool], wanted: Mapping[str, str]) -> Test:
    """Compare attributes with what they should be; one that an event does not have never holds."""

    def compared(attributes: Attributes, _: Data) -> bool:
        for name, value in wanted.items():
            given = attributes.get(name)
            if given is None or not compare(given, value):
                return False
        return True

    return compared
