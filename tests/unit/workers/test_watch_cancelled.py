"""Whoever looks at the brokers and is cancelled ends, whatever it is about to do, also where it has just been told."""

import asyncio
from typing import Any

import pytest

from annals.workers.clock import SystemClock
from annals.workers.kafka.group.sources import Sources
from annals.workers.settings import Settings
from annals.workers.telemetry import Metrics
from annals.workers.watch import INTERVAL_S, PATIENCE_S, Watch
from annals.workers.writing.shards import Shards
from slow_closing import OPTIONS, SlowClosing

WITHIN_S = 10
STEPS = range(8)
"""Turns of the event loop from the answer on: the look is over after a few of them."""


def watch() -> Watch:
    metrics, clock = Metrics(), SystemClock()
    shards = Shards(Settings(), OPTIONS, {}, {}, 1, Sources(), metrics, clock, {})
    return Watch(OPTIONS, {}, {}, shards, metrics, clock)


def test_it_looks_twice_in_the_two_seconds_in_which_readiness_tells_of_a_loss() -> None:
    assert 2 * INTERVAL_S <= 2.0


def test_a_broker_that_goes_away_behind_a_look_is_named_in_the_ten_seconds_in_which_readiness_turns() -> None:
    assert INTERVAL_S + PATIENCE_S < 10.0


async def test_a_watch_that_is_cancelled_while_it_disconnects_ends_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(self: Watch, client: Any) -> None:
        raise OSError("a connection broke")

    monkeypatch.setattr(Watch, "_count", away)
    slow = SlowClosing(monkeypatch)
    assert await slow.cancelled_while_closing(asyncio.create_task(watch().run()))


@pytest.mark.parametrize("steps", STEPS)
async def test_a_watch_that_is_cancelled_as_its_answer_comes_ends_cancelled(
    monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    asked, answered = asyncio.Event(), asyncio.Event()

    async def measure(self: Watch) -> None:
        asked.set()
        await answered.wait()

    monkeypatch.setattr(Watch, "_measure", measure)
    watching = asyncio.create_task(watch().run())
    await asked.wait()
    answered.set()
    for _ in range(steps):
        await asyncio.sleep(0)
    watching.cancel()
    await asyncio.wait([watching], timeout=WITHIN_S)
    assert watching.cancelled()
