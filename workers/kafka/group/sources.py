"""Where the shards' commands come from: a source per assigned partition, delivered to while its shard is open."""

from __future__ import annotations

import asyncio
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from aiokafka.structs import TopicPartition

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aiokafka import AIOKafkaConsumer


COMES_WITHIN_S: Final = 17.0  # longer than a fetch is waited for before it is sent again
LOOKS_WITHIN_S: Final = 7.0  # of one another, a look that times out among them


class Source:
    """One command partition of the group's consumer (the `CommandSource` port)."""

    def __init__(self, partition: TopicPartition, sources: Sources) -> None:
        """Begin closed: nothing is fetched before `deliver_from`."""
        self.partition = partition
        self.generation = 0
        self._sources = sources
        self._delivered_until = 0
        self._read_until = 0
        self._damaged_at: int | None = None

    @property
    def is_damaged(self) -> bool:
        """Whether a damaged batch was delivered that is there yet, as far as is known."""
        return self._damaged_at is not None

    def deliver_from(self, offset: int) -> None:
        """Deliver from this offset on. What was fetched before belongs to an older generation."""
        self.generation += 1
        self._delivered_until = self._read_until = offset
        self._sources.seek(self.partition, offset)

    def note_fetch(self, records: Sequence[Any], position: int, damaged_at: int | None = None) -> None:
        """Take what a fetch brought, which is to be delivered now, and from where the next one goes on.

        damaged_at: the offset behind these records that cannot be read; None: there is none.
        """
        if records:
            self._delivered_until = records[-1].offset + 1
        self._read_until = max(self._read_until, position)
        if damaged_at is not None:
            self._damaged_at = damaged_at
        elif self._damaged_at is not None and self._sources.has_passed(self.partition, self._damaged_at):
            self._damaged_at = None

    def forget_damage(self) -> None:
        """Take that a new assignment says anew what is damaged."""
        self._damaged_at = None

    def decided_until(self, next_offset: int) -> int:
        """Return the offset below which all is decided if all below another one is.

        Behind the last command are markers and aborted records, where everything that was delivered is decided. What
        was delivered may still be on its way to the shard.
        """
        return max(next_offset, self._read_until) if self._delivered_until <= next_offset else next_offset

    def pause(self) -> None:
        """Fetch no more for the time being."""
        self._sources.pause(self.partition)

    def resume(self) -> None:
        """Fetch again."""
        self._sources.resume(self.partition)


