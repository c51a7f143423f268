"""The projections of a process: which versions its shards fold, which ones answer, and when all turn to another.

`apply` has every shard that is open here follow what the topic `projections` says. `turn` is for one member at a time,
the first by id; two that take themselves for it do no harm, since a record is written only over the one that was read.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Protocol

import structlog

from annals.agents.ports import StoreError
from annals.agents.reading.found import READING
from annals.agents.reading.gathering.gather import STANDBY
from annals.agents.reading.gathering.rows import VERSION_MISSING
from annals.agents.reading.ports import NotReadyError
from annals.agents.reading.projecting.rows import follower_name
from annals.agents.reading.projecting.versions import (
    answering,
    candidate,
    followed,
    has_reached,
    kept_versions,
    may_turn_back,
    newest,
    turned_to,
    unknown_versions,
)
from annals.agents.reading.queries.rows import RowReader
from annals.agents.reading.read_models.other_members import AskReached, OtherMembers
from annals.schemas.values.moments import unix_ms
from annals.topics.keys import partition_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from annals.agents.deciding.decider import Decider
    from annals.agents.ports import Clock
    from annals.agents.projections.projection import Projection
    from annals.agents.reading.found import ShardStatus
    from annals.agents.reading.gathering.rows import GatheredRows, RowSource
    from annals.agents.reading.ports import Follower, Key, Members
    from annals.agents.reading.projecting.versions import Followed
    from annals.agents.reading.read_models.global_reader import GlobalReader
    from annals.agents.reading.read_models.other_members import Peers
    from annals.schemas.projection_record import ProjectionRecord

GLOBAL: Final = "global"


class Records(Protocol):
    """The topic `projections`."""

    @property
    def records(self) -> Mapping[str, ProjectionRecord]:
        """The newest valid record of each projection."""

    @property
    def revision(self) -> int:
        """Another number after each change."""

    @property
    def is_read(self) -> bool:
        """Whether it was read to its end once."""

    async def change(
        self, name: str, change: Callable[[ProjectionRecord | None], ProjectionRecord | None]
    ) -> ProjectionRecord | None:
        """Write what a change makes of a projection's newest record, and return it; None: no change."""


class FollowingShard(Protocol):
    """What a reading shard that is here has beside the `ReadingShard` port."""

    @property
    def kind(self) -> str:
        """The kind of its journal."""

    @property
    def partition(self) -> int:
        """Its journal partition."""

    def status(self) -> ShardStatus:
        """Return where it stands."""

    def followers(self) -> Sequence[str]:
        """Return the names of all followers that have rows in its store."""

    def follow(self, followers: Sequence[Follower], dropped: Sequence[str] = ()) -> None:
        """Have other projections than before; dropped: names of followers whose rows go."""

    def rebuild(self, follower: str, aggregate_id: str, number: int) -> None:
        """Build the rows of one aggregate anew, unless it was done."""

    def resume(self, follower: str) -> None:
        """Let a follower that failed try its event again."""


class Here(Protocol):
    """The reading shards of this process."""

    def all(self) -> Sequence[FollowingShard]:
        """Return them."""

    def partitions(self, kind: str) -> int:
        """Return how many partitions a kind has."""


