"""Which parked events somebody means, and how they are told (pure)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, Literal, NamedTuple, Protocol

from msgspec import Meta, Struct

from annals.agents.publishing.delivering.records import moment_at
from annals.schemas.delivery import PARKED
from annals.schemas.subscription import MOST_PARTITIONS
from annals.schemas.values.moments import recorded_at
from annals.schemas.values.numbers import From0

if TYPE_CHECKING:
    from annals.schemas.delivery import Row


class Parked(NamedTuple):
    """A parked event. offset: of its record in `parked.<name>`; None: that is not there any more."""

    cid: str
    kind: str
    aggregate_id: str
    version: int
    type: str
    reason: str | None
    attempts: int
    parked_at: str
    partition: int
    offset: int | None


class Place(NamedTuple):
    """Where a page begins. is_kept: number is an offset of `parked.<name>`; else it counts what that has no more."""

    partition: int = 0
    is_kept: int = 0
    number: int = 0


FIRST: Final = Place()
Filter = Literal["kind", "aggregate_id", "type", "reason", "since", "until"]


class Described(Protocol):
    """What is told of a parked event beside which one it is. at: when it was parked, in milliseconds since 1970."""

    @property
    def kind(self) -> str:
        """The kind of its aggregate."""

    @property
    def type(self) -> str:
        """Its type."""

    @property
    def reason(self) -> str | None:
        """Why it was parked."""

    @property
    def at(self) -> int:
        """When."""


class Choice(NamedTuple):
    """Those that all of these hold of; None: whatever it is. since, until: of when it was parked."""

    cids: frozenset[str] | None = None
    kind: str | None = None
    aggregate_id: str | None = None
    type: str | None = None
    reason: str | None = None
    since: str | None = None
    until: str | None = None
    incarnation: int | None = None

    def has(self, row: Row) -> bool:
        """Whether a row is parked, and meant."""
        is_of_it = row.state == PARKED and self.incarnation in {None, row.incarnation}
        return is_of_it and self.names(row.cid, row.aggregate_id) and self.suits(row)

    def names(self, cid: str, aggregate_id: str) -> bool:
        """Whether an event of an aggregate is meant, as far as these two tell."""
        return (self.cids is None or cid in self.cids) and self.aggregate_id in {None, aggregate_id}

    def suits(self, row: Described) -> bool:
        """Whether an event is meant, as far as the rest tells."""
        return (
            self.kind in {None, row.kind}
            and self.type in {None, row.type}
            and self.reason in {None, row.reason}
            and (self.since is None or recorded_at(moment_at(row.at)) >= self.since)
            and (self.until is None or recorded_at(moment_at(row.at)) < self.until)
        )


class Meant(NamedTuple):
    """How many are meant, by partition of `parked.<name>` the offset that they are before, and of which incarnation."""

    number: int
    stop_at: list[int]
    incarnation: int


DECISION: Final = "parked"
"""The kind of jobs that decide about very many parked events."""


class ParkedDecision(Struct, frozen=True, forbid_unknown_fields=True):
    """What such a job is asked for.

    choice: the members of a `Choice` that are given. stop_at: by partition of `parked.<name>` the offset from which on
    nothing is meant. incarnation: of the subscription. why: of a discard.
    """

    name: str
    action: Literal["replay", "discard"]
    choice: dict[Filter, str]
    stop_at: Annotated[list[From0], Meta(max_length=MOST_PARTITIONS)]
    incarnation: int
    by: str
    why: str | None = None


def parked_of(row: Row, partition: int, offset: int | None) -> Parked:
    """Return a parked row as it is told."""
    return Parked(
        row.cid,
        row.kind,
        row.aggregate_id,
        row.version,
        row.type,
        row.reason,
        row.attempt,
        recorded_at(moment_at(row.at)),
        partition,
        offset,
    )
