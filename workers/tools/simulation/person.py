"""Whoever runs the workers of a history: judges each stop of a shard when it happens, and does what the how-to says.

A stop is right where a fault that has happened explains it, with these words; docs/how-to/when-a-shard-stops.md has
the remedy of each. Once it was carried out, the shard is judged like any other: it goes on, and all is answered.
"""

from __future__ import annotations

from collections import Counter
from itertools import chain
from typing import TYPE_CHECKING, Final, NamedTuple

from annals.schemas.cid import cid_text
from annals.topics.group_metadata import NOTHING_KNOWN, GroupMetadata, decode_metadata
from annals.workers.audit.acceptance import Comparison, Deployment, accept, compare
from annals.workers.audit.kept_heads import kept_heads
from annals.workers.kafka.connections import CLUSTER
from annals.workers.memory.client import Cluster
from annals.workers.tools.simulation.judged_records import heads_handed_out, journal_cids
from annals.workers.tools.simulation.plan import PARTITIONS
from annals.workers.tools.simulation.process import GROUP

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from annals.workers.partitions import Key
    from annals.workers.tools.simulation.process import Process
    from annals.workers.tools.simulation.world import World

OPERATOR_S: Final = 25.0  # so long after the last fault somebody looks at what has stopped
AGAIN_S: Final = 10.0
LOOKED_AGAIN_S: Final = 70.0  # by then a standby has looked again whether it can go on
SHORTENED: Final = ("was cut off or made anew while it was read", "is not as it was at offset", ", and reached ")
"""Words of a standby for a journal that lost its end, before it knows whether that matters."""
MOST_REMEDIES: Final = 6  # of one shard: as many hosts as have a store of it, and a few more


class Stop(NamedTuple):
    """A way in which shards stop.

    words: what the reason has; is_right: whether a fault explains it; remedy: what is done before a restart.
    """

    words: str
    is_right: Callable[[Person, Process, Key], bool]
    remedy: Callable[[Person, Process, Key], Awaitable[None]]


