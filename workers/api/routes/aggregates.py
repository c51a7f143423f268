"""One aggregate: its state, now or as it was, and its events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode

from msgspec import Struct, field

from annals.agents.reading.gathering.gather import why_behind
from annals.schemas.cid import cid_text
from annals.schemas.dag_json import encode
from annals.workers.api.car import CAR, car_of
from annals.workers.api.gathered import EXPECT_WAIT_S, WaitExpected
from annals.workers.api.http.answers import events_json
from annals.workers.api.http.parameters import Id, Kind, Limit, Moment, Order, Version
from annals.workers.api.http.preferences import listed, weights_of
from annals.workers.api.http.problems import InvalidMember, all_invalid, not_found, not_ready, timed_out
from annals.workers.api.http.routing import ETAG, JSON, Answer, Route, Scope
from annals.workers.api.http.shapes import AggregateState, Events, stale_members

if TYPE_CHECKING:
    from annals.agents.reading.found import FoundState, ShardStatus
    from annals.agents.reading.ports import ReadingShard, Shards
    from annals.workers.api.http.routing import Call

PAGE: Final = 100
STALE: Final = "annals-stale"  # of an answer that has no members
STALE_SAID: Final = "Of a CAR, where a standby answers: why it may be behind, and up to where it has read."
POSITION: Final = "annals-position"
POSITION_SAID: Final = (
    "`partition=…; offset=…; events=…; seconds=…`: what it rests on, and how far that is behind the journal (as `lag`)."
)


class StateParameters(Struct, frozen=True):
    """Parameters of a state."""

    kind: Kind
    id: Id
    version: Version | None = None
    at: Moment | None = None
    expect_at_least: Version | None = None
    wait: WaitExpected | None = None


class HistoryParameters(Struct, frozen=True):
    """Parameters of an aggregate's events."""

    kind: Kind
    id: Id
    first: Version | None = field(name="from", default=None)
    last: Version | None = field(name="to", default=None)
    order: Order = "asc"
    limit: Limit = PAGE
    expect_at_least: Version | None = None
    wait: WaitExpected | None = None


class AggregateRoutes:
    """Routes of one aggregate."""

    def __init__(self, shards: Shards) -> None:
        """Take the reading shards."""
        self._shards = shards

    def routes(self) -> tuple[Route, ...]:
        """Return them."""
        path = "/v1/aggregates/{kind}/{id}"
        return (
            Route(
                "GET",
                path,
                Scope.READ,
                "An aggregate now, or as it was.",
                StateParameters,
                AggregateState,
                self.state,
                answers_with=((ETAG, "The head, in quotes."), (POSITION, POSITION_SAID)),
                is_conditional=True,
            ),
            Route(
                "GET",
                f"{path}/events",
                Scope.READ,
                "An aggregate's events; as a CARv1 of their blocks with `Accept: application/vnd.ipld.car`.",
                HistoryParameters,
                Events,
                self.events,
                content_types=(CAR,),
                headers=(("Accept", f"`{CAR}`: the blocks, from `from` to `to`; `limit` and `order` do not apply."),),
                answers_with=((ETAG, "Of a CAR."), (POSITION, POSITION_SAID), (STALE, STALE_SAID)),
                is_conditional=True,
            ),
        )

    async def state(self, call: Call) -> Answer:
        """Answer a state."""
        asked: StateParameters = call.parameters
        if asked.version is not None and asked.at is not None:
            message = "version and at exclude one another"
            raise all_invalid([InvalidMember("version", message), InvalidMember("at", message)])
        shard = self._shards.of(asked.kind, asked.id)
        read_until = await _until(shard, asked, call)
        found = await shard.state(asked.id, version=asked.version, at=asked.at)
        _require_read(shard, (shard.status() if found is None else found.position).offset, read_until)
        if found is None:
            raise absent(shard, f"there is no {asked.kind} of this id, version or time")
        status = shard.status()
        headers = {POSITION: _position(status, found.position.offset)}
        return Answer(encode(stale_members(status) | _document(found)), etag=cid_text(found.head), headers=headers)

    async def events(self, call: Call) -> Answer:
        """Answer a page of events, or a CAR."""
        asked: HistoryParameters = call.parameters
        shard = self._shards.of(asked.kind, asked.id)
        read_until = await _until(shard, asked, call)
        if accepts_car(listed(call.headers, "accept")):
            return await self._car(shard, asked, read_until)
        is_down = asked.order == "desc"
        found = await shard.history(
            asked.id, first=asked.first or 1, last=asked.last, descending=is_down, limit=asked.limit
        )
        status = shard.status()  # of who answered this: what follows may be another's answer
        _require_read(shard, status.offset, read_until)
        stale = stale_members(status)
        if not found and await shard.offset_of(asked.id, 1) is None:
            raise absent(shard, f"there is no {asked.kind} of this id")
        page = found[: asked.limit]
        following = await self._following(shard, asked, page[-1].event["version"]) if page else None
        rest = encode({"next": following} | stale)[1:-1]
        body = b'{"events":[%b],%b}' % (b",".join(await events_json(page)), rest)
        return Answer(body, headers={"vary": "accept", POSITION: _position(status, status.offset)})

    async def _following(self, shard: ReadingShard, asked: HistoryParameters, version: int) -> str | None:
        """Return the page behind a version; None if there are no more events, between those that were asked for."""
        if asked.order == "desc":
            return _next(asked, version - 1) if version > (asked.first or 1) else None
        is_last = asked.last is not None and version >= asked.last
        return None if is_last or await shard.offset_of(asked.id, version + 1) is None else _next(asked, version + 1)

    async def _car(self, shard: ReadingShard, asked: HistoryParameters, read_until: int) -> Answer:
        first, last = asked.first or 1, asked.last
        newest = await shard.history(asked.id, first=first, last=last, descending=True, limit=1)
        status = shard.status()
        _require_read(shard, status.offset, read_until)
        if not newest:
            raise absent(shard, f"there is no event of a {asked.kind} of this id between these versions")
        root = newest[0]
        body = car_of(shard, asked.id, first, root)
        headers = {"vary": "accept", POSITION: _position(status, status.offset)}
        if status.standby:
            headers[STALE] = f"{why_behind(status, None)}; partition={status.partition}; offset={status.offset}"
        return Answer(body, content_type=CAR, etag=f"{cid_text(root.cid)}.{first}.car", headers=headers)