class Sources:
    """All sources of one group consumer. Everything here runs in the consumer's own event loop."""

    def __init__(self, *, of_journals: bool = False) -> None:
        """Begin without a consumer: `attach` follows when it has started.

        of_journals: those who take the records fold journals, and may wait some milliseconds for more of them.
        """
        self.of_journals = of_journals
        self._consumer: AIOKafkaConsumer | None = None
        self._sources: dict[TopicPartition, Source] = {}
        self.open: set[TopicPartition] = set()
        self._still: dict[TopicPartition, tuple[int, float]] = {}
        self._looked_at = float("-inf")
        self.changed = asyncio.Event()

    def attach(self, consumer: AIOKafkaConsumer) -> None:
        """Take the consumer that the partitions are assigned to."""
        self._consumer = consumer

    def detach(self) -> None:
        """Take that the consumer is gone; another one may be attached."""
        self._consumer = None
        self.open.clear()

    def refresh(self) -> None:
        """Have the consumer ask now which topics and partitions there are."""
        if self._consumer is not None:
            self._consumer._client.force_metadata_update()  # noqa: SLF001 - by itself it asks every five minutes

    def source(self, topic: str, partition: int) -> Source:
        """Return the source of a partition: the same one as long as the process lives."""
        key = TopicPartition(topic, partition)
        if key not in self._sources:
            self._sources[key] = Source(key, self)
        return self._sources[key]

    def note_fetch(
        self,
        fetched: Mapping[TopicPartition, Sequence[Any]],
        damaged: Mapping[TopicPartition, int] = MappingProxyType({}),
    ) -> None:
        """Take what a fetch of the open partitions brought, before anything else can be fetched.

        damaged: of which, behind what was fetched, a batch is damaged, and at which offset.
        """
        for partition in self.open:
            self._sources[partition].note_fetch(
                fetched.get(partition, ()), self.position(partition), damaged.get(partition)
            )
        for partition in fetched:  # that a batch is damaged, too: each look at it has the same position
            self._still.pop(partition, None)

    def generation(self, partition: TopicPartition) -> int:
        """Return the generation in which records of a partition are fetched now."""
        return self._sources[partition].generation

    def position(self, partition: TopicPartition) -> int:
        """Return the offset from which a partition's next fetch goes on; 0 while it is not assigned."""
        state = self._state(partition)
        return 0 if state is None else int(state.position)

    def has_passed(self, partition: TopicPartition, offset: int) -> bool:
        """Whether a partition's next fetch goes on behind an offset, or finds nothing there: what was there is gone."""
        state = self._state(partition)
        return state is not None and (
            state.position > offset or (state.lso is not None and state.lso <= state.position)
        )

    def _state(self, partition: TopicPartition) -> Any:
        """Return what aiokafka knows of a partition: the position, and the last stable offset of the last fetch."""
        if self._consumer is None or partition not in self._consumer.assignment():
            return None
        state = self._consumer._subscription.subscription.assignment.state_value(partition)  # noqa: SLF001 - without a wait
        return state if state.has_valid_position else None

    def unfetched(self, ends: Mapping[TopicPartition, int], now: float) -> list[str]:
        """Return of which open partitions nothing comes though there is something: a sentence each.

        The brokers may answer all else. ends: the last stable offsets, asked for before this; now: in seconds.
        Nothing is fetched while the group is rebalanced, nor while this process is stopped or the brokers are away.
        """
        is_rebalanced = self._is_rebalanced()
        if is_rebalanced or now - self._looked_at > LOOKS_WITHIN_S:
            self._still = {}
        self._looked_at = now
        if is_rebalanced:
            return []
        positions = {where: self.position(where) for where, end in ends.items() if where in self.open}
        still: dict[TopicPartition, tuple[int, float]] = {}
        for where, position in positions.items():
            if position < ends[where]:
                before, since = self._still.get(where, (position, now))
                still[where] = position, since if before == position else now
        self._still = still
        return [
            f"{where.topic}-{where.partition}: nothing of it has come for {now - since:.0f} s, from offset {position} "
            f"to {ends[where]}: its leader answers no fetch, or takes long for it"
            for where, (position, since) in still.items()
            if now - since >= COMES_WITHIN_S
        ]

    def _is_rebalanced(self) -> bool:
        subscription = None if self._consumer is None else self._consumer._subscription.subscription  # noqa: SLF001 - it tells nobody
        return subscription is None or subscription._reassignment_in_progress  # noqa: SLF001 - the same

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Commit offsets of partitions that are assigned, for those who look at the group's lag; nobody reads them.

        Raises:
            KafkaError: it could not be done now.
        """
        if self._consumer is not None and offsets:
            await self._consumer.commit(dict(offsets))

    def reassign(self) -> None:
        """Hold all partitions of a new assignment until their shards say from where they go on."""
        self.open.clear()
        for source in self._sources.values():
            source.forget_damage()
        if self._consumer is not None:
            held = self._consumer.assignment()
            if held:
                self._consumer.pause(*held)
            for partition in held:  # a position, so that none is looked up or made up in the background
                self._consumer.seek(partition, 0)

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Fetch a partition from an offset, if it is assigned."""
        if self._consumer is not None and partition in self._consumer.assignment():
            # an explicit position: the committed offset that aiokafka looks up in the background does not replace it
            self._consumer.seek(partition, offset)
            self.resume(partition)

    def pause(self, partition: TopicPartition) -> None:
        """Fetch no more of a partition, and hand out nothing of it."""
        self.open.discard(partition)
        if self._consumer is not None and partition in self._consumer.assignment():
            self._consumer.pause(partition)

    def resume(self, partition: TopicPartition) -> None:
        """Fetch a partition again."""
        if self._consumer is not None and partition in self._consumer.assignment():
            self._consumer.resume(partition)
            self.open.add(partition)
            self.changed.set()
