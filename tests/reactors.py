"""Reactors of one journal partition on a cluster in memory, a clock that a test sets, and what they send."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

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
from following import Fetched
from publishing import NAMES, World

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from annals.agents.reading.shard import Shard
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

    def __init__(self, reaction: Reaction[Any] = COUNTING) -> None:
        super().__init__()
        topics = ("progress", "events.person", "commands.person", f"timers.{reaction.name}")
        self.model = MemoryCluster({name: Topic(1) for name in topics}, transaction_version=2)
        self.switches = Switches()
        self.clock = TimeOfDay()
        self.reaction = reaction

    @asynccontextmanager
    async def reactor(self, shard: Shard, **changed: Any) -> AsyncIterator[Reactor]:
        """A reactor in a process of its own: what it has open at its end stays open."""
        reaction = replace(self.reaction, **changed)
        log = partial(KafkaReactionLog, self.options(self.network), NAMES, reaction.name, "person", 0, 1, "annals")
        reactor = Reactor(
            reaction, REGISTRY["person"], shard, self.journal, log, self.switches, self.clock, Uncounted()
        )
        task = asyncio.create_task(reactor.run())
        try:
            yield reactor
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            await reactor.close()

    async def begin(self, quiet_until: int = 0) -> None:
        """As a reaction is resumed for the first time."""
        await self.write_progress(f"reaction:{self.reaction.name}", Progress(0, version=1, quiet_until=quiet_until))
        self.switches.set(self.reaction.name, "active")

    async def sent(self) -> list[tuple[str, str]]:
        """The commands: what they say, and their ids."""
        found = [msgspec.json.decode(value) for _, value in await self.committed("commands.person")]
        return [(each["data"]["name"], each["id"]) for each in found]

    async def said(self) -> list[str]:
        return [said for said, _ in await self.sent()]

    async def progress(self) -> Progress:
        records = dict(await self.committed("progress"))
        return decode_progress(records[f"reaction:{self.reaction.name}/events.person/0".encode()])

    async def committed(self, topic: str) -> list[tuple[bytes, bytes]]:
        """The committed records of a topic."""
        client = await connect(self.options(), [topic])
        found: list[tuple[bytes, bytes]] = []
        async for records in read_range(client, (topic, 0), 0, self.model.logs[topic, 0].stable):
            found += [(key or b"", value or b"") for _, key, value, _ in records]
        return found


THERE = "there.events.person"
"""The journal of another deployment, of the id `there`."""


class ForeignWorld(ReactingWorld):
    """Another deployment's journal partition, and the cluster of the one that reacts to it, whose id is `here`."""

    def __init__(self) -> None:
        super().__init__(replace(COUNTING, deployment="there"))
        self.counted = Uncounted()

    def append(self, events: Sequence[Sealed]) -> None:
        """Record events there, with their headers."""
        begin = len(self.journal.records)
        self.journal.records += [
            Fetched(at, each.key, each.value, each.headers) for at, each in enumerate(events, begin)
        ]

    def source(self) -> ForeignJournal:
        return ForeignJournal("there", "person", 0, 1, self.journal, self.clock, self.counted)

    @asynccontextmanager
    async def reacting(self, **changed: Any) -> AsyncIterator[Reactor]:
        """A reactor in a process of its own: what it has open at its end stays open."""
        reaction = replace(self.reaction, **changed)
        other = JournalOfAnother("there", THERE)
        where = reaction.name, "person", 0, 1, "annals"
        log = partial(KafkaReactionLog, self.options(self.network), NAMES, *where, other=other)
        decider = REGISTRY["person"]
        reactor = Reactor(
            reaction, decider, self.source(), self.journal, log, self.switches, self.clock, self.counted, "here"
        )
        task = asyncio.create_task(reactor.run())
        try:
            yield reactor
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            await reactor.close()

    async def begin(self, quiet_until: int = 0) -> None:
        """As a reaction is resumed for the first time."""
        await self.write_progress(
            "reaction:counting@there", Progress(0, version=1, quiet_until=quiet_until), (THERE, 0)
        )
        self.switches.set(self.reaction.name, "active")

    async def through(self) -> list[bytes | None]:
        """Which deployments each command names that its cause came through."""
        return [headers.get("annals-via") for _, _, headers in await self.received("", "commands.person")]
