"""States of aggregates, now and as they were, and lists of aggregates."""

from __future__ import annotations

from bisect import bisect_right
from types import NoneType
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec.structs import replace

from annals.agents.deciding.refusals import UnknownEventError
from annals.agents.defects import is_of_machine
from annals.agents.reading.found import (
    AggregatePage,
    FoundAggregate,
    FoundState,
    ShardPosition,
)
from annals.agents.reading.keeping.layout import (
    AGGREGATES,
    STATES,
    after,
    decode_aggregate,
    read_aggregate,
    read_position,
)
from annals.agents.reading.keeping.states import StateRow
from annals.agents.reading.ports import UnreadableEventError
from annals.agents.reading.queries.events import chain, cid_at, of_version
from annals.schemas.cid import cid_text
from annals.schemas.values.moments import recorded_at

LOOKED_AT: Final = 10_000  # for one page: a fraction of the seconds that a partition has to answer
_PLAIN: Final = frozenset({str, int, bool, float, NoneType})

if TYPE_CHECKING:
    from datetime import datetime

    from annals.agents.reading.found import FoundEvent
    from annals.agents.reading.keeping.layout import AggregateRow
    from annals.agents.reading.keeping.states import States
    from annals.agents.reading.ports import ReadView
    from annals.agents.reading.queries.events import Place
    from annals.agents.reading.snapshots.kept import KeptSnapshots


def state(
    view: ReadView,
    place: Place,
    states: States,
    kept: KeptSnapshots,
    key: bytes,
    version: int | None,
    at: datetime | None,
) -> FoundState | None:
    """Return an aggregate now, at a version, or by its events up to a time (inclusive); None if there is none.

    Raises:
        UnreadableEventError: this release cannot fold one of the events.
    """
    end = read_aggregate(view, key)
    if version is None:
        version = end.version if at is None else _version_at(view, place, key, recorded_at(at), end)
    if not 0 < version <= end.version:
        return None
    cid = end.head if version == end.version and end.head else cid_at(view, place, key, version)
    found = kept.recent(cid)
    if found is None or found.version != version or found.aggregate_id.encode() != key:
        found, folded = _found(view, place, states, kept, key, version, end)
        kept.note(cid, found, folded)
    return replace(found, position=_position(view, place))


def _folded(view: ReadView, place: Place, states: States, kept: KeptSnapshots, key: bytes, version: int) -> Any:
    known = states.read(view, key)
    if known.version > version:
        known = kept.nearest(view, key, version) or StateRow(0, states.initial)
    base, folded = known
    if base < version:
        for found in chain(view, place, key, base + 1, version):
            folded = _after(states, place, folded, found)
    return folded


def newest(
    view: ReadView, place: Place, states: States, kept: KeptSnapshots, key: bytes
) -> tuple[FoundState, Any] | None:
    """Return an aggregate now, and its state as the decider has it; None if there is none."""
    end = read_aggregate(view, key)
    return _found(view, place, states, kept, key, end.version, end) if end.version else None


def _after(states: States, place: Place, folded: Any, found: FoundEvent) -> Any:
    try:
        return states.after(folded, found.event)
    except BaseException as error:  # an aggregate's own code may raise anything; its text may have data
        if is_of_machine(error):
            raise
        why = error if isinstance(error, UnknownEventError) else f"it cannot be folded ({type(error).__name__})"
        raise UnreadableEventError(
            f"{place.kind} {found.event['aggregate_id']!r} version {found.event['version']}, partition "
            f"{place.partition}, offset {found.offset}, {cid_text(found.cid)}: {why}"
        ) from error


def aggregates(
    view: ReadView,
    states: States,
    kept: KeptSnapshots,
    *,
    status: str | None,
    since: datetime | None,
    until: datetime | None,
    behind: str | None,
    limit: int,
) -> AggregatePage:
    """Return a page of aggregates by id, behind one; since, until: of the last event.

    Where few of those that are looked at are wanted it ends behind LOOKED_AT of them, perhaps without any.
    """
    offset = read_position(view).offset
    least, bound = since and recorded_at(since), until and recorded_at(until)
    first = AGGREGATES if behind is None else AGGREGATES + behind.encode() + b"\x00"
    found: list[FoundAggregate] = []
    looked_at = None
    for number_of, (key, value) in enumerate(view.range(first, after(AGGREGATES))):
        if number_of == LOOKED_AT:
            return AggregatePage(found, False, offset, looked_at)  # noqa: FBT003 - it is not the end
        looked_at = key[1:].decode()
        row = decode_aggregate(value)
        if (least and row.last_at < least) or (bound and row.last_at >= bound):
            continue
        state = view.get(STATES + key[1:])
        own_status = "" if state is None else states.status(state)
        if status is not None and own_status != status:
            continue
        if len(found) == limit:
            return AggregatePage(found, False, offset)  # noqa: FBT003 - it is not the end
        found.append(_listed(key[1:], row, own_status, kept.newest_version(view, key[1:])))
    return AggregatePage(found, True, offset)  # noqa: FBT003 - it is the end


def _listed(key: bytes, row: AggregateRow, status: str, snapshot: int | None) -> FoundAggregate:
    head = row.head or b""
    return FoundAggregate(key.decode(), row.version, head, status, row.first_at, row.last_at, row.block_bytes, snapshot)


def _version_at(view: ReadView, place: Place, key: bytes, at: str, end: AggregateRow) -> int:
    """Return the last version up to a time, by halving: no event was recorded before the one before it."""

    def time_of(version: int) -> str:
        time: str = of_version(view, place, key, version, end).event["recorded_at"]
        return time

    return bisect_right(range(1, end.version + 1), at, key=time_of)


def _found(
    view: ReadView, place: Place, states: States, kept: KeptSnapshots, key: bytes, version: int, end: AggregateRow
) -> tuple[FoundState, Any]:
    """Return an aggregate at a version that it has, and its state as the decider has it; end: the aggregate's row.

    Raises:
        UnreadableEventError: this release cannot fold one of the events.
    """
    last = of_version(view, place, key, version, end)
    folded = _folded(view, place, states, kept, key, version)
    found = FoundState(
        kind=place.kind,
        aggregate_id=last.event["aggregate_id"],
        version=version,
        head=last.cid,
        status=folded.status,
        recorded_at=last.event["recorded_at"],
        state=named(folded),
        position=_position(view, place),
    )
    return found, folded


def _position(view: ReadView, place: Place) -> ShardPosition:
    return ShardPosition(place.kind, place.partition, read_position(view).offset)


def named(value: Any) -> Any:
    """Return a state as JSON types, the members of its parts by name."""
    if type(value) in _PLAIN:  # most members
        return value
    if isinstance(value, msgspec.Struct):
        names = zip(value.__struct_fields__, value.__struct_encode_fields__, strict=True)
        return {said: named(getattr(value, name)) for name, said in names}
    if isinstance(value, dict):
        return {name: named(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [named(part) for part in value]
    if isinstance(value, set | frozenset):
        return sorted(named(part) for part in value)
    return value
