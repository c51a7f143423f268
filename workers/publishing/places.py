"""Offsets in the journals: where subscriptions begin, where the journals end, and how far publishers are."""

from __future__ import annotations

from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from annals.agents.ports import UnreachableError
from annals.agents.publishing.administration import Refused
from annals.agents.waiting import together
from annals.schemas.chain import ForeignError, read_block
from annals.schemas.progress import LIVE, Progress, decode_progress, name_of, progress_key
from annals.schemas.subscription import NOW, STREAM
from annals.schemas.values.moments import bound_of, moment_of, recorded_at, unix_ms
from annals.workers.clock import SystemClock
from annals.workers.kafka.connections import MissingTopicError, connect, look_for, partitions_of
from annals.workers.kafka.diagnosis import right_or_words
from annals.workers.kafka.read.offsets import LAST_STABLE, list_offsets
from annals.workers.kafka.read.ranges import bounds, read_range
from annals.workers.publishing.compacted_views import CompactedViews
from annals.workers.publishing.delivery_rows import count_rows, first_unsettled
from annals.workers.publishing.stored import latest_versions, unpublished

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Mapping, Sequence

    from aiokafka.client import AIOKafkaClient

    from annals.schemas.subscription import Definition, Positions, Record
    from annals.topics.names import TopicNames
    from annals.workers.publishing.stored import Unpublished

    Placed = tuple[tuple[str, str, int], Progress]  # of whom, in which topic and partition of it

LOOK_BACK: Final = 10_000
PLACED_BYTES: Final = 180  # measured: what a progress and its place take beside ROW_BYTES


@asynccontextmanager
async def connected(options: Mapping[str, Any], *topics: str) -> AsyncIterator[AIOKafkaClient]:
    """Connect for one request, by a client that knows these topics as far as they are there.

    Raises:
        Refused: the brokers do not answer meanwhile (503).
    """
    client = await connect(options, topics)
    try:
        yield client
    except (KafkaError, UnreachableError) as error:
        raise Refused(503, "not_ready", right_or_words(error, "Read")) from error
    finally:
        await client.close()


class Lag(NamedTuple):
    """How far a subscription is behind: events, and the age of the oldest of them in seconds."""

    events: int
    seconds: float


