"""A reaction that is re-keyed on a cluster in memory: two journal partitions, a stream of two, and their reactors."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from aiokafka.structs import TopicPartition

from annals.agents.aggregates import REGISTRY
from annals.agents.reacting.foreign import ForeignJournal
from annals.agents.reacting.reactor import Reactor
from annals.agents.reactions.reaction import Occurred, Reacted, Reaction, TimerFired, after, cancel
from annals.agents.reading.streams.rekeyed import RekeyedStream
from annals.schemas.commands import command
from annals.schemas.kinds.person import PersonRenamed, RenamePerson
from annals.schemas.progress import Progress, decode_progress, encode_progress, progress_key, rekeying_name
from annals.topics.keys import partition_of
from annals.topics.wire import NO_TIMESTAMP, encode_headers
from annals.workers.kafka.connections import connect
from annals.workers.kafka.read.invalid_records import PASSED_OVER
from annals.workers.kafka.read.ranges import read_range
from annals.workers.kafka.write.batches import RecordBatch
from annals.workers.kafka.write.transaction import Offsets, TransactionalWriter
from annals.workers.memory.cluster import MemoryCluster, Topic
from annals.workers.reacting.log import KafkaReactionLog
from annals.workers.reacting.rekeyed import KafkaHorizon, KafkaRekeyingLog, carried_in_stream
from annals.workers.reading.restore_point import KafkaRangedJournal
from following import run_meanwhile
from publishing import NAMES, headers_of
from reactors import ReactingWorld, Seen

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from aiokafka.client import AIOKafkaClient

    from annals.workers.kafka.read.invalid_records import InvalidRecords
    from chained import Sealed

PARTITIONS = 2
EVENTS, STREAM = "events.person", "rekeyed.gathering"


def gather(state: Seen, event: Occurred) -> Reacted[Seen]:
    """Say the number of each event and timer of a correlation; one named `Stop` cancels the timers before it."""
    if isinstance(event.message, TimerFired):
        said = f"timer {state.timers + 1} of {event.aggregate_id}"
        return Reacted(Seen(state.events, state.timers + 1), [command("person", "log", RenamePerson(name=said))])
    seen = Seen(state.events + 1, state.timers)
    name = event.message.name if isinstance(event.message, PersonRenamed) else ""
    said = f"event {seen.events} of {event.correlation_id}"
    timers = (
        [cancel(f"t{number}") for number in range(1, seen.events)] if name == "Stop" else [after(f"t{seen.events}", 10)]
    )
    return Reacted(seen, [command("person", "log", RenamePerson(name=said))], timers)


GATHERING = Reaction(
    "gathering", 1, "person", frozenset({PersonRenamed}), Seen, gather, key="correlation_id", rekeyed=True
)


def looking_often(monkeypatch: Any) -> None:
    """Have reactors look for what is new more often than a worker's do."""
    monkeypatch.setattr("annals.agents.reading.streams.ranged.LOOK_S", 0.005)
    monkeypatch.setattr("annals.agents.reacting.reactor.LOOK_S", 0.02)
    monkeypatch.setattr("annals.agents.reacting.reactor.HORIZON_S", 0.005)
    monkeypatch.setattr("annals.agents.reacting.reactor.REKEYED_COMMIT_S", 0.0)


def people(partition: int, count: int, of: int = PARTITIONS) -> list[str]:
    """Ids of aggregates of a journal partition."""
    found: list[str] = []
    number = 0
    while len(found) < count:
        number += 1
        if partition_of(f"p-{number}".encode(), of) == partition:
            found.append(f"p-{number}")
    return found


