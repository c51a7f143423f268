"""When a catch-up commits: with enough to write, or when much was looked at; what it is told late is not redone."""

import asyncio

import msgspec
import pytest
import structlog

from annals.agents.aggregates import REGISTRY
from annals.agents.backoff import Backoff
from annals.agents.pace import Pace
from annals.agents.ports import UncertainError
from annals.agents.publishing import catch_up as module
from annals.agents.publishing.catch_up import CatchUp
from annals.agents.publishing.ports import Kept
from annals.agents.publishing.selection import Subscribed
from annals.agents.publishing.share import Share
from annals.schemas.progress import Progress
from annals.schemas.subscription import Definition, Record
from chained import chain
from following import Clock, soon
from publishing import Counts, World

EVENTS = [event for number in range(200) for event in chain(f"p-{number:03}", 1)]


class Log:
    """A writer, of whose first commits the answers are lost (the `PublishLog` port)."""

    def __init__(self, lost=0):
        self.commits, self.lost, self.fenced = [], lost, 0
        self.known = {"some": Progress(0, None, 1)}

    async def fence(self):
        self.fenced += 1

    async def progress(self):
        return self.known

    async def commit(self, writes):
        self.commits.append(writes)
        self.known = writes.progress
        if self.lost:
            self.lost -= 1
            raise UncertainError("the answer was lost")

    def throttled_s(self):
        return 0.0

    async def close(self):
        """Nothing is open."""


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(module, "MOST_LOOKED_AT", 50)
    monkeypatch.setattr(module, "FIRST_RETRY_S", 0.001)


async def caught_up(log, filters=()):
    """What was committed: positions, and how many events with each; and the ids of all events."""
    world = World()
    world.journal.append(EVENTS)
    record = Record(Definition("some", filters=filters), 1, {"person": [0]})
    subscribed = Subscribed(Kept(record, 0), "person", 0)
    async with world.shard() as shard:
        assert await shard.until_offset(len(EVENTS), soon())
        who = subscribed, Progress(0, None, 1), shard, REGISTRY["person"]
        pace = Pace(Clock(), structlog.get_logger(), 10, "events")
        catching = CatchUp(*who, log, lambda: 200, Share(Clock()), Counts(), pace)
        await catching.run()
    assert catching.has_reached
    assert all(writes.progress == {"some": msgspec.structs.replace(writes.progress["some"], position=writes.position)}
               for writes in log.commits)  # fmt: skip
    records = [writes.records.get("some", []) for writes in log.commits]
    return [(writes.position, len(each)) for writes, each in zip(log.commits, records, strict=True)], [
        outgoing.key for each in records for outgoing in each
    ]


async def test_where_nothing_is_wanted_a_position_is_written_when_much_was_looked_at():
    """Goes red when all of it is looked at again after a kill."""
    assert (await caught_up(Log(), [{"exact": {"subject": "nobody"}}]))[0] == [(50, 0), (100, 0), (150, 0), (190, 0)]


async def test_what_a_filter_lets_through_of_several_runs_is_one_transaction():
    commits, keys = await caught_up(Log(), [{"any": [{"suffix": {"subject": f"{odd}"}} for odd in (1, 3, 5, 7, 9)]}])
    assert commits == [(at, 10) for at in range(20, 200, 20)] + [(190, 5)]
    assert keys == [event.key for event in EVENTS[:190] if event.key[-1] % 2]


async def test_what_is_wanted_as_a_whole_is_written_run_by_run():
    assert (await caught_up(Log()))[0] == [(at, 10) for at in range(10, 200, 10)]


async def test_what_was_committed_though_nobody_said_so_is_not_published_again():
    log = Log(lost=3)
    commits, keys = await caught_up(log)
    assert keys == [event.key for event in EVENTS[:190]]
    assert len(commits) == 19
    assert log.fenced == 4


class Refusing(Log):
    """A writer whose first transactions are refused: nothing of them is there."""

    async def commit(self, writes):
        if self.lost:
            self.lost -= 1
            raise UncertainError("refused")
        await super().commit(writes)


class Noted(Backoff):
    """Notes how long it would wait."""

    waits: list[float] = []

    async def wait(self):
        self.waits.append(self._next_s)
        self._next_s = min(2 * self._next_s, self._last_s)
        await asyncio.sleep(0)


async def test_while_nothing_can_be_written_it_waits_longer_each_time(monkeypatch):
    """Goes red when looking at events that are gathered, which succeeds, ends the waiting."""
    monkeypatch.setattr(module, "Backoff", Noted)
    monkeypatch.setattr(Noted, "waits", [])
    monkeypatch.setattr(module, "FIRST_RETRY_S", 1.0)
    commits, _ = await caught_up(Refusing(lost=4), [{"any": [{"suffix": {"subject": f"{odd}"}} for odd in (1, 3, 5)]}])
    assert commits[-1][0] == 190
    assert Noted.waits == [1, 2, 4, 8]
