"""The wait between attempts doubles up to its limit, and begins anew after a success."""

import asyncio

from annals.agents.backoff import Backoff, run_again


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


async def test_what_fails_is_run_again_until_it_returns(monkeypatch):
    monkeypatch.setattr("annals.agents.backoff.FIRST_S", 0.0)
    runs = []

    async def run():
        runs.append(1)
        if len(runs) < 4:
            raise ValueError("of a value")

    await run_again(run, "x")
    assert len(runs) == 4
