"""Coverage looks away from the tests that are marked `untraced`, and from no other."""

import os
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest
from coverage import Coverage

Tracer = Callable[[FrameType, str, Any], None]
TRACED_PROCESSES = "COVERAGE_PROCESS_CONFIG"


@pytest.fixture
def tracer() -> Iterator[Tracer]:
    """In the place of coverage's own, which is there again afterwards."""

    def trace(frame: FrameType, event: str, argument: object) -> None:
        return None

    before = sys.gettrace()
    sys.settrace(trace)
    yield trace
    now = sys.gettrace()
    sys.settrace(before)
    assert now is trace


@pytest.fixture
def _started() -> None:
    """Starts a process."""
    assert TRACED_PROCESSES not in os.environ


@pytest.mark.usefixtures("_started")
@pytest.mark.parametrize("_", [pytest.param(name, marks=getattr(pytest.mark, name)) for name in ("untraced", "chaos")])
def test_processes_of_one_that_is_marked_are_not_traced(_: str) -> None:
    assert TRACED_PROCESSES not in os.environ


def test_processes_of_any_other_are() -> None:
    """Where coverage runs at all."""
    assert (TRACED_PROCESSES in os.environ) == (Coverage.current() is not None)


@pytest.mark.untraced
def test_one_that_is_marked_runs_without_a_tracer(tracer: Tracer) -> None:
    assert sys.gettrace() is None


@pytest.mark.untraced
async def test_one_that_is_marked_and_asynchronous_does_too(tracer: Tracer) -> None:
    assert sys.gettrace() is None


def test_any_other_runs_with_it(tracer: Tracer) -> None:
    assert sys.gettrace() is tracer
