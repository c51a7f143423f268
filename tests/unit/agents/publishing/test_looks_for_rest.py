"""A look through the journal for those that come to rest goes on between the steps, while others are delivered."""

import asyncio
from types import SimpleNamespace

from annals.agents.publishing.joining import Joining
from annals.agents.publishing.ports import Kept
from annals.agents.publishing.selection import Subscribed
from annals.agents.publishing.share import Share
from annals.agents.reading.found import JournalRun
from annals.schemas.progress import Progress
from annals.schemas.subscription import Definition, Record
from annals.workers.clock import SystemClock

LIVE = 100_000


class Scene:
    """One subscription, where it rests, and from where the journal is read; nothing of it is wanted."""

    def __init__(self):
        self.at_rest = {}
        self.begins = []
        self.share = Share(SystemClock())
        catching = SimpleNamespace(at_rest=lambda: self.at_rest)
        definition = Definition("all", kinds=["person"], delivery="acknowledged")
        subscribed = Subscribed(Kept(Record(definition, 1, {"person": [0]}), 0), "person", 0)
        self.roster = SimpleNamespace(behind=lambda: [subscribed])
        self.joining = Joining(self, None, catching, SystemClock(), None, self.share)

    async def events_from(self, begin, limit):
        self.begins.append(begin)
        return JournalRun([], begin + limit, is_end=False)

    async def step(self, **at_rest):
        self.at_rest = at_rest
        return await self.joining.resting(self.roster, LIVE)


async def test_a_look_from_before_a_delivery_is_not_gone_on_with_when_that_has_ended():
    """Goes red when what the look had come to counts: events that were acknowledged since were delivered again."""
    scene = Scene()
    async with scene.share.turn():
        assert await scene.step(all=Progress(0)) == {}
        assert await scene.step() == {}, "it is delivered again, and comes further"
        (looking,) = scene.joining.tasks()
    await asyncio.wait([looking])
    scene.begins.clear()
    assert await scene.step(all=Progress(50_000)) == {}
    await asyncio.wait(scene.joining.tasks())
    assert min(scene.begins) == 50_000
