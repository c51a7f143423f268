"""Reactors of one journal partition on a cluster in memory, a clock that a test sets, and what they send."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
from aiokafka.structs import TopicPartition

from annals.agents.aggregates import REGISTRY
from annals.agents.reacting.foreign import ForeignJournal
from annals.agents.reacting.ports import Kept
from annals.agents.reacting.reactor import Reactor
from annals.agents.reactions.reaction import Occurred, Reacted, Reaction, TimerFired, after
from annals.schemas.commands import command
from annals.schemas.kinds.person import PersonRenamed, RenamePerson
from annals.schemas.progress import Progress, decode_progress
from annals.schemas.reaction_rows import Control
from annals.workers.kafka.connections import connect
from annals.workers.kafka.read.ranges import read_range
from annals.workers.memory.cluster import MemoryCluster, Topic
from annals.workers.reacting.log import JournalOfAnother, KafkaReactionLog
from chained import chain
from following import Fetched, run_meanwhile
from publishing import EVENTS, NAMES, World, eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from annals.agents.reading.following.shard import Shard
    from chained import Sealed

EVENTS_AT = "2026-11-21T09:30:00.123456Z"
"""When the events of `chained` were recorded."""


class Seen(msgspec.Struct, frozen=True):
    """How many events of a person were seen, and how many timers have fired."""

    events: int = 0
    timers: int = 0


def react(state: Seen, event: Occurred) -> Reacted[Seen]:
    """Say the number of each event and of each timer; set a timer of 10 s by each event."""
    if isinstance(event.message, TimerFired):
        state = Seen(state.events, state.timers + 1)
        said = f"{event.message.name} is timer {state.timers} of {event.aggregate_id}"
        return Reacted(state, [command("person", "log", RenamePerson(name=said))])
    state = Seen(state.events + 1, state.timers)
    said = f"event {state.events} of {event.aggregate_id}"
    return Reacted(state, [command("person", "log", RenamePerson(name=said))], [after(f"t{state.events}", 10)])


COUNTING = Reaction("counting", 1, "person", frozenset({PersonRenamed}), Seen, react)


class TimeOfDay:
    """A clock that stands where a test sets it."""

    def __init__(self) -> None:
        self.at = EVENTS_AT

    def now(self) -> datetime:
        return datetime.fromisoformat(self.at)

    def monotonic(self) -> float:
        return time.monotonic()


class Switches:
    """Which reactions run (the `Controls` port)."""

    problem: str | None = None

    def __init__(self) -> None:
        self._all: dict[str, Kept] = {}
        self._changed = asyncio.Event()
        self._offset = 0
        self.answered: list[tuple[str, str]] = []

    async def until_current(self) -> None:
        """Take the changes that were answered and that nobody has noticed."""
        for name, status in self.answered:
            self.set(name, status)
        self.answered.clear()

    def get(self, name: str) -> Kept | None:
        return self._all.get(name)

    async def until_changed(self, name: str, known: Kept | None) -> None:
        while self._all.get(name) == known:
            await self._changed.wait()

    def set(self, name: str, status: Any) -> None:
        self._offset += 1
        self._all[name] = Kept(Control(status), self._offset)
        self._changed.set()
        self._changed = asyncio.Event()


class Uncounted:
    """Counts what is not seen in what was written (the `ReactionTelemetry` and `ForeignTelemetry` ports)."""

    def __init__(self) -> None:
        self.rounds = 0
        self.status: Counter[str] = Counter()

    def come_round(self, events: int) -> None:
        self.rounds += events

    def judged(self, status: str, records: int) -> None:
        self.status[status] += records

    def reacted(self, commands: int, fired: int) -> None:
        """Seen in what was written."""

    def standing(self, lag: int, timers: int) -> None:
        """As above."""

    def running(self, *, is_so: bool | None) -> None:
        """Its phase says so."""

    def closed(self) -> None:
        """Nothing is kept."""


class ReactingWorld(World):
    """One partition's journal, its reading store and the cluster."""

    another: JournalOfAnother | None = None
    """Whose journal it is, if it is not this deployment's."""
    here: str | None = None

    def __init__(self, reaction: Reaction[Any] = COUNTING) -> None:
        super().__init__()
        topics = ("progress", "events.person", "commands.person", f"timers.{reaction.name}")
        self.model = MemoryCluster({name: Topic(1) for name in topics}, transaction_version=2)
        self.switches = Switches()
        self.clock = TimeOfDay()
        self.reaction = reaction
        self.reader, self.place = f"reaction:{reaction.name}", EVENTS
        self.counted = Uncounted()

    def append(self, events: Sequence[Sealed]) -> None:
        self.journal.append(events)

    @asynccontextmanager
    async def reactor(self, source: Shard | ForeignJournal, **changed: Any) -> AsyncIterator[Reactor]:
        """A reactor in a process of its own: what it has open at its end stays open."""
        reaction, decider = replace(self.reaction, **changed), REGISTRY["person"]
        where = reaction.name, "person", 0, 1, "annals"
        log = partial(KafkaReactionLog, self.options(self.network), NAMES, *where, other=self.another)
        reactor = Reactor(
            reaction, decider, source, self.journal, log, self.switches, self.clock, self.counted, self.here
        )
        async with run_meanwhile(reactor):
            yield reactor

    @asynccontextmanager
    async def reactors(self) -> AsyncIterator[Callable[[], AbstractAsyncContextManager[Reactor]]]:
        """What begins a reactor, one after another on the same shard."""
        async with self.shard() as shard:
            yield partial(self.reactor, shard)

    async def begin(self, quiet_until: int = 0) -> None:
        """As a reaction is resumed for the first time."""
        await self.write_progress(self.reader, Progress(0, version=1, quiet_until=quiet_until), self.place)
        self.switches.set(self.reaction.name, "active")

    async def has(self, count: int) -> bool:
        """Whether so many commands are there."""
        return len(await self.said()) >= count

    async def sent(self) -> list[tuple[str, str]]:
        """The commands: what they say, and their ids."""
        found = [msgspec.json.decode(value) for _, value in await self.committed("commands.person")]
        return [(each["data"]["name"], each["id"]) for each in found]

    async def said(self) -> list[str]:
        return [said for said, _ in await self.sent()]

    async def progress(self) -> Progress:
        records = dict(await self.committed("progress"))
        topic, partition = self.place
        return decode_progress(records[f"{self.reader}/{topic}/{partition}".encode()])

    async def committed(self, topic: str) -> list[tuple[bytes, bytes]]:
        """The committed records of a topic."""
        client = await connect(self.options(), [topic])
        found: list[tuple[bytes, bytes]] = []
        async for records in read_range(client, TopicPartition(topic, 0), 0, self.model.logs[topic, 0].stable):
            found += [(key or b"", value or b"") for _, key, value, _ in records]
        return found


