"""Between its openings a shard waits longer each time, until something is committed: an opening alone is no success."""

import asyncio

import pytest

from annals.agents.backoff import Backoff
from annals.agents.ports import RefusedSizeError, UncertainError
from annals.agents.writing.shards import shard as module
from annals.agents.writing.shards.shard import Phase
from shard_scene import Scene, patience, running  # noqa: F401 - `patience` is for all tests here


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long a shard waits each time; it does not."""
    found = []

    class Noted(Backoff):
        async def wait(self) -> None:
            found.append(self._next_s)
            self._next_s = min(2 * self._next_s, self._last_s)
            await asyncio.sleep(0)

    monkeypatch.setattr(module, "FIRST_RETRY_S", 1.0)
    monkeypatch.setattr(module, "LAST_RETRY_S", 5.0)
    monkeypatch.setattr(module, "Backoff", Noted)
    return found


async def test_a_shard_whose_every_transaction_fails_waits_longer_each_time(waits: list[float]) -> None:
    """Goes red when it opens and aborts ten times a second, for ever: what it aborts stays in the topics."""
    scene = Scene()
    scene.log.failures = [("before", UncertainError("refused"))] * 5
    scene.command("Ada")
    async with running(scene):
        assert await scene.answered(1) == ["accepted"]
    assert waits == [1, 2, 4, 5, 5]


async def test_once_something_is_committed_it_begins_with_the_shortest_wait(waits: list[float]) -> None:
    scene = Scene()
    scene.log.failures = [("before", UncertainError("refused"))] * 2
    scene.command("Ada")
    async with running(scene):
        await scene.answered(1)
        scene.log.failures = [("before", UncertainError("refused"))]
        scene.command("Bea", aggregate_id="p-2")
        await scene.answered(2)
    assert waits == [1, 2, 1]


async def test_a_shard_with_nothing_left_to_do_begins_with_the_shortest_wait(waits: list[float]) -> None:
    """The answer was lost, and all was committed: there may be nothing to commit for days."""
    scene = Scene()
    scene.log.failures = [("after", UncertainError("no answer"))]
    scene.command("Ada")
    async with running(scene):
        await scene.answered(1)
        await scene.until_it(lambda: len(waits) == 1)
        await scene.until(Phase.OPEN)
        for _ in range(2):
            scene.shard.keep_position()
        scene.log.failures = [("before", UncertainError("refused"))]
        scene.command("Bea", aggregate_id="p-2")
        await scene.answered(2)
    assert waits == [1, 1]


async def test_a_batch_that_is_halved_is_another_one(waits: list[float]) -> None:
    """Goes red when finding what a topic takes lasts for a minute. One command cannot be halved."""
    scene = Scene()
    scene.log.failures = [("before", RefusedSizeError("too large"))] * 4
    for number in range(8):
        scene.command("Ada", aggregate_id=f"p-{number}")
    async with running(scene):
        await scene.answered(8)
    assert waits == [1, 1, 1, 2]