class RekeyedWorld(ReactingWorld):
    """Journals, the stream and the topics of one reaction; `rekeyers` and `reactors_of` are what a process runs."""

    def __init__(self, reaction: Reaction[Any] = GATHERING) -> None:
        super().__init__(reaction)
        topics = {name: Topic(PARTITIONS) for name in (EVENTS, STREAM, "progress", "timers.gathering")}
        one = {name: Topic(1) for name in ("commands.person", "reactions")}
        self.model = MemoryCluster(topics | one, transaction_version=2)

    async def record(self, events: Sequence[Sealed]) -> None:
        """Record events in the journal partitions that they belong to, each in a transaction of its own."""
        for each in events:
            await self.put(EVENTS, each.key or b"", each.value)

    async def put(self, topic: str, key: bytes, value: bytes | None, partition: int | None = None) -> None:
        at = partition_of(key, PARTITIONS) if partition is None else partition
        writer = TransactionalWriter(self.options(), f"annals-test-{topic}-{at}", [topic])
        await writer.fence()
        batch = RecordBatch()
        batch.fill([(key, value, NO_TIMESTAMP, encode_headers([]))], 0, 1 << 20)
        await writer.commit({TopicPartition(topic, at): [batch]}, Offsets("g", topic, at, 0, ""), {})
        await writer.close()

    async def resume(self) -> None:
        """As the reaction is resumed for the first time."""
        for partition in range(PARTITIONS):
            end = self.model.logs[EVENTS, partition].stable
            await self.write_progress_in(partition, Progress(0, version=1, quiet_until=end))
        self.switches.set(self.reaction.name, "active")

    async def write_progress_in(self, partition: int, progress: Progress) -> None:
        key = progress_key(rekeying_name(self.reaction.name), EVENTS, partition)
        await self.put("progress", key, encode_progress(progress), partition)

    @asynccontextmanager
    async def process(
        self,
        journals: Sequence[int] = (0, 1),
        stream: Sequence[int] = (0, 1),
        invalid: InvalidRecords = PASSED_OVER,
        **changed: Any,
    ) -> AsyncIterator[dict[str, Reactor]]:
        """A process that has these partitions: what copies the journal's, and what reacts to the stream's."""
        reaction = replace(self.reaction, **changed)
        options = self.options(self.network)
        client = await connect(self.options(), [])
        made: dict[str, Reactor] = {}
        for at in journals:
            made[f"journal {at}"] = self._rekeyer(reaction, client, at, options, invalid)
        for at in stream:
            made[f"stream {at}"] = self._of_stream(reaction, client, at, options, invalid)
        async with AsyncExitStack() as stack:
            for each in made.values():
                await stack.enter_async_context(run_meanwhile(each))
            yield made

    def _rekeyer(self, reaction: Any, client: AIOKafkaClient, at: int, options: Any, invalid: Any) -> Reactor:
        journal = KafkaRangedJournal(client, EVENTS, at)
        source = ForeignJournal("here", "person", at, PARTITIONS, journal, self.clock, self.counted)
        stream = reaction.stream
        log = partial(KafkaRekeyingLog, options, NAMES, stream, at, PARTITIONS, "annals", invalid)
        return Reactor(stream, REGISTRY["person"], source, journal, log, self.switches, self.clock, self.counted)

    def _of_stream(self, reaction: Any, client: AIOKafkaClient, at: int, options: Any, invalid: Any) -> Reactor:
        topic = NAMES.rekeyed(reaction.name)
        count = len(client.cluster.partitions_for_topic(topic) or ())
        journal = KafkaRangedJournal(client, topic, at, carried_in_stream)
        note = partial(invalid.note, TopicPartition(topic, at))
        source = RekeyedStream(reaction.stream, topic, at, count, journal, self.clock, note)
        where = reaction.name, "person", at, count, "annals", invalid
        log = partial(KafkaReactionLog, options, NAMES, *where, is_rekeyed=True)
        horizon = KafkaHorizon(
            client,
            NAMES,
            "annals",
            reaction.name,
            [TopicPartition(EVENTS, each) for each in range(PARTITIONS)],
            TopicPartition(topic, at),
            self.clock,
        )
        return Reactor(
            reaction,
            REGISTRY["person"],
            source,
            journal,
            log,
            self.switches,
            self.clock,
            self.counted,
            horizon=horizon,
        )

    async def streamed(self) -> list[tuple[str, bool]]:
        """What is in the stream: keys, and whether each is marked as quiet."""
        client = await connect(self.options(), [STREAM])
        found: list[tuple[str, bool]] = []
        for at in range(PARTITIONS):
            async for records in read_range(client, TopicPartition(STREAM, at), 0, self.model.logs[STREAM, at].stable):
                found += [((key or b"").decode(), "annals-quiet" in headers_of(raw)) for _, key, _, raw in records]
        return sorted(found)

    async def all_progress(self) -> dict[str, Progress]:
        """The newest progress by key."""
        client = await connect(self.options(), ["progress"])
        found: dict[str, Progress] = {}
        for at in range(PARTITIONS):
            async for records in read_range(
                client, TopicPartition("progress", at), 0, self.model.logs["progress", at].stable
            ):
                found |= {(key or b"").decode(): decode_progress(value or b"") for _, key, value, _ in records}
        return found