class Person:
    """Judges stops, and acts on them once the faults are over."""

    def __init__(self, world: World) -> None:
        """Take the world; nothing has stopped yet."""
        self._world = world
        self._acts_at = 0.0
        self._remedies: Counter[Key] = Counter()
        self.acted_at = 0.0

    def healed(self) -> None:
        """Begin to look at what has stopped, after a while."""
        self.acted_at = self._world.loop.time()
        self._acts_at = self.acted_at + OPERATOR_S

    def told(self, process: Process, key: Key, reason: str) -> None:
        """Judge a stop as it happens: what comes later explains nothing."""
        self._world.note(f"{key[0]}-{key[1]} stopped: {reason}")
        stop = _stop_of(reason)
        name = "unknown" if stop is None else stop.words
        self._world.counts[f"stop: {name}"] += 1
        if stop is None or not stop.is_right(self, process, key):
            self._world.problems.append(f"stopped without a cause: {key[0]}-{key[1]}: {reason}")

    async def look(self) -> None:
        """Carry out the remedies of what has stopped, and start those workers again."""
        world = self._world
        if world.loop.time() < self._acts_at:
            return
        world.reading.judge_unaware()
        for process in list(world.processes):
            stopped = {key: reason for key, reason in process.stopped().items() if self._may_act(key)}
            if not stopped:
                continue
            world.kill(process)
            for key, reason in stopped.items():
                if stop := _stop_of(reason):
                    await stop.remedy(self, process, key)
            world.start(process.host)
            self.acted_at = world.loop.time()
            self._acts_at = self.acted_at + AGAIN_S

    def told_by_standby(self, process: Process, key: Key, reason: str) -> None:
        """Judge a stop of a standby: to it a cut that the group's offset tells of is like one that it alone knows.

        With a store of another shard it stops where the journal had no event when it looked, and may have one by now:
        it looks again each minute, and whether it follows then is judged at the end.
        """
        world, store = self._world, process.host.stores.get(key)
        world.note(f"standby of {key[0]}-{key[1]} stopped: {reason}")
        world.counts["standby stopped"] += 1
        is_of_another = store is not None and store.key != key
        is_explained = is_of_another or self.is_shortened(process, key) or self.only_the_disk_knows(process, key)
        is_rotten = key in world.rotten and "is damaged: its checksum" in reason
        if not is_rotten and not (is_explained and "so the store in the data directory says" in reason):
            world.problems.append(f"standby stopped without a cause: {key[0]}-{key[1]}: {reason}")

    def told_why_a_standby_leaves(self, key: Key, reason: str) -> None:
        """Judge a standby that says that its journal lost something: what is open there is not cut off."""
        if any(words in reason for words in SHORTENED) and key not in self._world.shortened:
            self._world.problems.append(f"left without a cause: the standby of {key[0]}-{key[1]}: {reason}")

    async def look_at_standbys(self) -> None:
        """Take the stores away of standbys that have stopped for good: what an accepted journal lacks, they give up."""
        world = self._world
        if world.loop.time() < self.acted_at + LOOKED_AGAIN_S:
            return
        for process in world.processes:
            for key in [key for key in process.standbys.stopped() if self._may_act(key)]:
                await self.empty_the_disk(process, key)
                self.acted_at = world.loop.time()

    def _may_act(self, key: Key) -> bool:
        self._remedies[key] += 1
        return self._remedies[key] <= MOST_REMEDIES

    # --- what explains a stop ---

    def is_cut(self, process: Process, key: Key) -> bool:
        """Whether events were cut off, perhaps of a transaction that was committed afterwards."""
        del process
        world = self._world
        if key in world.perhaps_cut:
            world.cut.setdefault(key, world.perhaps_cut[key])
        return key in world.cut

    def only_the_disk_knows(self, process: Process, key: Key) -> bool:
        """Whether the store knows an event that was cut off, and the offset none; or whether it is another shard's.

        A store of another shard is told by the journal's first event, as long as it has one.
        """
        world, store = self._world, process.host.stores.get(key)
        there = journal_cids(world.all_logs(), *key)
        if store is None or store.key != key:
            return store is not None and not there
        known = self.known(key).last
        is_told = known is not None and cid_text(known.cid) not in there
        heads = {cid_text(stored.head) for _, stored in store.aggregates()}
        return not is_told and not heads.isdisjoint(world.lost_events - there)

    def is_shortened(self, process: Process, key: Key) -> bool:
        """Whether anything was cut off the journal, records that are no events among it."""
        del process
        return key in self._world.shortened

    def is_ahead(self, process: Process, key: Key) -> bool:
        """Whether somebody set the offset beyond all commands."""
        del process
        return key in self._world.offsets_ahead

    def may_be_undecided(self, process: Process, key: Key) -> bool:
        """Whether commands expired, and the offset that told that they were decided was lost."""
        del process
        has_expired = self._world.model.logs[self._world.names.commands(key[0]), key[1]].start > 0
        return has_expired and key in self._world.lost_offsets

    def has_lost_outcomes(self, process: Process, key: Key) -> bool:
        """Whether outcomes were cut off."""
        del process
        return key in self._world.lost_outcomes

    def has_fewer_outcomes(self, process: Process, key: Key) -> bool:
        """Whether outcomes were cut off, be it of a transaction that was aborted then."""
        return self.has_lost_outcomes(process, key) or key in self._world.torn_outcomes

    def has_two_owners(self, process: Process, key: Key) -> bool:
        """Whether a worker went on beside its successor."""
        del process, key
        return any(self._world.counts[what] for what in ("zombie", "freeze", "cut"))

    # --- what is done ---

    async def restart(self, process: Process, key: Key) -> None:
        """Do nothing but the restart."""

    async def empty_the_disk(self, process: Process, key: Key) -> None:
        """See that nothing is missing that nothing tells of, and take the store away."""
        await self._compared(key[0])
        process.host.stores.pop(key, None)

    async def accept_the_journal(self, process: Process, key: Key) -> None:
        """`annals journal accept --heads … --give-up`, after it has said what is missing."""
        del process
        world, kind = self._world, key[0]
        for found in await self._compared(kind):
            place = kind, found.partition
            if found.broken:
                world.problems.append(f"broken: {kind}-{found.partition}: {found.broken}")
            if found.is_acceptable(give_up=True):
                world.counts["accepted"] += 1
                await accept(self._deployment(), kind, found)
                world.give_up(place)
                # By the outcomes workers find out what is decided; the offset that says so may not be written yet.
                if place in world.lost_outcomes or self.known(place).journal_end is None:
                    world.set_back.add(place)

    async def delete_the_offset(self, process: Process, key: Key) -> None:
        """Delete the group's offset: what the journal has is recognised."""
        del process
        world = self._world
        world.lost_offsets[key] = world.loop.time()  # it was set ahead before
        world.model.groups[GROUP].committed.pop((world.names.commands(key[0]), key[1]), None)

    async def accept_expired(self, process: Process, key: Key) -> None:
        """Start the worker with `--accept-expired`."""
        del process
        self._world.accepts_expired.add(key)

    def known(self, key: Key) -> GroupMetadata:
        """Return what the group's offset says of a partition."""
        offset = self._world.model.committed_offset(GROUP, (self._world.names.commands(key[0]), key[1]))
        return NOTHING_KNOWN if offset is None else decode_metadata(offset[1])

    def _deployment(self) -> Deployment:
        return Deployment({CLUSTER: Cluster(self._world.model)}, self._world.names, GROUP)

    async def _compared(self, kind: str) -> list[Comparison]:
        """Compare a kind's journals with all heads that were handed out, and hold what is said against the topics."""
        world = self._world
        logs = world.all_logs()
        handed_out = [
            heads_handed_out([*world.lost_answers.get(where, ()), *logs[where]])
            for where in ((world.names.outcomes(kind), partition) for partition in range(PARTITIONS))
        ]
        compared = await compare(self._deployment(), kind, kept_heads(chain.from_iterable(handed_out), kind))
        for found, lines in zip(compared, handed_out, strict=True):
            there = journal_cids(logs, kind, found.partition)
            heads = {line["head"] for line in lines} - {None}
            listed = {event["cid"] for line in lines for event in line["events"]}
            said = {each.cid for each in found.missing}
            if not heads - there <= said <= (heads | listed) - there:
                world.problems.append(
                    f"journal accept of {kind}-{found.partition} says that {sorted(said)} are missing, and "
                    f"{sorted((heads | listed) - there)} are"
                )
        return compared


STOPS: Final = (
    Stop("so the store in the data directory says", Person.only_the_disk_knows, Person.empty_the_disk),
    Stop("Events that were acknowledged are gone", Person.is_cut, Person.accept_the_journal),
    Stop("Events that were acknowledged may be gone", Person.is_shortened, Person.accept_the_journal),
    Stop("lack what was acknowledged", Person.has_lost_outcomes, Person.accept_the_journal),
    Stop("to go on without what was lost, restart the worker", Person.has_fewer_outcomes, Person.restart),
    Stop("or delete the group's offsets", Person.is_ahead, Person.delete_the_offset),
    Stop("start the worker with --accept-expired", Person.may_be_undecided, Person.accept_expired),
    Stop("another deployment writes this journal", Person.has_two_owners, Person.restart),
)
"""The first whose words are in a reason."""


def _stop_of(reason: str) -> Stop | None:
    return next((stop for stop in STOPS if stop.words in reason), None)
