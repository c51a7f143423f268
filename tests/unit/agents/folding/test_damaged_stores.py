"""A store that the machine has no room for is waited for longer each time, and the log says so."""

import structlog

from annals.agents.folding.damage import LATELY_S, LONGEST_WAIT_S, DamagedStores
from annals.agents.ports import StoreUnavailableError
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
