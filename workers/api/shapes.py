"""What the API answers, as types: its OpenAPI description is made of them."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct, field

from annals.schemas.dag_json import event_json

CidText = Annotated[str, Meta(pattern="^b[a-z2-7]+$", description="A CID in text form.")]
RecordedAt = Annotated[str, Meta(description="RFC 3339, UTC, microseconds.")]


class Position(Struct, frozen=True):
    """The journal position that an answer rests on: all that counts below `offset` of this partition."""

    partition: int
    offset: int


class AggregateState(Struct, frozen=True):
    """An aggregate at a version. `state` has the fields of its kind by name."""

    kind: str
    aggregate_id: str
    version: int
    head: CidText
    status: str
    recorded_at: RecordedAt
    state: dict[str, Any]
    position: Position


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
    """A page of events. `next`: path and query of the next page; null: there is none."""

    events: list[Event]
    next: str | None


def found_event_json(found: Any) -> bytes:
    """Return a `FoundEvent` as `annals events` prints it."""
    return event_json(found.event, found.cid, found.partition, found.offset)
