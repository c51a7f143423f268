"""A kind's aggregates, listed over all its partitions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode

from msgspec import Struct

from annals.agents.deciding.machine import ABSENT
from annals.agents.reading.gathering.aggregates import (
    AggregatesFound,
    AggregatesWanted,
    decode_places,
    encode_places,
    read_aggregates,
)
from annals.schemas.cid import cid_text
from annals.schemas.dag_json import encode
from annals.schemas.suggestion import with_known
from annals.schemas.values.moments import recorded_at
from annals.workers.api.gathered import (
    Expect,
    Gathering,
    WaitExpected,
    bad_cursors_refused,
    gather_until,
    gathered_json,
    until_expected,
    until_rests_on,
)
from annals.workers.api.http.parameters import CursorText, Kind, Limit, Since, Status, Until
from annals.workers.api.http.problems import invalid
from annals.workers.api.http.routing import Answer, Route, Scope
from annals.workers.api.http.shapes import CidText, RecordedAt
from annals.workers.registry import deciders

if TYPE_CHECKING:
    from annals.agents.reading.found import FoundAggregate
    from annals.agents.reading.gathering.all_shards import AllShards
    from annals.workers.api.http.routing import Call

PAGE: Final = 100


class ListParameters(Struct, frozen=True):
    """Which aggregates are wanted; `since` (inclusive) and `until` (exclusive) compare the last event's time."""

    kind: Kind
    status: Status | None = None
    since: Since | None = None
    until: Until | None = None
    limit: Limit = PAGE
    cursor: CursorText | None = None
    expect: Expect = []
    wait: WaitExpected | None = None


class ListedAggregate(Struct, frozen=True):
    """An aggregate in a list. `bytes`: of all its event blocks."""

    aggregate_id: str
    version: int
    head: CidText
    status: str
    first_at: RecordedAt
    last_at: RecordedAt
    bytes: int
    snapshot_version: int | None


class AggregatesGathered(Gathering, frozen=True):
    """A page of aggregates by id. `next`: null: all partitions answered and had no more.

    Where few are wanted of many, a page may have fewer than `limit` before the last one, or none.
    """

    aggregates: list[ListedAggregate]
    next: str | None
    cursor: str


class ListRoutes:
    """The route of a list."""

    def __init__(self, shards: AllShards) -> None:
        """Take the reading shards."""
        self._shards = shards

    def routes(self) -> tuple[Route, ...]:
        """Return it."""
        path, summary = "/v1/aggregates/{kind}", "A kind's aggregates by id."
        answer = self.aggregates
        return (Route("GET", path, Scope.READ, summary, ListParameters, AggregatesGathered, answer, problems=(504,)),)

    async def aggregates(self, call: Call) -> Answer:
        """Answer a page of aggregates."""
        asked: ListParameters = call.parameters
        _require_status(asked.kind, asked.status)
        expected = await until_expected(self._shards, asked.expect, asked.wait, call)
        shards = self._shards.of_kinds([asked.kind])
        places: list[str | None] = [None] * len(shards)
        if asked.cursor is not None:
            with bad_cursors_refused():
                places = decode_places(asked.cursor, asked.kind, len(shards))
        wanted = AggregatesWanted(asked.status, asked.since, asked.until)

        async def read() -> AggregatesFound:
            return await read_aggregates(shards, wanted, places, asked.limit, gather_until(call))

        page = await until_rests_on(expected, asked.wait, call, read)
        behind = encode_places(asked.kind, page.places)
        _, positions, missing, stale, lag = page.gathered
        items = (encode(_listed(found)) for found in page.aggregates)
        following = None if page.is_end else _path(asked, behind)
        return Answer(
            gathered_json(b"aggregates", items, positions, missing, stale, lag, next=following, cursor=behind)
        )


def _require_status(kind: str, status: str | None) -> None:
    """Refuse a status that the kind does not have: it is this release's fold that says an aggregate's status."""
    known = deciders()[kind].machine.statuses
    if status is not None and status not in known and status != ABSENT:  # what cannot be folded at all is absent
        raise invalid("status", with_known(f"{kind} has no status", status, known))


def _listed(found: FoundAggregate) -> dict[str, Any]:
    return {
        "aggregate_id": found.aggregate_id,
        "version": found.version,
        "head": cid_text(found.head),
        "status": found.status,
        "first_at": found.first_at,
        "last_at": found.last_at,
        "bytes": found.block_bytes,
        "snapshot_version": found.snapshot_version,
    }


def _path(asked: ListParameters, cursor: str) -> str:
    query: dict[str, Any] = {} if asked.status is None else {"status": asked.status}
    query |= {name: recorded_at(at) for name in ("since", "until") if (at := getattr(asked, name)) is not None}
    query |= {"limit": asked.limit, "cursor": cursor}
    return f"/v1/aggregates/{quote(asked.kind, safe='')}?{urlencode(query)}"
