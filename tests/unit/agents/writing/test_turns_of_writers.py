"""Whoever folds the journal to decide holds the event loop for one turn at a time, however much a fetch brings."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from test_standby import Scene as StandbyScene

from annals.agents.folding.fold import Fold
from annals.agents.folding.turns import TURN_BYTES, TURN_RECORDS
from annals.agents.writing import standby
from annals.agents.writing.restore.full_fold import FullFold
from annals.agents.writing.restore.restored import KnownIds, RestoredStore
from annals.agents.writing.shard_id import ShardId
from annals.agents.writing.shards.shard import Phase
from annals.workers.kafka.write.standby import KafkaStandbyLog
from annals.workers.stores.memory import MemoryStore
from shard_scene import PERSON, TOPIC, Scene, WatchedLog, patience, running  # noqa: F401 - `patience` is for all tests here

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from annals.agents.ports import JournalRecord

LARGE = b"x" * (TURN_BYTES * 2 // 3)


@pytest.fixture
def folded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many records are folded at once."""
    lengths: list[int] = []
    apply = Fold.apply

    def noted(self: Fold, records: Sequence[JournalRecord]) -> None:
        lengths.append(len(records))
        apply(self, records)

    monkeypatch.setattr(Fold, "apply", noted)
    return lengths


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> WatchedLog:
    """A journal that one fetch reads as a whole: many small records, then large ones."""
    for kind in (WatchedLog, KafkaStandbyLog):
        monkeypatch.setattr(kind, "read", at_once(kind.read))
    log = WatchedLog(1)
    for number in range(TURN_RECORDS + 1):
        log.append(aggregate_id=f"p-{number}", command_id=f"c-{number}")
    for _ in range(3):
        log.write(log._topics.events, b"p-0", LARGE)
    return log


def at_once(read: Any) -> Any:
    async def read_at_once(self: Any, start: int, end: int) -> AsyncIterator[list[JournalRecord]]:
        yield [record async for records in read(self, start, end) for record in records]

    return read_at_once


TURNS = [TURN_RECORDS, 2, 1, 1]


async def test_a_shard_that_opens_folds_a_fetch_in_turns(log: WatchedLog, folded: list[int]) -> None:
    scene = Scene(log=log)
    async with running(scene):
        await scene.until(Phase.OPEN)
    assert folded == TURNS


async def test_a_standby_folds_a_fetch_in_turns(
    log: WatchedLog, folded: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standby, "SLICE_OFFSETS", log.end)
    scene = StandbyScene(log)
    async with scene.running():
        await scene.until_warm()
    assert folded == TURNS


async def test_the_full_fold_behind_a_restored_store_is_done_in_turns(log: WatchedLog, folded: list[int]) -> None:
    restored = RestoredStore("person", MemoryStore(), MemoryStore(), KnownIds([]), 0)
    place, background = ShardId("person", TOPIC, 0, 1), asyncio.Semaphore(1)
    whole = FullFold(PERSON, place, restored, log, {}, background, lambda: log.end, lambda: None)  # type: ignore[arg-type]
    await whole._fold_to(log.end)
    assert folded == TURNS
