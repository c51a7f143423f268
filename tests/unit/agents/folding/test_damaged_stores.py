"""A store that the machine has no room for is waited for longer each time, and the log says so."""

import structlog

from annals.agents.folding.damage import LATELY_S, LONGEST_WAIT_S, MOST, RETRY_S, DamagedStores, Failing
from annals.agents.ports import StoreDamagedError, StoreUnavailableError
from annals.testing import MemoryClock
from following import Damages


async def test_one_that_opens_and_fails_when_it_writes_is_tried_less_and_less_often(monkeypatch):
    """Goes red where each opening counts as a success: it was opened, folded and closed again every second."""
    waits, clock = [], MemoryClock()

    async def sleep(seconds):
        waits.append(seconds)
        clock.advance(seconds)

    monkeypatch.setattr("annals.agents.folding.damage.sleep", sleep)
    damages = Damages()
    stores = DamagedStores(None, clock, damages, structlog.get_logger())
    with structlog.testing.capture_logs() as logs:
        for _ in range(7):
            await stores.set_aside(StoreUnavailableError("No space left on device"), print)
    assert waits == sorted(waits)
    assert (waits[0], waits[-1]) == (0.0, LONGEST_WAIT_S)
    assert [each["reason"] for each in logs] == ["No space left on device"] * 7
    assert damages.count == 0  # nothing is removed
    clock.advance(LATELY_S)
    await stores.set_aside(StoreUnavailableError("again"), print)
    assert waits[-1] == 0.0


class NoRoom:
    """Stores of which a damaged one cannot be set aside, or can."""

    def __init__(self, *, is_stuck=False):
        self.is_stuck = is_stuck

    async def set_aside(self, damage):
        if self.is_stuck:
            raise StoreUnavailableError("Read-only file system")


async def watched(monkeypatch, stores, failure, times):
    """What is told while each of some failures is waited for, by how long it has lasted; and what is told behind it."""
    clock, found = MemoryClock(), {}

    async def sleep(seconds):
        found[clock.monotonic()] = damaged.failing(10.0)
        clock.advance(seconds + 0.5)  # for which it is opened again

    monkeypatch.setattr("annals.agents.folding.damage.sleep", sleep)
    damaged = DamagedStores(stores, clock, Damages(), structlog.get_logger())
    for _ in range(times):
        await damaged.set_aside(failure, lambda _: None)
        assert damaged.failing(0.0) is None  # it is tried again, and may do this time
    return damaged, clock, found


async def test_one_that_opens_and_fails_when_it_writes_is_told_to_who_may_leave_it_to_others(monkeypatch):
    """Goes red where each opening counts as a success: the worker kept its partition, and did nothing with it."""
    stores = NoRoom()
    damaged, clock, found = await watched(monkeypatch, stores, StoreUnavailableError("No space left on device"), 9)
    told = Failing(stores, "No space left on device", 0.0)
    assert {at: each for at, each in found.items() if each} == {at: told for at in found if at >= 10.0}
    assert min(found) == 0.0
    clock.advance(LATELY_S)  # all was well for so long: it begins anew
    begun = len(found)
    await damaged.set_aside(StoreUnavailableError("No space left on device"), lambda _: None)
    assert list(found.values())[begun:] == [None]


async def test_one_that_cannot_be_set_aside_and_one_that_rests_are_told_too(monkeypatch):
    stuck = NoRoom(is_stuck=True)
    _, _, found = await watched(monkeypatch, stuck, StoreDamagedError("block checksum mismatch"), 4)
    told = Failing(stuck, "Read-only file system", 0.0)
    assert list(found.values()) == [None, None, told, told]
    assert list(found)[1] == RETRY_S + 0.5
    damaged = DamagedStores(NoRoom(), clock := MemoryClock(), Damages(), structlog.get_logger())
    rests = []

    async def sleep(seconds):
        clock.advance(10.0)
        rests.append(damaged.failing(10.0))

    monkeypatch.setattr("annals.agents.folding.damage.sleep", sleep)
    for _ in range(MOST + 1):
        await damaged.set_aside(StoreDamagedError("block checksum mismatch"), lambda _: None)
    (rest,) = rests
    assert rest.rests_until == 3600.0
    assert "damaged 4 times within an hour" in rest.reason