async def _until(shard: ReadingShard, asked: StateParameters | HistoryParameters, call: Call) -> int:
    """Wait for the expected version; return the offset up to which an answer must rest on the journal."""
    if asked.expect_at_least is None:
        return 0
    wait_s = EXPECT_WAIT_S if asked.wait is None else asked.wait
    if not await shard.until_version(asked.id, asked.expect_at_least, call.started + wait_s):
        status = shard.status()
        position = {"partition": status.partition, "offset": status.offset}
        raise timed_out(f"version {asked.expect_at_least} did not come within {wait_s:g} s", position=position)
    offset = await shard.offset_of(asked.id, asked.expect_at_least)
    if offset is None:
        raise _behind(shard)
    return offset + 1


def _require_read(shard: ReadingShard, offset: int, read_until: int) -> None:
    """Refuse an answer that rests on less than what was waited for: who had that has lost the partition."""
    if offset < read_until:
        raise _behind(shard)


def _behind(shard: ReadingShard) -> Exception:
    """Return 503: another one answers for the partition than had the expected version."""
    return not_ready(f"{shard.kind}-{shard.partition} is answered for by one that is behind")


def absent(shard: ReadingShard, detail: str) -> Exception:
    """Return 404, or 503 while the shard has not read what there was when it was opened."""
    status = shard.status()
    if not status.reached:
        return not_ready(f"{shard.kind}-{shard.partition} is being read")
    by = f", says a standby, which has read up to offset {status.offset}" if status.standby else ""
    return not_found(f"{detail}{by}")


def _position(status: ShardStatus, offset: int) -> str:
    """Return what an answer rests on, and its age."""
    behind = max(0, status.end - offset)
    return f"partition={status.partition}; offset={offset}; events={behind}; seconds={status.lag_s:.3f}"


def accepts_car(header: str) -> bool:
    """Whether a CAR is asked for by name, and JSON is not preferred to it."""
    weights = weights_of(header)
    return 0.0 < weights.get(CAR, 0.0) >= weights.get(JSON, 0.0)


def aggregate_path(kind: str, aggregate_id: str) -> str:
    """Return the path of an aggregate, whatever characters its id has."""
    return f"/v1/aggregates/{quote(kind, safe='')}/{quote(aggregate_id, safe='')}"


def _next(asked: HistoryParameters, version: int) -> str:
    query: dict[str, Any] = {"order": asked.order, "limit": asked.limit}
    if asked.order == "asc":
        query |= {"from": version} | ({} if asked.last is None else {"to": asked.last})
    else:
        query |= {"to": version} | ({} if asked.first is None else {"from": asked.first})
    return f"{aggregate_path(asked.kind, asked.id)}/events?{urlencode(query)}"


def _document(found: FoundState) -> dict[str, Any]:
    return {
        "kind": found.kind,
        "aggregate_id": found.aggregate_id,
        "version": found.version,
        "head": cid_text(found.head),
        "status": found.status,
        "recorded_at": found.recorded_at,
        "state": found.state,
        "position": {"partition": found.position.partition, "offset": found.position.offset},
    }
