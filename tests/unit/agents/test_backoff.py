"""The wait between attempts doubles up to its limit, and begins anew after a success."""

import asyncio

from annals.agents.backoff import ANEW_S, FORGOTTEN_S, LASTING_S, Backoff, run_again


async def test_it_doubles_up_to_the_limit_and_begins_anew(monkeypatch):
    waits = []

    async def sleep(seconds):
        waits.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    backoff = Backoff(0.1, 0.5)
    for _ in range(4):
        await backoff.wait()
    backoff.reset()
    await backoff.wait()
    assert waits == [0.1, 0.2, 0.4, 0.5, 0.1]


class Time:
    """The event loop's clock, moved by hand; a wait is over at once."""

    def __init__(self, monkeypatch):
        self.at = 1_000.0
        monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: self.at)
        monkeypatch.setattr(asyncio, "sleep", self.pass_by)

    async def pass_by(self, seconds):
        self.at += seconds


async def test_failures_that_go_on_are_told_whatever_succeeds_between_them(monkeypatch):
    """Goes red when who is thrown out again and again, and does one thing each time, passes for one that works."""
    time, backoff = Time(monkeypatch), Backoff(0.5, 0.5)
    began = time.at
    while time.at - began < LASTING_S:
        assert not backoff.is_lasting
        await backoff.wait()
        backoff.reset()
    await backoff.wait()
    assert backoff.is_lasting
    await time.pass_by(LASTING_S - 1.0)
    backoff.reset()
    assert backoff.is_lasting
    await time.pass_by(0.5)
    backoff.reset()
    assert not backoff.is_lasting


async def test_a_failure_or_two_are_not_told_nor_are_those_that_nobody_has_met_for_long(monkeypatch):
    time, backoff = Time(monkeypatch), Backoff(0.5, 0.5)
    await backoff.wait()
    await time.pass_by(LASTING_S)
    backoff.reset()
    await backoff.wait()
    assert not backoff.is_lasting  # all was well for so long
    await time.pass_by(LASTING_S)
    await backoff.wait()
    assert backoff.is_lasting
    await time.pass_by(FORGOTTEN_S)
    assert not backoff.is_lasting  # it is paused, say, and tried no more


async def test_a_failure_of_long_ago_is_none_of_those_that_go_on(monkeypatch):
    """Goes red when a second failure, hours behind the first, is told at once: nothing was to be done in between."""
    time, backoff = Time(monkeypatch), Backoff(0.5, 0.5)
    await backoff.wait()
    backoff.reset()
    await time.pass_by(ANEW_S)
    await backoff.wait()
    assert not backoff.is_lasting
    await time.pass_by(LASTING_S)
    await backoff.wait()
    assert backoff.is_lasting


async def test_failures_of_attempts_that_take_long_go_on_too(monkeypatch):
    """Goes red when a delivery whose brokers let each of its requests time out stands still and is not told."""
    time, backoff = Time(monkeypatch), Backoff(0.5, 10.0)
    await backoff.wait()
    for _ in range(20):
        await time.pass_by(70.0)
        await backoff.wait()
        assert backoff.is_lasting


async def test_what_fails_is_run_again_until_it_returns(monkeypatch):
    monkeypatch.setattr("annals.agents.backoff.FIRST_S", 0.0)
    runs = []

    async def run():
        runs.append(1)
        if len(runs) < 4:
            raise ValueError("of a value")

    await run_again(run, "x")
    assert len(runs) == 4