class Places:
    """What one request needs to know of the journals and of progress; asked of the brokers once."""

    def __init__(
        self,
        client: AIOKafkaClient,
        names: TopicNames,
        views: CompactedViews | None = None,
        *,
        is_settled: bool = True,
    ) -> None:
        """Take a client that is connected, and what was read of compacted topics for other requests.

        is_settled: wait for transactions that write progress; else it is what is committed before the first of them.
        The one that a killed reader leaves is open until somebody else has its partitions, for half a minute.
        """
        self._is_settled = is_settled
        self._client = client
        self._names = names
        self._views = views or CompactedViews()
        self._progress: Sequence[Mapping[bytes, Placed]] | None = None
        self._looked_for: set[str] = set()
        self._ends: Positions = {}
        self._unpublished: dict[tuple[str, int, int], Unpublished] = {}

    async def look_for(self, *topics: str) -> None:
        """Have the client know topics as far as they are there: several at once where they are known beforehand."""
        if not self._looked_for.issuperset(topics):
            await look_for(self._client, topics)
            self._looked_for.update(topics)

    async def ask(self, kinds: Sequence[str]) -> None:
        """Ask at once for what positions and lags are made of, in those of the kinds' journals that are there."""
        topics = {kind: self._names.events(kind) for kind in kinds}
        await self.look_for(*topics.values())
        there = [kind for kind, topic in topics.items() if self._client.cluster.partitions_for_topic(topic)]
        await together(self._all_progress(), self.ends(there))

    async def has_topic(self, topic: str) -> bool:
        """Whether there is a topic."""
        await self.look_for(topic)
        return bool(self._client.cluster.partitions_for_topic(topic))

    async def require_topics(self, *topics: str) -> None:
        """Hold the cluster to topics.

        Raises:
            MissingTopicError: one is not there.
        """
        await self.look_for(*topics)
        for topic in topics:
            partitions_of(self._client, topic)

    async def unsettled(self, topic: str, incarnation: int) -> dict[str, int]:
        """Return how many deliveries are not settled in all, in flight and parked."""
        await self.look_for(topic)
        return await count_rows(self._views, self._client, topic, incarnation)

    async def partitions(self, kind: str) -> int:
        """Return how many partitions a kind's journal has.

        Raises:
            Refused: there is no such journal (503).
        """
        topic = self._names.events(kind)
        await self.look_for(topic)
        try:
            return partitions_of(self._client, topic)
        except MissingTopicError as error:
            raise Refused(503, "not_ready", str(error)) from error

    async def ends(self, kinds: Sequence[str]) -> Positions:
        """Return where each partition ends, as far as it is committed."""
        if missing := [kind for kind in kinds if kind not in self._ends]:
            self._ends |= await self._bounds(missing, 1)
        return {kind: self._ends[kind] for kind in kinds}

    async def ends_of(self, topic: str) -> list[int]:
        """Return where each partition of a topic ends, as far as it is committed; none where there is no topic."""
        await self.look_for(topic)
        wheres = [
            TopicPartition(topic, each) for each in sorted(self._client.cluster.partitions_for_topic(topic) or ())
        ]
        found = await bounds(self._client, wheres)
        return [found[where][1] for where in wheres]

    async def behind(self, kind: str, where: TopicPartition, offset: int, end: int) -> Unpublished:
        """Return what a partition has of a kind's events between two offsets."""
        return await unpublished(self._client, kind, where, offset, end)

    async def begin(self, definition: Definition, kinds: Sequence[str]) -> Positions:
        """Return where a subscription begins.

        Raises:
            Refused: its kinds have different numbers of partitions, or a position is not there (422).
        """
        counts = {kind: await self.partitions(kind) for kind in kinds}
        if len(set(counts.values())) > 1:
            said = ", ".join(f"{kind} {count}" for kind, count in counts.items())
            problem = ("kinds", f"have different numbers of partitions: {said}")
            raise Refused(422, "partitions_differ", f"kinds {problem[1]}", [problem])
        start = definition.start
        if start == NOW:
            return await self.ends(kinds)
        if not isinstance(start, dict):
            return await self._bounds(kinds, 0)
        if "time" in start:
            return await self._from_time(kinds, start["time"])
        return await self._given(start["positions"], kinds)

    async def positions(
        self, name: str, kinds: Sequence[str], incarnation: int, begins: Positions | None = None
    ) -> dict[str, list[int | None]]:
        """Return how far a subscription is in each partition; None where nothing is known yet.

        begins: where it was just set to begin, perhaps behind a transaction that is open yet; not in kinds that it was
        given since.
        """
        progress = await self._all_progress()
        found: dict[str, list[int | None]] = {}
        for kind in kinds:
            topic = self._names.events(kind)
            found[kind] = []
            begin = (begins or {}).get(kind)
            for partition in range(await self.partitions(kind)):
                own, live = _found(progress, name, topic, partition), _found(progress, LIVE, topic, partition)
                if own is None or own.incarnation != incarnation:
                    own = None if begin is None else Progress(begin[partition])
                known = own or live
                found[kind].append(None if known is None else known.reached_with(live))
        return found

    async def progress_of(self, name: str, topic: str) -> dict[int, Progress]:
        """Return the progress under a name by partition of a journal, as far as there is any."""
        progress = await self._all_progress() if await self.has_topic(self._names.progress) else ()
        placed = (each for of_partition in progress for each in of_partition.values())
        return {partition: found for (whose, where, partition), found in placed if (whose, where) == (name, topic)}

    async def passed(self, name: str, kinds: Sequence[str]) -> Positions:
        """Return how far a subscription is for certain, 0 where nothing is known yet."""
        progress = await self._all_progress()
        found: Positions = {}
        for kind in kinds:
            topic = self._names.events(kind)
            found[kind] = []
            for partition in range(await self.partitions(kind)):
                live = _found(progress, LIVE, topic, partition)
                known = _found(progress, name, topic, partition) or live
                found[kind].append(0 if known is None else known.reached_with(live))
        return found

    async def settled(self, name: str, passed: Positions, record: Record) -> Positions:
        """Return below which offsets nothing is left to do for a subscription; passed: how far it is, asked before."""
        if record.definition.delivery == STREAM:
            return passed
        topic = self._names.deliveries(name)
        await self.look_for(topic)
        first = await first_unsettled(self._views, self._client, topic, record.incarnation)
        return {
            kind: [min(offset, first.get((kind, partition), offset)) for partition, offset in enumerate(offsets)]
            for kind, offsets in passed.items()
        }

    async def answered_until(self, name: str) -> list[int]:
        """Return where the answers to what was delivered under a name before end, by partition; none: no topic."""
        return await self.ends_of(self._names.acks(name))

    async def lag(self, positions: Mapping[str, Sequence[int | None]]) -> Lag:
        """Return what is not published behind positions; where nothing is known yet, nothing is behind."""
        ends = await self.ends(list(positions))
        events, since = 0, []
        for kind, offsets in positions.items():
            for partition, (offset, end) in enumerate(zip(offsets, ends[kind], strict=True)):
                if offset is not None and offset < end:
                    found = await self._unpublished_from(kind, partition, offset, end)
                    events += found.events
                    since += [] if found.since is None else [moment_of(found.since)]
        seconds = max(0.0, (SystemClock().now() - min(since)).total_seconds()) if since else 0.0
        return Lag(events, seconds)

    async def latest_versions(self, begin: Positions, types: Collection[str]) -> dict[str, int]:
        """Return the latest schema version of each of some event types that is stored behind positions.

        Only the last LOOK_BACK offsets of each partition are looked at.
        """
        ends = await self.ends(list(begin))
        found: dict[str, int] = {}
        for kind, offsets in begin.items():
            for partition, (first, end) in enumerate(zip(offsets, ends[kind], strict=True)):
                where = TopicPartition(self._names.events(kind), partition)
                start = max(first, end - LOOK_BACK)
                stored = await latest_versions(self._client, kind, where, start, end, types)
                found |= {name: max(version, found.get(name, 0)) for name, version in stored.items()}
        return found

    async def _unpublished_from(self, kind: str, partition: int, offset: int, end: int) -> Unpublished:
        asked = (kind, partition, offset)  # what is live stands at one place in each partition
        if asked not in self._unpublished:
            where = TopicPartition(self._names.events(kind), partition)
            self._unpublished[asked] = await unpublished(self._client, kind, where, offset, end)
        return self._unpublished[asked]

    async def _bounds(self, kinds: Sequence[str], which: int) -> Positions:
        """Return the first offsets (0) or the last stable ones (1)."""
        wheres = await self._wheres(kinds)
        found = await bounds(self._client, [where for each in wheres.values() for where in each])
        return {kind: [found[where][which] for where in each] for kind, each in wheres.items()}

    async def _near(self, kinds: Sequence[str], milliseconds: int) -> Positions:
        """Return the first offsets whose records are of a time or later; -1: none."""
        wheres = await self._wheres(kinds)
        wanted = [where for each in wheres.values() for where in each]
        found = await list_offsets(self._client, LAST_STABLE, milliseconds, wanted)
        return {kind: [found[where] for where in each] for kind, each in wheres.items()}

    async def _wheres(self, kinds: Sequence[str]) -> dict[str, list[TopicPartition]]:
        return {
            kind: [
                TopicPartition(self._names.events(kind), partition) for partition in range(await self.partitions(kind))
            ]
            for kind in kinds
        }

    async def _given(self, given: Positions, kinds: Sequence[str]) -> Positions:
        ends = await self.ends(kinds)
        problems = [
            (f"start.positions.{kind}", "is no kind of this subscription") for kind in given if kind not in ends
        ]
        for kind, limits in ends.items():
            path = f"start.positions.{kind}"
            if kind not in given:
                problems.append((path, "is required"))
            elif len(given[kind]) != len(limits):
                problems.append((path, f"must have {len(limits)} offsets, one for each partition"))
            elif any(offset > end for offset, end in zip(given[kind], limits, strict=True)):
                problems.append((path, "must not be behind the ends of the journal"))
        if problems:
            raise Refused(422, "invalid_subscription", f"{problems[0][0]}: {problems[0][1]}", problems)
        return given

    async def _from_time(self, kinds: Sequence[str], text: str) -> Positions:
        moment = bound_of(text)
        wanted = recorded_at(moment)
        milliseconds = unix_ms(moment)
        ends = await self.ends(kinds)
        near = await self._near(kinds, max(0, milliseconds))
        return {
            kind: [
                end if offset < 0 else await self._first_since(kind, partition, offset, end, wanted)
                for partition, (offset, end) in enumerate(zip(near[kind], ends[kind], strict=True))
            ]
            for kind in kinds
        }

    async def _first_since(self, kind: str, partition: int, offset: int, end: int, wanted: str) -> int:
        """Return the first offset from one on whose event was not recorded before a time: Kafka knows milliseconds."""
        where = TopicPartition(self._names.events(kind), partition)
        async with aclosing(read_range(self._client, where, offset, end)) as steps:
            async for records in steps:
                for at, _, value, _ in records:
                    try:
                        if read_block(kind, value)["recorded_at"] >= wanted:
                            return at
                    except ForeignError:
                        continue
        return end

    async def _all_progress(self) -> Sequence[Mapping[bytes, Placed]]:
        """Return all progress as it is kept: what is read for other requests meanwhile is in it, too."""
        if self._progress is None:
            topic = self._names.progress
            await self.look_for(topic)
            partitions_of(self._client, topic)
            self._progress = await self._views.rows(
                self._client, topic, _placed, more=_placed_bytes, is_settled=self._is_settled
            )
        return self._progress


def _found(progress: Sequence[Mapping[bytes, Placed]], name: str, topic: str, partition: int) -> Progress | None:
    """Return whose progress in a journal partition it is, from where its writers keep it."""
    if not progress:  # the topic was deleted meanwhile
        return None
    placed = progress[partition % len(progress)].get(progress_key(name, topic, partition))
    return None if placed is None else placed[1]


def _placed(key: bytes | None, value: bytes, _offset: int) -> Placed:
    """Return what a record of the topic of progress says, and whose it is, in which partition of which topic.

    Raises:
        ValueError: it is no valid one, whoever wrote it: nothing is known by it; the workers say so.
    """
    name, _, rest = (key or b"").decode(errors="replace").partition("/")
    events, _, number = rest.rpartition("/")
    if not number.isdecimal() or name_of(key, events, int(number)) is None:
        raise ValueError("it is the key of no progress")
    return (name, events, int(number)), decode_progress(value)


def _placed_bytes(placed: Placed) -> int:
    """Return what a progress takes beside ROW_BYTES: a reaction's has up to 1,000 characters of why it failed."""
    return PLACED_BYTES + len(placed[1].failure)
