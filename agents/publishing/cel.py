"""Filters in CEL, the Common Expression Language (the extra `subscribers`).

Google's own runtime: it stops an expression at a number of iterations, which the other libraries for Python do not. One
of them may take long, too, over a long text: that is known when it is done, and it is not done again.
"""

from __future__ import annotations

import asyncio
from time import thread_time
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakValueDictionary

from annals.agents.defects import is_of_machine
from annals.agents.extras import how_to_install

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

BUDGET: Final = "budget exceeded"
MOST_S: Final = 1.0  # of the processor: everything else in the process waits meanwhile
BOOL: Final = ("BOOL", "DYN")


class ExpressionError(ValueError):
    """An expression cannot be used; the message says why."""


class OverBudgetError(Exception):
    """An expression would take longer on an event than any may."""


class _Program:
    """What an expression is compiled to: the same for all who evaluate it, in whatever thread.

    A long one takes 10 to 100 ms, and each partition of each kind evaluates all of a subscription's: compiled for each
    of them, a hundred would hold the event loop for a minute.
    """

    def __init__(self, text: str) -> None:
        try:
            from cel_expr_python import cel  # noqa: PLC0415 - an extra: only those who filter so have it
        except ImportError as error:
            raise ExpressionError(
                f"needs the extra `subscribers` on every worker: {how_to_install('subscribers')}"
            ) from error
        text_map, any_map = cel.Type.Map(cel.Type.STRING, cel.Type.STRING), cel.Type.Map(cel.Type.STRING, cel.Type.DYN)
        self.error = cel.Type.ERROR
        try:
            compiled = cel.NewEnv(variables={"event": text_map, "data": any_map}).compile(text)
        except RuntimeError as error:
            raise ExpressionError(_plain(str(error))) from error
        kind = compiled.return_type().name()
        if kind not in BOOL:
            raise ExpressionError(f"must give true or false, not {kind.lower()}")
        self.eval = compiled.eval


_programs: WeakValueDictionary[str, _Program] = WeakValueDictionary()


def _program(text: str) -> _Program:
    """Return what a text is compiled to; what somebody has is not compiled again."""
    if (program := _programs.get(text)) is None:
        _programs[text] = program = _Program(text)
    return program


async def compiled(texts: Iterable[str]) -> list[Expression]:
    """Compile expressions, one in each turn of the event loop; those that are none are left out.

    Whoever compiles one of them again, while what is returned is held, finds it compiled.
    """
    found = []
    for text in texts:
        try:
            found.append(Expression(text))
        except ExpressionError:  # whoever needs it is told
            continue
        finally:
            await asyncio.sleep(0)
    return found


class Expression:
    """A compiled expression over `event` (the attributes) and `data`. failures: events on which it failed."""

    def __init__(self, text: str) -> None:
        """Compile it.

        Raises:
            ExpressionError: it is none, does not give true or false, or the extra `subscribers` is not installed.
        """
        self.program = _program(text)
        self.failures = 0

    def matches(self, attributes: Mapping[str, str], data: Mapping[str, Any]) -> bool | None:
        """Whether an event matches; None where the expression fails on it, which is counted.

        Raises:
            OverBudgetError: it would take too long.
        """
        began = thread_time()
        try:
            found = self.program.eval(data={"event": attributes, "data": data})
            is_match = None if found.type() == self.program.error else found.value()
        except Exception as error:  # a value that CEL has no type for, among others
            if is_of_machine(error):
                raise
            if BUDGET in str(error):
                raise OverBudgetError(_plain(str(error))) from error
            is_match = None
        if (took := thread_time() - began) > MOST_S:
            raise OverBudgetError(f"it took {took:.1f} s of the processor, and may take {MOST_S:g}")
        if type(is_match) is not bool:
            self.failures += 1
            return None
        return is_match


def _plain(message: str) -> str:
    """Return the first line of the library's message, without its own code."""
    return message.splitlines()[0].removeprefix("INVALID_ARGUMENT: ").removeprefix("ERROR: <input>:")[:500]