class ReadModels:
    """The projections of this process."""

    def __init__(
        self,
        projections: Mapping[str, Sequence[Projection[Any]]],
        deciders: Mapping[str, Decider[Any]],
        topic: Records,
        members: Members,
        clock: Clock,
        global_reader: GlobalReader | None = None,
    ) -> None:
        """Take what this release has, and what the members of the group say of themselves and of the topic.

        global_reader: of this process; None: there are no global projections.
        """
        self.projections = projections
        self._global = global_reader
        self._others = OtherMembers(members, clock)
        self.ask_rows = RowReader(newest(projections))
        self._deciders = deciders
        self._topic = topic
        self._members = members
        self._clock = clock
        self._applied: dict[Key, tuple[object, object]] = {}
        self._reached: dict[str, tuple[int, int]] = {}  # version and time of a turn, by name
        self._resumes: dict[str, int] = {}
        self._log = structlog.get_logger(__name__)

    def known(self) -> dict[str, int]:
        """Return the newest version of each projection, which the members of the group tell one another."""
        return {name: versions[-1].version for name, versions in self.projections.items()}

    def followers(self, kind: str) -> list[Follower]:
        """Return what a shard of a kind folds from its opening on."""
        return list(self._plan(kind, ()).followers)

    def version_of(self, name: str) -> int:
        """Return the version of a projection to ask for.

        Of a global one, the former version until the rows of this process have once reached those: it was not there
        when all turned, and no answer gets worse by that. From then on rows that fall behind are stale, as any are.

        Raises:
            NotReadyError: the topic was not read yet, which alone says which one answers.
        """
        if not self._topic.is_read:
            raise NotReadyError(f"which version of {name} answers is not known yet: the topic is being read")
        record, own = self._topic.records.get(name), self.projections[name][-1].version
        if record is not None and record.previous is not None and not self._has_turned(name, record, record.previous):
            return record.previous
        return answering(name, record, self._members.all(), own)

    def has_reached(self, name: str, version: int, former: int) -> bool:
        """Whether the rows of a version of a global projection are nowhere behind those of a former one here.

        Raises:
            NotReadyError: they are not read yet, or there is no such projection here.
        """
        if self._global is None or name not in self.projections:
            raise NotReadyError(f"there are no rows of {name} here")
        return self._global.has_reached(self.projections[name][-1], version, former)

    def _has_turned(self, name: str, record: ProjectionRecord, former: int) -> bool:
        """Whether this process answers by the version of a record, as it does for good once it has reached it."""
        turn = (record.version, record.switched_ms)
        if self._global is None or self.projections[name][-1].scope != GLOBAL or self._reached.get(name) == turn:
            return True
        if not may_turn_back(record, self._now_ms()):
            return True  # the former rows are not kept any more
        with suppress(NotReadyError, StoreError):
            if not self.has_reached(name, record.version, former):
                return False
            self._reached[name] = turn
        return True

    def problems(self) -> list[str]:
        """Return why this process cannot take part in reading; none where it can."""
        fails = None if self._global is None else self._global.problem
        return [*unknown_versions(self.projections, self._topic.records), *([] if fails is None else [fails])]

    def apply(self, here: Here) -> None:
        """Have everything that is open here follow what the topic says, where that is not done."""
        records = self._topic.records
        state = (self._topic.revision, self._topic.is_read, self._kept())
        for shard in here.all():
            where = (shard.kind, shard.partition)
            if shard.status().phase == READING and self._applied.get(where) != (shard, state):
                plan = self._plan(shard.kind, shard.followers())
                shard.follow(plan.followers, plan.dropped)
                for name, version in self._versions(shard.kind, "local"):
                    self._ask_rebuilds(name, version, where, here.partitions(shard.kind), shard.rebuild)
                self._applied[where] = (shard, state)
        if self._global is not None and self._applied.get(("", 0)) != (self._global, state):
            self._global.follow()
            self._ask_global_rebuilds(self._global, here)
            self._applied["", 0] = (self._global, state)
        for name in self.projections if self._topic.is_read else ():
            self.version_of(name)  # what this process has reached counts before anybody asks
            record = records.get(name)
            resumes = 0 if record is None else record.resumes  # one that failed on its first events has no record yet
            if resumes > self._resumes.setdefault(name, resumes):
                self._resumes[name] = resumes
                self._resume(name, here)

    async def turn(self, sources: Mapping[str, RowSource], peers: Peers | None = None) -> list[str]:
        """Turn to new versions that have reached the former ones everywhere; return the projections that were.

        peers: asks other workers of their rows of global projections; None: nobody can be asked.
        """
        members = self._members.all()
        me = self._members.me
        if not self._topic.is_read or me is None or me.id != min((member.id for member in members), default=None):
            return []
        turned = []
        for name, versions in self.projections.items():
            record = self._topic.records.get(name)
            version = candidate(name, record, members)
            new = next((each for each in versions if each.version == version), None)
            if new is not None and await self._turn_one(new, record, sources[new.scope], peers):
                turned.append(name)
        return turned

    async def _turn_one(
        self, new: Projection[Any], record: ProjectionRecord | None, source: RowSource, peers: Peers | None = None
    ) -> bool:
        page = await source.rows(new, new.version, {}, None, 1)
        # Without a record all answer by this version already: the first one keeps them from turning to the next as soon
        # as all know it, whatever there is of its rows.
        if record is not None and not await self._is_reached(new, record.version, page, source, peers):
            return False
        now_ms = self._now_ms()

        def change(found: ProjectionRecord | None) -> ProjectionRecord | None:
            return turned_to(new.name, new.version, page.positions, found, now_ms) if found == record else None

        written = await self._topic.change(new.name, change)
        if written is not None:
            self._log.info("turned to a version of a projection", projection=new.name, version=new.version)
        return written is not None

    async def _is_reached(
        self, new: Projection[Any], version: int, page: GatheredRows, source: RowSource, peers: Peers | None
    ) -> bool:
        """Whether a new version is nowhere behind the one that answers. page: of the new one."""
        former = await source.rows(new, version, {}, None, 1)
        if page.missing or not has_reached(_known_positions(former), page.positions):
            return False
        if any(each.reason.startswith(STANDBY) for found in (page, former) for each in found.stale):
            return False  # how far the owner is, which answers from then on, is not known
        asked = AskReached(new.name, new.version, version)
        return new.scope != GLOBAL or await self._others.have_reached(asked, peers)

    def _plan(self, kind: str, known: Iterable[str]) -> Followed:
        records = self._topic.records if self._topic.is_read else None
        return followed(kind, self.projections, records, self._deciders, known, self._now_ms())

    def _kept(self) -> tuple[tuple[str, bool], ...]:
        """Return what changes with time alone: whether a previous version is kept."""
        now_ms = self._now_ms()
        return tuple((name, may_turn_back(record, now_ms)) for name, record in sorted(self._topic.records.items()))

    def _versions(self, kind: str, scope: str) -> list[tuple[str, int]]:
        """Return the versions of a scope that are folded from a kind."""
        now_ms = self._now_ms()
        return [
            (name, each.version)
            for name, versions in self.projections.items()
            for each in versions
            if each.scope == scope and kind in each.places
            if each.version in kept_versions(self._topic.records.get(name), versions, now_ms)
        ]

    def _ask_rebuilds(
        self,
        name: str,
        version: int,
        shard: Key,
        partitions: int,
        rebuild: Callable[[str, str, int], None],
    ) -> None:
        """Ask a shard for the rebuilds of single aggregates that the projection's record lists in its partition.

        shard: kind and partition; partitions: of the kind; rebuild: the shard's.
        """
        record = self._topic.records.get(name)
        for each in () if record is None else record.aggregates:
            if (each.kind, partition_of(each.aggregate_id.encode(), partitions)) == shard:
                rebuild(follower_name(name, version), each.aggregate_id, each.number)

    def _ask_global_rebuilds(self, reader: GlobalReader, here: Here) -> None:
        """Ask the global reader for the listed rebuilds of all projections of scope `global`."""
        every = [each for versions in self.projections.values() for each in versions if each.scope == GLOBAL]
        for kind in sorted({kind for each in every for kind in each.wanted}):
            for name, version in self._versions(kind, GLOBAL):
                record = self._topic.records.get(name)
                for each in () if record is None else record.aggregates:
                    if each.kind == kind:
                        at = partition_of(each.aggregate_id.encode(), here.partitions(kind))
                        reader.rebuild(follower_name(name, version), (kind, at), each.aggregate_id, each.number)

    def _resume(self, name: str, here: Here) -> None:
        for version in self.projections[name]:
            follower = follower_name(name, version.version)
            for shard in here.all():
                shard.resume(follower)
            if self._global is not None:
                self._global.resume(follower)

    def _now_ms(self) -> int:
        return unix_ms(self._clock.now())


def _known_positions(page: GatheredRows) -> dict[str, list[int | None]]:
    """Return where a former version stands; a partition that does not have it has nothing to be waited for."""
    without = {(each.kind, each.partition) for each in page.missing if each.reason == VERSION_MISSING}
    return {
        kind: [0 if (kind, at) in without else offset for at, offset in enumerate(offsets)]
        for kind, offsets in page.positions.items()
    }
