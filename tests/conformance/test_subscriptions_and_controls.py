"""What is promised of who is to be published to and what reacts (the `Subscriptions` and `Controls` ports).

Publishers and reactors are tested with what a test sets, and histories with what a seed sets: both are held to what
follows a topic, in memory and on a broker.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from itertools import count
from typing import TYPE_CHECKING, Any, Protocol

import pytest
import sites
from sites import SITES, opened

from annals.agents.aggregates import REGISTRY
from annals.agents.reacting.ports import is_active
from annals.agents.reacting.rekeyed import AlwaysActive
from annals.schemas.reaction_rows import ACTIVE, PAUSED, Control
from annals.schemas.subscription import Definition, Record
from annals.workers.publishing.service import SubscriptionService
from annals.workers.publishing.subscriptions_topic import SubscriptionsWriter
from annals.workers.publishing.wiring import PausingSubscriptions
from annals.workers.reacting.controls_topic import ControlsWriter, FollowedControls
from annals.workers.settings import Settings
from annals.workers.tools.simulation.plan import plan_of
from annals.workers.tools.simulation.world import World
from publishing import Topics
from reactors import Switches

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from annals.agents.publishing.ports import Subscriptions
    from annals.agents.reacting.ports import Controls
    from annals.workers.kafka.read.followed_topic import FollowedTopic

TOPICS = {"events.person": 1, "progress": 1, "subscriptions": 1, "reactions": 1}
WITHIN_S = 30


@asynccontextmanager
async def followed(port: FollowedTopic[Any]) -> AsyncIterator[None]:
    task = asyncio.create_task(port.run())
    try:
        await port.until_read()
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class Administered(Protocol):
    """Subscriptions, and who changes them; port: as a publisher has them."""

    port: Subscriptions

    async def put(self, name: str, status: str = "active") -> None:
        """Put a subscription; it is answered when this returns."""


class SetByATest:
    def __init__(self) -> None:
        self.port = self._topics = Topics()

    async def put(self, name: str, status: str = "active") -> None:
        self._topics.answered.append(lambda: self._topics.set(name, definition={"status": status}))


class OfAHistory:
    def __init__(self) -> None:
        self.world = World(next(plan for plan in map(plan_of, count()) if plan.has_publishers))
        self.port = self.world.subscriptions

    async def put(self, name: str, status: str = "active") -> None:
        self.port.put(name, status=status)


class InATopic:
    def __init__(self, site: sites.Site) -> None:
        settings = Settings(topic_prefix=site.names.prefix)
        self._site = site
        service = SubscriptionService(settings, site.options, {"person": REGISTRY["person"]})
        self.port = PausingSubscriptions(site.options, site.names, service)

    async def put(self, name: str, status: str = "active") -> None:
        writer = SubscriptionsWriter(self._site.options, self._site.names, f"{self._site.names.prefix}group")
        try:
            await writer.fence()
            await writer.commit(Record(Definition(name, kinds=["person"], status=status), 1, {"person": [0]}), {})
        finally:
            await writer.close()


@pytest.fixture(params=["set by a test", "of a history", *SITES])
async def subscriptions(request: pytest.FixtureRequest) -> AsyncIterator[Administered]:
    if request.param == "set by a test":
        yield SetByATest()
    elif request.param == "of a history":
        made = OfAHistory()
        yield made
        made.world.loop.close()
    else:
        async with opened(sites.Site, request, TOPICS) as site:
            in_a_topic = InATopic(site)
            async with followed(in_a_topic.port):
                yield in_a_topic


async def woken(wait: Any, change: Callable[[], Any]) -> None:
    """Have something waited for that a change ends, which comes once it is waited for."""
    task = asyncio.ensure_future(wait)
    await asyncio.sleep(0)
    assert not task.done()
    await change()
    async with asyncio.timeout(WITHIN_S):
        await task


async def test_subscriptions_are_known_by_name_once_they_were_answered(subscriptions: Administered) -> None:
    port = subscriptions.port
    await port.until_read()
    assert port.all() == {}
    for name in ("one", "two"):
        await subscriptions.put(name)
        await port.until_current()
        assert port.all()[name].record.is_active
    kept = port.all()
    assert list(kept) == ["one", "two"]
    assert kept["one"].offset < kept["two"].offset
    await subscriptions.put("one", "paused")
    await port.until_current()
    assert (port.all()["one"].record.is_active, port.all()["two"]) == (False, kept["two"])
    assert port.all()["one"].offset > kept["two"].offset


async def test_subscriptions_are_the_same_mapping_until_something_changes(subscriptions: Administered) -> None:
    port = subscriptions.port
    await subscriptions.put("one")
    await port.until_current()
    known = port.all()
    await port.until_current()
    assert port.all() is known

    async def put() -> None:
        await subscriptions.put("two")
        await port.until_current()

    await woken(port.until_changed(known), put)
    assert known.keys() == {"one"}  # who has it is not changed under
    assert port.all().keys() == {"one", "two"}
    await port.until_changed(known)


async def test_one_that_cannot_go_on_is_paused_unless_it_was_changed_meanwhile(subscriptions: Administered) -> None:
    port = subscriptions.port
    await subscriptions.put("one")
    await port.until_current()
    before = port.all()["one"].offset
    await subscriptions.put("one")
    await port.until_current()
    await port.pause("one", "its topic is gone", "person-0", before)
    kept = port.all()["one"]
    assert kept.record.is_active
    await port.pause("one", "its topic is gone", "person-0", kept.offset)
    paused = port.all()["one"]
    assert (paused.record.is_active, paused.record.definition.name) == (False, "one")
    await port.pause("one", "its topic is gone", "person-1", kept.offset)
    assert port.all()["one"] == paused


class Switched(Protocol):
    """Reactions that somebody resumes and pauses; port: as a reactor has them."""

    port: Controls

    async def say(self, name: str, control: Control) -> None:
        """Say whether a reaction runs; it is answered when this returns."""


class SwitchedByATest:
    def __init__(self) -> None:
        self.port = self._switches = Switches()

    async def say(self, name: str, control: Control) -> None:
        self._switches.answered.append((name, control.status))


class SwitchedInATopic:
    def __init__(self, site: sites.Site) -> None:
        self._site = site
        self.port = FollowedControls(site.options, site.names)

    async def say(self, name: str, control: Control) -> None:
        writer = ControlsWriter(self._site.options, self._site.names, "app", name, f"reaction:{name}")
        try:
            await writer.fence()
            await writer.commit(control, {}, self._site.names.events("person"))
        finally:
            await writer.close()


@pytest.fixture(params=["set by a test", *SITES])
async def controls(request: pytest.FixtureRequest) -> AsyncIterator[Switched]:
    if request.param == "set by a test":
        yield SwitchedByATest()
    else:
        async with opened(sites.Site, request, TOPICS) as site:
            in_a_topic = SwitchedInATopic(site)
            async with followed(in_a_topic.port):
                yield in_a_topic


async def test_a_reaction_runs_once_somebody_has_resumed_it_and_until_it_is_paused(controls: Switched) -> None:
    port = controls.port
    assert (port.get("counting"), is_active(port.get("counting"))) == (None, False)
    offsets = []
    for status in (ACTIVE, PAUSED, ACTIVE):
        await controls.say("counting", Control(status))
        await port.until_current()
        kept = port.get("counting")
        assert kept is not None
        assert is_active(kept) == (status == ACTIVE)
        offsets.append(kept.offset)
    assert offsets == sorted(set(offsets))
    assert port.get("another") is None


async def test_who_waits_for_a_reaction_is_woken_by_what_is_said_of_it_alone(controls: Switched) -> None:
    port = controls.port
    waiting = asyncio.ensure_future(port.until_changed("counting", None))
    await controls.say("another", Control(ACTIVE))
    await port.until_current()
    assert port.get("another") is not None
    await asyncio.sleep(0)
    assert not waiting.done()

    async def say() -> None:
        await controls.say("counting", Control(ACTIVE))
        await port.until_current()

    await woken(waiting, say)
    await port.until_changed("counting", None)


async def test_a_stream_that_nobody_switches_is_always_copied() -> None:
    port: Controls = AlwaysActive()
    await port.until_current()
    assert is_active(port.get("by_cause"))
    waiting = asyncio.ensure_future(port.until_changed("by_cause", port.get("by_cause")))
    await asyncio.sleep(0)
    assert not waiting.done()
    waiting.cancel()
