"""What is folded in one turn of the event loop: bounded in records and in bytes, and at least one record."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from annals.agents.aggregates import REGISTRY
from annals.agents.folding.turns import TURN_BYTES, TURN_RECORDS, TURN_S, turns
from annals.agents.ports import JournalRecord
from annals.agents.reading.following.fold import ReadingFold
from annals.agents.reading.following.shard import Shard
from annals.workers.stores.reading_memory import MemoryReadingStore
from chained import chain
from following import Clock, Damages, Journal, running, until
from reading_stores import Stores

if TYPE_CHECKING:
    from collections.abc import Sequence

    from annals.agents.reading.ports import Rows
    from annals.schemas.journal_reader import Counted


@pytest.mark.parametrize(
    ("size", "count", "lengths"),
    [
        (10, 2 * TURN_RECORDS + 1, [TURN_RECORDS, TURN_RECORDS, 1]),
        (TURN_BYTES, 3, [1, 1, 1]),
        (2 * TURN_BYTES, 2, [1, 1]),
        (TURN_BYTES // 4, 9, [4, 4, 1]),
        (0, 0, []),
    ],
)
def test_turns(size: int, count: int, lengths: list[int]) -> None:
    records = [JournalRecord(offset, b"k", bytes(size)) for offset in range(count)]
    found = list(turns(records))
    assert [len(turn) for turn in found] == lengths
    assert [record for turn in found for record in turn] == records


class Taking:
    """A follower that notes how many events it is given at once."""

    name, version, spaces = "taking", 1, (b"Z",)

    def __init__(self) -> None:
        self.turns: list[int] = []

    def fold(self, events: Sequence[Counted[Any]], partition: int, rows: Rows) -> None:
        self.turns.append(len(events))


def test_a_follower_that_catches_up_is_given_no_more_in_a_turn() -> None:
    store, later = MemoryReadingStore(), Taking()
    large = [event for number in range(5) for event in chain(f"p-{number}", 1, data={"x": "y" * (TURN_BYTES // 2)})]
    small = [event for number in range(3) for event in chain(f"q-{number}", 1)]
    records = [JournalRecord(at, each.key, each.value) for at, each in enumerate([*large, *small])]
    fold = ReadingFold("person", 0, 1, store, [])
    fold.apply(records)
    fold.follow([later])
    while fold.catch_up():
        pass
    assert later.turns == [1, 1, 1, 1, 4]


class Slow(Taking):
    """A follower that needs as long for each event, by the clock of its thread."""

    def __init__(self, each_s: float) -> None:
        super().__init__()
        self.each_s = each_s
        self.passed = 0.0

    def fold(self, events: Sequence[Counted[Any]], partition: int, rows: Rows) -> None:
        super().fold(events, partition, rows)
        self.passed += self.each_s * len(events)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Slow:
    """Goes on as it folds, and not otherwise."""
    slow = Slow(0.002)
    monkeypatch.setattr("annals.agents.reading.following.shard.thread_time", lambda: slow.passed)
    return slow


MOST_AT_ONCE = int(TURN_S / 0.002)


async def test_turns_are_shorter_where_an_event_takes_long_and_grow_again(slow: Slow) -> None:
    """Goes red when the event loop is held for as many events, however long each takes."""
    journal = Journal([*chain("p-1", 2 * TURN_RECORDS)])
    shard = Shard(REGISTRY["person"], 0, 1, Stores(), journal, journal, Clock(), Damages(), followers=[slow])
    async with running(shard, journal):
        await until(lambda: sum(slow.turns) == 2 * TURN_RECORDS)
        assert slow.turns[0] == TURN_RECORDS
        assert max(slow.turns[1:]) == MOST_AT_ONCE
        slow.turns, slow.each_s = [], 0.0
        journal.append(chain("p-2", 4 * TURN_RECORDS))
        await until(lambda: sum(slow.turns) == 4 * TURN_RECORDS)
        assert max(slow.turns) == TURN_RECORDS


async def test_what_catches_up_has_shorter_turns_too(slow: Slow) -> None:
    """Goes red when only what is new is measured: a projection that is built from a million events holds the loop."""
    journal = Journal([*chain("p-1", 4 * TURN_RECORDS)])
    shard = Shard(REGISTRY["person"], 0, 1, Stores(), journal, journal, Clock(), Damages())
    async with running(shard, journal):
        await until(lambda: shard.status().offset == 4 * TURN_RECORDS)
        shard.follow([slow])
        await until(lambda: sum(slow.turns) == 4 * TURN_RECORDS)
    assert slow.turns[0] == TURN_RECORDS
    assert max(slow.turns[1:]) == MOST_AT_ONCE
