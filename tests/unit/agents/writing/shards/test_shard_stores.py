"""A shard whose store fails: damage is set aside and folded anew, what the machine lacks is waited for."""

import asyncio

import pytest

from annals.agents.folding.damage import HOUR_S, MOST
from annals.agents.ports import JournalError, StoreDamagedError, StoreError, StoreUnavailableError
from annals.agents.writing.shards.shard import Phase
from shard_scene import Scene, patience, running  # noqa: F401 - `patience` is for all tests here


def scene_with(damages: int) -> Scene:
    """A scene with one command, whose first stores are damaged."""
    scene = Scene()
    scene.stores.damages = [StoreDamagedError(f"block checksum mismatch {number}") for number in range(damages)]
    scene.command("Ada")
    return scene


async def test_a_damaged_store_is_set_aside_and_every_command_is_answered():
    scene = scene_with(damages=1)
    async with running(scene):
        assert await scene.answered(1) == ["accepted"]
        assert scene.stores.closed == 1
    assert [str(damage) for damage in scene.stores.set_asides] == ["block checksum mismatch 0"]
    assert (scene.told.damages, scene.stores.renewed) == (1, 0)


async def test_damage_that_the_fold_meets_is_the_same():
    scene = Scene()
    scene.stores.damages = [StoreDamagedError("block checksum mismatch")]
    scene.log.append()
    scene.command("Bea", type_="RenamePerson")
    async with running(scene):
        assert await scene.answered(1) == ["accepted"]
    assert len(scene.stores.set_asides) == 1


async def test_a_state_that_cannot_be_decoded_is_damage_of_the_store_not_a_defect_of_the_aggregate():
    first = scene_with(damages=0)
    async with running(first):
        assert await first.answered(1) == ["accepted"]
    stored = first.stores.store._aggregates
    stored[b"p-1"] = stored[b"p-1"]._replace(state=b"\xff")
    second = Scene()
    second.log.restore(first.log.journal)
    second.stores.store = first.stores.store
    second.command("Bea", "c-new", type_="RenamePerson")
    async with running(second):
        assert await second.answered(1) == ["accepted"]
    (damage,) = second.stores.set_asides
    assert "the state of b'p-1' cannot be read" in str(damage)


async def test_a_store_that_is_damaged_again_and_again_waits_for_the_hour_to_pass(monkeypatch):
    scene = scene_with(damages=MOST + 1)
    asked: list[float] = []
    waits = asyncio.Event()

    async def noting(seconds: float) -> None:
        asked.append(seconds)
        waits.set()
        await asyncio.Event().wait()

    monkeypatch.setattr("annals.agents.folding.damage.sleep", noting)
    async with running(scene):
        async with asyncio.timeout(60):
            await waits.wait()
        assert scene.shard.phase is Phase.OPENING
        assert "damaged 4 times within an hour" in scene.shard.reason
        assert "block checksum mismatch 3" in scene.shard.reason
        assert scene.shard.damaged_stores.rests_until == HOUR_S
    assert asked == [HOUR_S]
    assert (len(scene.stores.set_asides), scene.told.damages) == (MOST, MOST + 1)


async def test_the_hour_passes_and_the_store_is_folded_anew(monkeypatch):
    scene = scene_with(damages=2 * MOST + 1)

    async def passing(seconds: float) -> None:
        scene.clock.advance(seconds)

    monkeypatch.setattr("annals.agents.folding.damage.sleep", passing)
    async with running(scene):
        assert await scene.answered(1) == ["accepted"]
    assert len(scene.stores.set_asides) == 2 * MOST + 1
    assert scene.clock.monotonic() == 2 * HOUR_S
    assert scene.shard.damaged_stores.rests_until is None


async def test_what_the_machine_lacks_is_waited_for_and_nothing_is_set_aside():
    scene = scene_with(damages=0)
    scene.stores.unavailable = [StoreUnavailableError("Too many open files")] * 3
    async with running(scene):
        assert await scene.answered(1) == ["accepted"]
    assert (scene.stores.set_asides, scene.stores.unavailable, scene.told.damages) == ([], [], 0)


async def test_a_damaged_store_that_cannot_be_set_aside_is_tried_again():
    scene = scene_with(damages=1)
    opened = scene.stores.open

    async def then_read_only():
        store = await opened()
        if scene.stores.damages and not scene.told.damages:
            scene.stores.unavailable = [StoreUnavailableError("Read-only file system")]
        return store

    scene.stores.open = then_read_only  # type: ignore[method-assign]
    async with running(scene):
        assert await scene.answered(1) == ["accepted"]
    assert (len(scene.stores.set_asides), scene.told.damages) == (1, 2)


async def test_what_the_machine_lacks_is_named_while_it_is_waited_for(monkeypatch):
    monkeypatch.setattr("annals.agents.writing.shards.shard.FIRST_RETRY_S", 60.0)
    scene = scene_with(damages=0)
    scene.stores.unavailable = [StoreUnavailableError("/data/person/0: IO error: Too many open files")]
    async with running(scene):
        async with asyncio.timeout(60):
            while "Too many" not in scene.shard.reason:  # noqa: ASYNC110 - a turn of the loop, not a wait
                await asyncio.sleep(0)
        assert scene.shard.reason == "the store cannot be used: /data/person/0: IO error: Too many open files"


@pytest.mark.parametrize("error", [StoreDamagedError("x"), StoreUnavailableError("x")])
def test_no_failure_of_a_store_is_one_of_the_journal(error):
    assert isinstance(error, StoreError)
    assert not isinstance(error, JournalError)