THERE = "there.events.person"
"""The journal of another deployment, of the id `there`."""


class ForeignWorld(ReactingWorld):
    """Another deployment's journal partition, and the cluster of the one that reacts to it, whose id is `here`."""

    another = JournalOfAnother("there", THERE)
    here = "here"

    def __init__(self) -> None:
        super().__init__(replace(COUNTING, deployment="there"))
        self.reader, self.place = "reaction:counting@there", (THERE, 0)

    def append(self, events: Sequence[Sealed]) -> None:
        """Record events there, with their headers."""
        begin = len(self.journal.records)
        self.journal.records += [
            Fetched(at, each.key, each.value, each.headers) for at, each in enumerate(events, begin)
        ]

    def source(self) -> ForeignJournal:
        return ForeignJournal("there", "person", 0, 1, self.journal, self.clock, self.counted)

    def reacting(self, **changed: Any) -> AbstractAsyncContextManager[Reactor]:
        return self.reactor(self.source(), **changed)

    @asynccontextmanager
    async def reactors(self) -> AsyncIterator[Callable[[], AbstractAsyncContextManager[Reactor]]]:
        yield self.reacting

    async def through(self) -> list[bytes | None]:
        """Which deployments each command names that its cause came through."""
        return [headers.get("annals-via") for _, _, headers in await self.received("", "commands.person")]


LATER = "2026-11-21T09:31:00.000000Z"
"""When the timers of all events are due."""
ALL = [f"event {number} of p-1" for number in range(1, 7)]
TIMERS = [f"t{number} is timer {number} of p-1" for number in range(1, 7)]


async def react_through_a_death(world: ReactingWorld, step: int, *, is_carried_out: bool) -> bool:
    """Kill the process at a request, and have the next one go on; return whether it had come so far."""
    events = chain("p-1", 6)
    world.append(events[:4])
    await world.begin()
    world.clock.at = LATER

    async def is_over(count: int) -> bool:
        return world.network.died.is_set() or await world.has(count)

    async with world.reactors() as reactor:
        world.die_at(step, is_carried_out=is_carried_out)
        async with reactor():
            await eventually(lambda: is_over(8))
        has_died = world.next_process()
        async with reactor():
            await eventually(lambda: world.has(8))
            world.append(events[4:])
            await eventually(lambda: world.has(12))
    assert sorted(await world.said()) == sorted([*ALL, *TIMERS]), step
    return has_died
