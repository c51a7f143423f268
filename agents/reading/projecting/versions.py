"""Versions of projections: which one answers, when all turn to another, and which rows a shard keeps.

Pure. A version is turned to by one record that every member reads, when every member has the version and it has reached
the former one's position on all partitions. Until a day after, the former one is folded on, so that all can turn back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from msgspec.structs import replace

from annals.agents.reading.projecting.rows import ProjectionFollower, follower_name, version_in
from annals.schemas.projection_record import MOST_AGGREGATES, AggregateRebuild, ProjectionRecord

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from annals.agents.deciding.decider import Decider
    from annals.agents.projections.projection import Projection
    from annals.agents.reading.ports import Member

    Positions = Mapping[str, Sequence[int | None]]
    Records = Mapping[str, ProjectionRecord]
    Projections = Mapping[str, Sequence[Projection[Any]]]

TURN_BACK_MS: Final = 86_400_000


class TurnRefusedError(Exception):
    """A version cannot be turned to, or dropped; the message says why."""


class Followed(NamedTuple):
    """What a shard has of projections. dropped: followers whose rows go."""

    followers: list[ProjectionFollower[Any]]
    dropped: list[str]


def newest(projections: Projections) -> dict[str, Projection[Any]]:
    """Return the newest version of each projection."""
    return {name: versions[-1] for name, versions in projections.items()}


def answering(name: str, record: ProjectionRecord | None, members: Sequence[Member], own: int) -> int:
    """Return the version to ask for: the record's; without one the newest that all members have."""
    if record is not None:
        return record.version
    known = [member.projections[name] for member in members if name in member.projections]
    return min([own, *known])


def candidate(name: str, record: ProjectionRecord | None, members: Sequence[Member]) -> int | None:
    """Return the version that all members have and that could be turned to; None if there is none."""
    common = min((member.projections.get(name, 0) for member in members), default=0)
    least = 0 if record is None else max(record.version, record.held or 0)
    return common if common > least else None


def nowhere_behind(offsets: Iterable[tuple[int | None, int | None]]) -> bool:
    """Whether no offset is less than the one that it has to reach, each behind that one; None: it is not known."""
    return all(former is not None and new is not None and former <= new for former, new in offsets)


def has_reached(former: Positions, new: Positions) -> bool:
    """Whether a version is nowhere behind the former one; a partition that did not answer is behind."""
    pairs = [(former.get(kind, [0] * len(offsets)), offsets) for kind, offsets in new.items()]
    are_alike = all(len(others) == len(offsets) for others, offsets in pairs)
    return bool(new) and are_alike and all(nowhere_behind(zip(*pair, strict=True)) for pair in pairs)


def turned_to(
    name: str, version: int, positions: Positions, record: ProjectionRecord | None, now_ms: int
) -> ProjectionRecord:
    """Return the record by which all turn to a version."""
    kept = {kind: list(offsets) for kind, offsets in positions.items()}
    if record is None:
        return ProjectionRecord(name=name, version=version, positions=kept, switched_ms=now_ms)
    return replace(record, version=version, positions=kept, switched_ms=now_ms, previous=record.version, held=None)


def turned_back(record: ProjectionRecord | None, now_ms: int) -> ProjectionRecord:
    """Return the record by which all turn back to the previous version.

    Raises:
        TurnRefusedError: there is none, or a day has passed.
    """
    if record is None or not may_turn_back(record, now_ms):
        raise TurnRefusedError("there is no previous version that is still kept: it is kept for a day")
    return replace(
        record, version=record.previous, positions={}, switched_ms=now_ms, previous=None, held=record.version
    )


def without_previous(record: ProjectionRecord | None, version: int) -> ProjectionRecord:
    """Return the record by which a previous version is dropped before its day is over.

    Raises:
        TurnRefusedError: it is the one that answers, or none that is kept.
    """
    if record is not None and record.version == version:
        raise TurnRefusedError(f"version {version} is the one that answers")
    if record is None or record.previous != version:
        raise TurnRefusedError(f"version {version} is not kept beside the one that answers")
    return replace(record, previous=None)


def rebuilt(record: ProjectionRecord) -> ProjectionRecord:
    """Return the record by which every shard builds all rows anew."""
    return replace(record, rebuilds=record.rebuilds + 1, aggregates=[])


def resumed(record: ProjectionRecord) -> ProjectionRecord:
    """Return the record by which every shard on which a projection failed tries its event again."""
    return replace(record, resumes=record.resumes + 1)


def rebuilt_aggregate(record: ProjectionRecord, kind: str, aggregate_id: str) -> ProjectionRecord:
    """Return the record by which the shard of an aggregate builds its rows anew."""
    number = record.aggregate_rebuilds + 1
    added = [*record.aggregates, AggregateRebuild(number, kind, aggregate_id)]
    return replace(record, aggregate_rebuilds=number, aggregates=added[-MOST_AGGREGATES:])


def may_turn_back(record: ProjectionRecord, now_ms: int) -> bool:
    """Whether the previous version is kept."""
    return record.previous is not None and now_ms < record.switched_ms + TURN_BACK_MS


def kept_versions(record: ProjectionRecord | None, own: Sequence[Projection[Any]], now_ms: int) -> set[int]:
    """Return the versions whose rows are kept: the one that answers, the previous one for a day, and the newest."""
    if record is None:
        return {projection.version for projection in own}
    kept = {record.version, own[-1].version}
    return kept | {record.previous} if may_turn_back(record, now_ms) and record.previous else kept


def followed(
    kind: str,
    projections: Projections,
    records: Records | None,
    deciders: Mapping[str, Decider[Any]],
    known: Iterable[str],
    now_ms: int,
    scope: str = "local",
) -> Followed:
    """Return what a shard of a kind folds, and what of the followers that its store knows is dropped.

    records: None while the topic was not read yet: then rows stay as they are, however often they were to be built
    anew. Without a record of a projection nothing of it is dropped.
    """
    unread, records = records is None, records or {}
    followers, kept = [], set()
    for name, versions in projections.items():
        record = records.get(name)
        numbers = kept_versions(record, versions, now_ms)
        kept |= {follower_name(name, number) for number in numbers}
        followers += [
            ProjectionFollower(version, deciders, None if unread else 0 if record is None else record.rebuilds)
            for version in versions
            if version.scope == scope and kind in version.places and version.version in numbers
        ]
    ours = {follower for follower in known if (version_in(follower) or ("",))[0] in records}
    return Followed(followers, sorted(ours - kept))


def unknown_versions(projections: Projections, records: Records) -> list[str]:
    """Return why this release cannot take part: versions that answer, and that it neither has nor could build."""
    return [
        f"version {record.version} of the projection {name!r} answers, and this release has none above "
        f"{projections[name][-1].version}: update it, or turn back"
        for name, record in sorted(records.items())
        if name in projections and record.version > projections[name][-1].version
    ]
