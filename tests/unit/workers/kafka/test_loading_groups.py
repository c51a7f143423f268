"""A coordinator that loads its groups takes seconds or minutes for it: who waits does not ask on and on."""

import asyncio
import random
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.errors import GroupLoadInProgressError
from aiokafka.protocol.group import JoinGroupRequest

from annals.workers.kafka.group.coordinator import LOADS_S, LastingCoordinator
from annals.workers.kafka.group.membership import Membership
from annals.workers.tools.simulation.loop import SimulatedLoop

WAITS_S = 10.0


def test_who_joins_a_group_that_is_loaded_asks_a_few_times_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """Goes red when each of many workers asks fifty times a second, of a broker that has enough to do."""
    asked: list[Any] = []

    async def is_loading(_: Any, request: Any) -> Any:
        asked.append(request)
        return SimpleNamespace(error_code=GroupLoadInProgressError.errno)

    async def join() -> None:
        coordinator = LastingCoordinator.__new__(LastingCoordinator)
        coordinator._closing = asyncio.get_running_loop().create_future()
        coordinator.coordinator_id = 0
        request = JoinGroupRequest("annals", 1, 1, "", None, "consumer", [])
        while asyncio.get_running_loop().time() < WAITS_S:
            await coordinator._ask_group(request, Membership("annals", None))
            await asyncio.sleep(0.01)  # aiokafka's own wait
        coordinator._closing.set_result(None)
        before = asyncio.get_running_loop().time()
        await coordinator._pause(LOADS_S)
        assert asyncio.get_running_loop().time() == before  # a stop is heard

    monkeypatch.setattr(GroupCoordinator, "_send_req", is_loading)
    loop = SimulatedLoop(random.Random(1))
    loop.run_until_complete(join())
    loop.close()
    assert 1 < len(asked) <= WAITS_S / LOADS_S
