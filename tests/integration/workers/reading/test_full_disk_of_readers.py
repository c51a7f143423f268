"""A disk that is full below a reading store: named at once, nothing is lost, and it goes on when there is room."""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING

from annals.agents.aggregates import REGISTRY
from annals.agents.reading.following.shard import Shard
from annals.workers.stores.reading import ReadingStoreFolder, reading_identity
from annals.workers.stores.rocks import StoreBudget
from chained import chain
from following import Clock, Damages, Journal, running, until
from full_disk import full_beyond

if TYPE_CHECKING:
    from pathlib import Path

EVENTS = [event for number in range(1_500) for event in chain(f"p-{number}", 4)]


async def test_a_shard_without_room_says_so_and_goes_on_from_where_it_was(tmp_path: Path) -> None:
    journal, budget, damages = Journal(EVENTS), StoreBudget(8 << 20, 256 << 10), Damages()
    stores = ReadingStoreFolder(tmp_path, reading_identity("person", 0, 1, "events.person"), budget, "none")
    shard = Shard(REGISTRY["person"], 0, 1, stores, journal, journal, Clock(), damages)
    with full_beyond(120_000):
        async with running(shard, journal):
            await until(lambda: "File too large" in shard.status().reason)
            assert shard.status().phase == "opening"
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            await until(lambda: shard.status().offset == len(EVENTS))
            assert (shard.status().phase, shard.status().reason, damages.count) == ("reading", "", 0)
            for number in (0, 1_499):
                found = await shard.state(f"p-{number}")
                assert found is not None
                assert found.version == 4
