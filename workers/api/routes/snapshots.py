"""Snapshots that the reading store keeps of one aggregate. They make nothing true: states are the same without them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import UNSET, Struct, UnsetType

from annals.schemas.cid import cid_text
from annals.workers.api.http.answers import json_answer
from annals.workers.api.http.parameters import Id, Kind, Version
from annals.workers.api.http.routing import Answer, Route, Scope
from annals.workers.api.http.shapes import CidText, Position, RecordedAt, Stale, stale_members
from annals.workers.api.routes.aggregates import absent

if TYPE_CHECKING:
    from annals.agents.reading.found import KeptSnapshot
    from annals.agents.reading.ports import Shards
    from annals.workers.api.http.routing import Call


class OfAggregate(Struct, frozen=True):
    """Parameters of an aggregate's snapshots."""

    kind: Kind
    id: Id


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
    """An aggregate's kept states, the newest 1,000 of them, the newest last.

    `stale`, `position`: there where a standby answers, which keeps snapshots of its own.
    """

    snapshots: list[Snapshot]
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
                "The snapshots of an aggregate, the newest 1,000.",
                OfAggregate,
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
                is_administrative=True,
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
                is_administrative=True,
            ),
        )

    async def listed(self, call: Call) -> Answer:
        """Answer a list."""
        asked: OfAggregate = call.parameters
        shard = self._shards.of(asked.kind, asked.id)
        found = await shard.snapshots(asked.id)
        stale = stale_members(shard.status())
        if not found and await shard.offset_of(asked.id, 1) is None:
            raise absent(shard, f"there is no {asked.kind} of this id")
        return json_answer(Snapshots([_shown(kept) for kept in found], **stale))

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


def _shown(kept: KeptSnapshot) -> Snapshot:
    return Snapshot(kept.version, cid_text(kept.head), kept.size_bytes, kept.created_at)
