"""What every clock promises: one suite, on the one that a test moves and on the machine's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING

import pytest

from annals.testing import MemoryClock
from annals.workers.clock import SteadyClock, SystemClock

if TYPE_CHECKING:
    from collections.abc import Callable

    from annals.agents.ports import Clock


MADE: dict[str, Callable[[], Clock]] = {
    "memory": MemoryClock,
    "system": SystemClock,
    "steady": lambda: SteadyClock(SystemClock()),
    "steady in memory": lambda: SteadyClock(MemoryClock()),
}


@pytest.fixture(params=list(MADE.values()), ids=list(MADE))
def clock(request: pytest.FixtureRequest) -> Clock:
    made: Clock = request.param()
    return made


def test_the_time_is_utc_and_aware(clock: Clock) -> None:
    assert clock.now().tzinfo is UTC
    assert clock.now().utcoffset() == timedelta(0)


def test_elapsed_time_never_steps_back(clock: Clock) -> None:
    times = [clock.monotonic() for _ in range(1_000)]
    assert times == sorted(times)
    assert all(isinstance(time, float) for time in times)


def test_a_clock_in_memory_moves_only_when_it_is_told_to() -> None:
    clock = MemoryClock(datetime(2026, 11, 21, 10, 30, tzinfo=timezone(timedelta(hours=1))))
    assert (clock.now(), clock.monotonic()) == (datetime(2026, 11, 21, 9, 30, tzinfo=UTC), 0)
    clock.advance(90)
    assert (clock.now(), clock.monotonic()) == (datetime(2026, 11, 21, 9, 31, 30, tzinfo=UTC), 90)
    clock.step(-3_600)
    assert (clock.now(), clock.monotonic()) == (datetime(2026, 11, 21, 8, 31, 30, tzinfo=UTC), 90)
    with pytest.raises(ValueError, match="forwards only"):
        clock.advance(-1)


def test_a_steady_clock_follows_another_forwards_and_goes_on_where_that_one_is_set_back() -> None:
    other = MemoryClock()
    clock = SteadyClock(other)
    began = clock.now()
    other.step(-3_600)
    assert clock.now() == began
    other.advance(2)
    assert clock.now() == began + timedelta(seconds=2)
    other.step(7_200)
    assert clock.now() == other.now() == began + timedelta(seconds=3_602)
