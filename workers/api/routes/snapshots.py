"""Snapshots that the reading store keeps of one aggregate. They make nothing true: states are the same without them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode

from msgspec import UNSET, Struct, UnsetType

from annals.agents.reading.gathering.cursors import BadCursorError
from annals.agents.reading.gathering.key_cursors import decode_keys, encode_keys
from annals.schemas.cid import cid_text
from annals.workers.api.gathered import bad_cursors_refused
from annals.workers.api.http.answers import json_answer
from annals.workers.api.http.parameters import CursorText, Id, Kind, Limit, Order, Version
from annals.workers.api.http.routing import Answer, Route, Scope
from annals.workers.api.http.shapes import CidText, Position, RecordedAt, Stale, stale_members
from annals.workers.api.routes.aggregates import PAGE, absent, aggregate_path

if TYPE_CHECKING:
    from annals.agents.reading.found import KeptSnapshot
    from annals.agents.reading.ports import Shards
    from annals.workers.api.http.routing import Call


FORM: Final = 5  # of cursors: those of other lists have other ones
VERSION_BYTES: Final = 8


class OfAggregate(Struct, frozen=True):
    """Parameters of an aggregate's snapshots."""

    kind: Kind
    id: Id


class ListParameters(Struct, frozen=True):
    """Which of an aggregate's snapshots are wanted, by version."""

    kind: Kind
    id: Id
    order: Order = "asc"
    limit: Limit = PAGE
    cursor: CursorText | None = None


class OfVersion(Struct, frozen=True):
    """Parameters of one snapshot."""

    kind: Kind
    id: Id
    version: Version


class Snapshot(Struct, frozen=True):
    """A kept state. `bytes`: of its encoding."""

    version: int
    head: CidText
    bytes: int
    created_at: RecordedAt


class Snapshots(Struct, frozen=True):
    """An aggregate's kept states by version.

    `stale`, `position`: there where a standby answers, which keeps snapshots of its own.
    """

    snapshots: list[Snapshot]
    next: str | None
    stale: Stale = UNSET
    position: Position | UnsetType = UNSET


class SnapshotRoutes:
    """The routes of snapshots."""

    def __init__(self, shards: Shards) -> None:
        """Take the reading shards."""
        self._shards = shards

    def routes(self) -> tuple[Route, ...]:
        """Return them."""
        path = "/v1/aggregates/{kind}/{id}/snapshots"
        return (
            Route(
                "GET",
                path,
                Scope.READ,
                "The snapshots of an aggregate.",
                ListParameters,
                Snapshots,
                self.listed,
            ),
            Route(
                "POST",
                path,
                Scope.ADMIN,
                "Keep a snapshot of an aggregate as it is now.",
                OfAggregate,
                Snapshot,
                self.keep,
                status=201,
            ),
            Route(
                "DELETE",
                f"{path}/{{version}}",
                Scope.ADMIN,
                "Remove a snapshot.",
                OfVersion,
                None,
                self.drop,
                status=204,
            ),
        )

    async def listed(self, call: Call) -> Answer:
        """Answer a page of a list."""
        asked: ListParameters = call.parameters
        shard = self._shards.of(asked.kind, asked.id)
        behind = None
        if asked.cursor is not None:
            with bad_cursors_refused():
                behind = _version_in(asked.cursor, asked)
        descending = asked.order == "desc"
        found = await shard.snapshots(asked.id, behind=behind, descending=descending, limit=asked.limit + 1)
        stale = stale_members(shard.status())
        if not found and await shard.offset_of(asked.id, 1) is None:
            raise absent(shard, f"there is no {asked.kind} of this id")
        page = found[: asked.limit]
        following = _path(asked, page[-1].version) if len(found) > len(page) else None
        return json_answer(Snapshots([_shown(kept) for kept in page], following, **stale))

    async def keep(self, call: Call) -> Answer:
        """Keep one."""
        asked: OfAggregate = call.parameters
        shard = self._shards.of(asked.kind, asked.id)
        kept = await shard.keep_snapshot(asked.id)
        if kept is None:
            raise absent(shard, f"there is no {asked.kind} of this id")
        return json_answer(_shown(kept), status=201)

    async def drop(self, call: Call) -> Answer:
        """Remove one."""
        asked: OfVersion = call.parameters
        shard = self._shards.of(asked.kind, asked.id)
        if not await shard.drop_snapshot(asked.id, asked.version):
            raise absent(shard, "there is no snapshot of this version")
        return Answer(b"", 204)


def _version_in(text: str, asked: ListParameters) -> int:
    """Return the version behind which a cursor goes on.

    Raises:
        BadCursorError: it is none of this list.
    """
    of, keys = decode_keys(text, FORM)
    if of != _list_of(asked) or len(keys) != 1 or keys[0] is None or len(keys[0]) != VERSION_BYTES:
        raise BadCursorError("the cursor is of another list")
    return int.from_bytes(keys[0], "big")


def _path(asked: ListParameters, version: int) -> str:
    cursor = encode_keys(FORM, _list_of(asked), [version.to_bytes(VERSION_BYTES, "big")])
    query = urlencode({"order": asked.order, "limit": asked.limit, "cursor": cursor})
    return f"{aggregate_path(asked.kind, asked.id)}/snapshots?{query}"


def _list_of(asked: ListParameters) -> bytes:
    return f"{asked.kind}/{asked.order}/{asked.id}".encode()


def _shown(kept: KeptSnapshot) -> Snapshot:
    return Snapshot(kept.version, cid_text(kept.head), kept.size_bytes, kept.created_at)
