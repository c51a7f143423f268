"""A look through the journal for those that come to rest goes on between the steps, while others are delivered."""

import asyncio

import structlog

from annals.agents.aggregates import REGISTRY
from annals.agents.pace import Pace
from annals.agents.publishing.catching import CatchingUp
from annals.agents.publishing.joining import Joining
from annals.agents.publishing.ports import Kept
from annals.agents.publishing.roster import Roster
from annals.agents.publishing.share import Share
from annals.agents.reading.found import JournalRun
from annals.schemas.progress import Progress
from annals.schemas.subscription import Definition, Record
from annals.workers.clock import SystemClock
from publishing import Counts, Topics

LIVE = 100_000
ALL = Kept(Record(Definition("all", kinds=["person"], delivery="acknowledged"), 1, {"person": [0]}), 0)


class Scene:
    """One subscription that answers, and from where the journal is read; nothing of it is wanted."""

    kind, partition = "person", 0

    def __init__(self):
        self.begins = []
        clock, person, self.roster = SystemClock(), REGISTRY["person"], Roster("person", 0)
        self.share = Share(clock)
        pace = Pace(clock, structlog.get_logger(), 500, "events")
        # Nothing catches up: nobody writes for the subscription, neither to a topic nor to its subscriber.
        self.catching = CatchingUp(self, person, None, self.share, Counts(), None, pace, Topics())
        self.joining = Joining(self, person, self.catching, clock, pace, self.share)

    async def subscribe(self):
        assert await self.roster.notice({"all": ALL}, {}, is_first=True) == {}
        self.roster.take("all", Progress(0))

    async def events_from(self, begin, limit):
        self.begins.append(begin)
        return JournalRun([], begin + limit, is_end=False)

    async def step(self, **at_rest):
        self.catching._at_rest = at_rest  # as deliveries that have ended leave it
        return await self.joining.resting(self.roster, LIVE)


async def test_a_look_from_before_a_delivery_is_not_gone_on_with_when_that_has_ended():
    """Goes red when what the look had come to counts: events that were acknowledged since were delivered again."""
    scene = Scene()
    await scene.subscribe()
    async with scene.share.turn():
        assert await scene.step(all=Progress(0)) == {}
        assert await scene.step() == {}, "it is delivered again, and comes further"
        (looking,) = scene.joining.tasks()
    await asyncio.wait([looking])
    scene.begins.clear()
    assert await scene.step(all=Progress(50_000)) == {}
    await asyncio.wait(scene.joining.tasks())
    assert min(scene.begins) == 50_000
