"""The questions of the `ReadingShard` port as data, so that one worker can put them to another (`replies`).

Structs here are what workers of one group send to each other; a member that is added needs a default, since workers of
two releases meet while they are updated one after the other.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from msgspec import Struct

from annals.agents.reading.found import EventFilter


class Ask(Struct, frozen=True, tag_field="ask"):
    """A question to one shard."""


class AskStatus(Ask, frozen=True, tag="status"):
    """Where does the shard stand?"""


class AskUntilOffset(Ask, frozen=True, tag="until_offset"):
    """Is everything below an offset read before the deadline?"""

    offset: int


class AskUntilVersion(Ask, frozen=True, tag="until_version"):
    """Has an aggregate a version before the deadline?"""

    aggregate_id: str
    version: int


class AskOffsetOf(Ask, frozen=True, tag="offset_of"):
    """Where is an aggregate's event of a version?"""

    aggregate_id: str
    version: int


class AskState(Ask, frozen=True, tag="state"):
    """What is an aggregate's state?"""

    aggregate_id: str
    version: int | None = None
    at: datetime | None = None


class AskHistory(Ask, frozen=True, tag="history"):
    """What are an aggregate's events?"""

    aggregate_id: str
    first: int
    last: int | None
    descending: bool
    limit: int | None


class AskFind(Ask, frozen=True, tag="find"):
    """Which events match?"""

    wanted: EventFilter
    start: int | None
    descending: bool
    limit: int


class AskByCid(Ask, frozen=True, tag="by_cid"):
    """Which event has a CID?"""

    cid: bytes


class AskAggregates(Ask, frozen=True, tag="aggregates"):
    """Which aggregates are there?

    knows_places: whether the asker knows that a page may end before it is full, and say what it rests on.
    """

    status: str | None
    since: datetime | None
    until: datetime | None
    after: str | None
    limit: int
    knows_places: bool = False


class AskRows(Ask, frozen=True, tag="rows"):
    """Which rows has a projection?

    knows_places: whether the asker knows that rows below a value are in the order of the values, and that a page may
    have no row and not be the last. A former release does not, and would merge such pages with those of another order.
    also: other indexes, of which any may find a row; a former release passes over them (`RowPage.indexes`).
    """

    projection: str
    version: int
    index: dict[str, str]
    after: bytes | None
    limit: int
    knows_places: bool = False
    also: list[dict[str, str]] = []


class AskSnapshots(Ask, frozen=True, tag="snapshots"):
    """Which snapshots of an aggregate are kept?

    descending: None from a worker of a former release, which wants the newest 1,000, the newest last.
    """

    aggregate_id: str
    behind: int | None = None
    descending: bool | None = None
    limit: int = 1_000


class AskKeepSnapshot(Ask, frozen=True, tag="keep_snapshot"):
    """Keep a snapshot of an aggregate: which is it?"""

    aggregate_id: str


class AskDropSnapshot(Ask, frozen=True, tag="drop_snapshot"):
    """Remove a kept snapshot: was there one?"""

    aggregate_id: str
    version: int


class AskNumbers(Ask, frozen=True, tag="numbers"):
    """What does the partition have?"""


Question = (
    AskStatus
    | AskUntilOffset
    | AskUntilVersion
    | AskOffsetOf
    | AskState
    | AskHistory
    | AskFind
    | AskByCid
    | AskAggregates
    | AskRows
    | AskSnapshots
    | AskKeepSnapshot
    | AskDropSnapshot
    | AskNumbers
)


class Asked(Struct, frozen=True):
    """A question to the shard of a kind and partition; within_s: how long the asker waits.

    standby: a standby is asked, since the owner does not answer.
    """

    kind: str
    partition: int
    question: Question
    within_s: float
    standby: bool = False


OF_OWNERS: Final = (AskStatus, AskKeepSnapshot, AskDropSnapshot, AskNumbers)
"""What a standby is not asked: it writes nothing for others, and tells of the partition as no owner would."""

WAITS: Final = (AskUntilOffset, AskUntilVersion)
"""What is answered when what is waited for has come, which may take long."""
