"""What a test leaves to the garbage collector is ended while it is that test's: it fails, and no other one does.

A coroutine, a generator or an event loop that nobody ends is ended by the collector, whenever that runs: in the midst
of another test, which fails for it. So it runs behind each test. What is there before the first one is frozen: to look
through that each time would take a second. So is what outlives the tests of a file, such as the tables of Hypothesis.
"""

import gc
import sys
import traceback
import warnings
from collections.abc import Generator
from typing import Any

import pytest


def pytest_collection_finish() -> None:
    """Freeze what imports and collection have made, once that is all."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None, None, None]:
    """Collect what the test and its fixtures have left, and warn of what went wrong there: warnings are errors."""
    yield
    if isinstance(item, pytest.Function):
        item.funcargs.clear()  # pytest keeps them until this is over
    for told in collected():
        warnings.warn(pytest.PytestUnraisableExceptionWarning(told), stacklevel=1)
    if nextitem is None or nextitem.path != item.path:
        gc.freeze()


def collected() -> list[str]:
    """Run the collector; what was raised where nobody hears it."""
    told: list[str] = []

    def hear(unraisable: Any) -> None:
        raised = traceback.format_exception(unraisable.exc_type, unraisable.exc_value, unraisable.exc_traceback)
        told.append(f"{unraisable.err_msg or 'left behind'}: {unraisable.object!r}\n{''.join(raised)}")

    before, sys.unraisablehook = sys.unraisablehook, hear
    try:
        gc.collect()
    finally:
        sys.unraisablehook = before
    return told
