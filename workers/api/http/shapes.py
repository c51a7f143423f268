"""What the API answers, as types: its OpenAPI description is made of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType, field

from annals.agents.reading.gathering.gather import PartitionReason, why_behind
from annals.schemas.dag_json import event_json

if TYPE_CHECKING:
    from annals.agents.reading.found import FoundEvent, ShardStatus

CidText = Annotated[str, Meta(pattern="^b[a-z2-7]+$", description="A CID in text form.")]
RecordedAt = Annotated[str, Meta(description="RFC 3339, UTC, microseconds.")]


class Position(Struct, frozen=True):
    """The journal position that an answer rests on: all that counts below `offset` of this partition."""

    partition: int
    offset: int


Stale = list[PartitionReason] | UnsetType


class AggregateState(Struct, frozen=True):
    """An aggregate at a version. `state` has the fields of its kind by name.

    `stale`: there where a standby answers, which may be behind: what it has is at `position`.
    """

    kind: str
    aggregate_id: str
    version: int
    head: CidText
    status: str
    recorded_at: RecordedAt
    state: dict[str, Any]
    position: Position
    stale: Stale = UNSET


class Link(Struct, frozen=True):
    """A DAG-JSON link."""

    cid: CidText = field(name="/")


class Event(Struct, frozen=True):
    """An event as DAG-JSON, and where it stands."""

    kind: str
    aggregate_id: str
    version: int
    previous: Link | None
    type: str
    schema_version: int
    recorded_at: RecordedAt
    command_id: str
    correlation_id: str
    causation_id: str | None
    actor: str | None
    data: dict[str, Any]
    cid: CidText
    partition: int
    offset: int


class Events(Struct, frozen=True):
    """A page of events. `next`: path and query of the next page; null: there is none.

    `stale`, `position`: there where a standby answers, which may be behind, and up to where it has read.
    """

    events: list[Event]
    next: str | None
    stale: Stale = UNSET
    position: Position | UnsetType = UNSET


def stale_members(status: ShardStatus) -> dict[str, Any]:
    """Return what an answer about one aggregate says of a standby that gave it; nothing of an owner."""
    if not status.standby:
        return {}
    stale = {"kind": status.kind, "partition": status.partition, "reason": why_behind(status, None)}
    return {"stale": [stale], "position": {"partition": status.partition, "offset": status.offset}}


def found_event_json(found: FoundEvent) -> bytes:
    """Return a `FoundEvent` as `annals events` prints it."""
    return event_json(found.event, found.cid, found.partition, found.offset)
