"""States of aggregates, now and as they were, and lists of aggregates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from annals.agents.deciding.refusals import UnknownEventError
from annals.agents.defects import NO_DEFECTS
from annals.agents.reading.layout import AGGREGATES, STATES, after, decode_aggregate, read_aggregate, read_position
from annals.agents.reading.ports import FoundAggregate, FoundState, ShardPosition, UnreadableEventError
from annals.agents.reading.queries.events import chain
from annals.schemas.cid import cid_text
from annals.schemas.values.moments import recorded_at

if TYPE_CHECKING:
    from datetime import datetime

    from annals.agents.reading.layout import AggregateRow
    from annals.agents.reading.ports import FoundEvent, ReadView
    from annals.agents.reading.queries.events import Place
    from annals.agents.reading.states import States


def state(
    view: ReadView, place: Place, states: States, key: bytes, version: int | None, at: datetime | None
) -> FoundState | None:
    """Return an aggregate now, at a version, or by its events up to a time (inclusive); None if there is none.

    Raises:
        UnreadableEventError: this release cannot fold one of the events.
    """
    end = read_aggregate(view, key)
    if version is None:
        version = end.version if at is None else _version_at(view, place, key, recorded_at(at))
    if not 0 < version <= end.version:
        return None
    known = states.read(view, key)
    if known.version == version:
        (last,) = chain(view, place, key, version, version)
        return _found(view, place, last, known.state)
    base, folded = known if known.version < version else (0, states.initial)
    for found in chain(view, place, key, base + 1, version):
        folded = _after(states, place, folded, found)
    return _found(view, place, found, folded)


def _after(states: States, place: Place, folded: Any, found: FoundEvent) -> Any:
    try:
        return states.after(folded, found.event)
    except NO_DEFECTS:
        raise
    except Exception as error:  # an aggregate's own code may raise anything; its text may have data
        why = error if isinstance(error, UnknownEventError) else f"it cannot be folded ({type(error).__name__})"
        raise UnreadableEventError(
            f"{place.kind} {found.event['aggregate_id']!r} version {found.event['version']}, partition "
            f"{place.partition}, offset {found.offset}, {cid_text(found.cid)}: {why}"
        ) from error


def aggregates(
    view: ReadView,
    states: States,
    *,
    status: str | None,
    since: datetime | None,
    until: datetime | None,
    behind: str | None,
    limit: int,
) -> tuple[list[FoundAggregate], bool]:
    """Return aggregates by id, behind one, and whether there were no more; since, until: of the last event."""
    least, bound = since and recorded_at(since), until and recorded_at(until)
    first = AGGREGATES if behind is None else AGGREGATES + behind.encode() + b"\x00"
    found: list[FoundAggregate] = []
    for key, value in view.range(first, after(AGGREGATES)):
        row = decode_aggregate(value)
        if (least and row.last_at < least) or (bound and row.last_at >= bound):
            continue
        kept = view.get(STATES + key[1:])
        own_status = "" if kept is None else states.status(kept)
        if status is not None and own_status != status:
            continue
        if len(found) == limit:
            return found, False
        found.append(_listed(key[1:], row, own_status))
    return found, True


def _listed(key: bytes, row: AggregateRow, status: str) -> FoundAggregate:
    head = row.head or b""
    return FoundAggregate(key.decode(), row.version, head, status, row.first_at, row.last_at, row.block_bytes, None)


def _version_at(view: ReadView, place: Place, key: bytes, at: str) -> int:
    """Return the last version up to a time: before the first event that was recorded later."""
    version = 0
    for found in chain(view, place, key, 1, None):
        if found.event["recorded_at"] > at:
            break
        version = found.event["version"]
    return version


def _found(view: ReadView, place: Place, last: FoundEvent, folded: Any) -> FoundState:
    event, position = last.event, ShardPosition(place.kind, place.partition, read_position(view).offset)
    return FoundState(
        kind=place.kind,
        aggregate_id=event["aggregate_id"],
        version=event["version"],
        head=last.cid,
        status=folded.status,
        recorded_at=event["recorded_at"],
        state=_named(folded),
        position=position,
    )


def _named(value: Any) -> Any:
    """Return a state as JSON types, the members of its parts by name."""
    if isinstance(value, msgspec.Struct):
        return {name: _named(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, dict):
        return {name: _named(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_named(part) for part in value]
    if isinstance(value, set | frozenset):
        return sorted(_named(part) for part in value)
    return value
