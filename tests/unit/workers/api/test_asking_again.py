"""Answers that do not rest yet on what is expected are asked for again: seldom, and with time to answer, until the end.

The loop is that of the simulation: its seconds pass at once.
"""

from __future__ import annotations

import asyncio
import random
from itertools import pairwise
from types import SimpleNamespace

import pytest

from annals.agents.backoff import Backoff
from annals.agents.reading.gathering.cursors import begin
from annals.agents.reading.gathering.events import EventsFound
from annals.agents.reading.gathering.expecting import ExpectedAt
from annals.agents.reading.gathering.gather import Lag
from annals.workers.api.gathered import EXPECT_WAIT_S, GATHER_S, LAST_LOOK_S, until_rests_on
from annals.workers.api.http.problems import Problem
from annals.workers.api.routes import events as events_routes
from annals.workers.api.routes.events import EventRoutes, EventsParameters
from annals.workers.tools.simulation.loop import SimulatedLoop

EXPECTED = [ExpectedAt("person", 0, 6)]


def run(coroutine):
    """Return what a coroutine returns, at the simulation's seconds."""
    loop = SimulatedLoop(random.Random(1))
    try:
        return loop.run_until_complete(coroutine)
    finally:
        loop.close()


def now():
    return asyncio.get_running_loop().time()


def called(wait=None):
    parameters = EventsParameters(expect=["person/p-1@7"], wait=wait)
    return SimpleNamespace(started=now(), deadline=now() + 60, parameters=parameters, headers={})


def answer(offset):
    cursor = begin({"person": 1}, descending=False)
    return EventsFound([], cursor, True, {"person": [offset]}, [], [], Lag(0, 0.0))  # noqa: FBT003 - it is the end


@pytest.mark.parametrize(("wait", "end"), [(None, EXPECT_WAIT_S), (3.0, 3.0), (0.0, 0.0)])
def test_what_does_not_come_is_asked_for_seldom_and_to_the_end(wait, end):
    """Goes red when a partition that is missing is asked for fifty times a second, or an answer in time is refused."""
    asked = []

    async def ask():
        asked.append(now())
        return answer(None)

    async def wait_for_it():
        await until_rests_on(EXPECTED, wait, called(), ask)

    with pytest.raises(Problem, match="is not in the answer yet"):
        run(wait_for_it())
    assert asked[-1] == pytest.approx(end)
    assert len(asked) < 20
    assert all(after - before <= LAST_LOOK_S + 1e-9 for before, after in pairwise(asked))


@pytest.mark.parametrize(("wait", "back_at", "status"), [(None, 8.0, 200), (30.0, 29.0, 200), (3.0, 8.0, 504)])
def test_each_time_that_a_page_is_asked_for_it_has_its_time(monkeypatch, wait, back_at, status):
    """Goes red when the first time's deadline holds for all: what came behind it was refused though it was there."""
    asked = []

    async def read(_shards, _wanted, _cursor, _limit, wait_s, deadline, _expected):
        asked.append((now(), wait_s, deadline))
        if now() < back_at:
            await asyncio.sleep(max(0.0, min(deadline - now(), wait_s)))
        is_there = back_at <= now() < deadline
        return answer(7 if is_there else None)

    async def expected(*_):
        return EXPECTED

    monkeypatch.setattr(events_routes, "read_events", read)
    monkeypatch.setattr(events_routes, "until_expected", expected)
    shards = SimpleNamespace(kinds=("person",), partitions=lambda kinds: dict.fromkeys(kinds, 1), of_kinds=lambda _: [])

    async def get():
        await EventRoutes(shards).events(called(wait))  # type: ignore[arg-type]

    if status == 200:
        run(get())
    else:
        with pytest.raises(Problem) as refused:
            run(get())
        assert refused.value.status == status
    end = EXPECT_WAIT_S if wait is None else wait
    assert all(at + wait_s <= end + 1e-9 and deadline <= end + GATHER_S + 1e-9 for at, wait_s, deadline in asked)


def test_a_wait_between_two_attempts_ends_at_the_deadline():
    async def waits():
        backoff, times = Backoff(1.0, 4.0), []
        for _ in range(5):
            await backoff.wait_within(10.0)
            times.append(now())
        return times

    assert run(waits()) == [1.0, 3.0, 7.0, 10.0, 10.0]
