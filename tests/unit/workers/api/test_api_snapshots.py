"""Snapshots that the reading store keeps, and statistics, over HTTP."""

import msgspec
import pytest

from annals.agents.aggregates import REGISTRY
from annals.agents.reading.gathering.questions import Asked, AskSnapshots
from annals.agents.reading.gathering.replies import Reply, read_answer, reply_to
from annals.agents.reading.snapshots.policy import SnapshotPolicy
from annals.schemas.cid import cid_text
from annals.workers.api.routes.aggregates import AggregateRoutes
from annals.workers.api.routes.schemas import schema_routes
from annals.workers.api.routes.snapshots import SnapshotRoutes
from annals.workers.api.routes.stats import StatsRoutes
from api_serving import Audit, reading, serving
from chained import chain
from following import soon

ADA = "/v1/aggregates/person/p-1"


async def test_a_snapshot_is_kept_listed_used_and_removed():
    events = chain("p-1", 6)
    async with reading(person=events[:3]) as (shards, journals):
        routes = [*SnapshotRoutes(shards).routes(), *AggregateRoutes(shards).routes()]
        async with serving(routes, audit=(audit := Audit())) as api:
            assert (await api("GET", ADA + "/snapshots"))[2] == {"snapshots": [], "next": None}
            status, _, made = await api("POST", ADA + "/snapshots")
            assert (status, set(made)) == (201, {"version", "head", "bytes", "created_at"})
            assert (made["version"], made["head"]) == (3, cid_text(events[2].cid))
            journals["person"].append(events[3:])
            shard = shards.of("person", "p-1")
            assert await shard.until_version("p-1", 6, soon())
            without = [(await api("GET", f"{ADA}?version={version}"))[2]["state"] for version in range(1, 7)]
            assert (await api("GET", ADA + "/snapshots"))[2] == {"snapshots": [made], "next": None}
            page = await shard.aggregates(status=None, since=None, until=None, after=None, limit=9)
            assert page.aggregates[0].snapshot_version == 3
            assert (await api("DELETE", ADA + "/snapshots/4"))[0] == 404
            assert (await api("DELETE", ADA + "/snapshots/3"))[::2] == (204, b"")
            assert (await api("GET", ADA + "/snapshots"))[2] == {"snapshots": [], "next": None}
            assert [(await api("GET", f"{ADA}?version={v}"))[2]["state"] for v in range(1, 7)] == without
            assert (await api("POST", "/v1/aggregates/person/p-2/snapshots"))[0] == 404
            assert (await api("GET", "/v1/aggregates/person/p-2/snapshots"))[0] == 404
    assert [entry.status for entry in audit.entries] == [None, 201, None, 404, None, 204, None, 404]


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_snapshots_are_listed_in_pages_by_version(order):
    events = chain("p-1", 7)
    async with (
        reading(SnapshotPolicy(events=1), person=events[:1]) as (shards, journals),
        serving(SnapshotRoutes(shards).routes(), audit=Audit()) as api,
    ):
        for event in events[1:]:
            journals["person"].append([event])
            assert await shards.of("person", "p-1").until_version("p-1", event.version, soon())
        listed, path = [], f"{ADA}/snapshots?order={order}&limit=3"
        while path:
            status, _, page = await api("GET", path)
            assert (status, len(page["snapshots"])) == (200, 3 if page["next"] else 1)
            listed += [each["version"] for each in page["snapshots"]]
            path = page["next"]
        assert listed == sorted(range(1, 8), reverse=order == "desc")
        whole = (await api("GET", f"{ADA}/snapshots"))[2]
        assert ([each["version"] for each in whole["snapshots"]], whole["next"]) == ([*range(1, 8)], None)
        cursor = (await api("GET", f"{ADA}/snapshots?order={order}&limit=3"))[2]["next"].partition("cursor=")[2]
        other = "asc" if order == "desc" else "desc"
        for wrong in ("cursor=x", f"cursor={cursor}&order={other}"):
            status, _, problem = await api("GET", f"{ADA}/snapshots?{wrong}")
            assert (status, problem["code"]) == (400, "bad_cursor")


async def test_workers_of_two_releases_tell_each_other_snapshots():
    """Goes red when one of the release before, which knows no pages, is told them in another order or number."""
    events = chain("p-1", 7)
    async with reading(SnapshotPolicy(events=1), person=events[:1]) as (shards, journals):
        for event in events[1:]:
            journals["person"].append([event])
            assert await shards.of("person", "p-1").until_version("p-1", event.version, soon())
        shard = shards.of("person", "p-1")
        former = Asked("person", 0, AskSnapshots("p-1"), 1)
        reply = msgspec.msgpack.decode(await reply_to(shard, former, 0), type=Reply)
        assert [kept.version for kept in read_answer(former, reply)] == [*range(1, 8)]
        for behind, descending, expected in ((None, False, [1, 2]), (2, False, [3, 4]), (4, True, [3, 2])):
            asked = Asked("person", 0, AskSnapshots("p-1", behind, descending, 2), 1)
            assert [kept.version for kept in read_answer(asked, reply)] == expected  # of all that it keeps
            own = msgspec.msgpack.decode(await reply_to(shard, asked, 0), type=Reply)
            assert [kept.version for kept in read_answer(asked, own)] == expected


async def test_a_snapshot_that_is_not_there_while_the_journal_is_read_may_be_there():
    """Goes red when whoever has not read all says that there is none."""
    async with (
        reading(person=chain("p-1", 1)) as (shards, _),
        serving(SnapshotRoutes(shards).routes(), audit=Audit()) as api,
    ):
        shards.of("person", "p-1").take_over()  # type: ignore[attr-defined]
        status, _, problem = await api("DELETE", ADA + "/snapshots/1")
        assert (status, problem["code"], problem["detail"]) == (503, "not_ready", "person-0 is being read")


async def test_a_kept_state_is_folded_on_and_one_of_another_chain_or_release_is_passed_over():
    events = chain("p-1", 4)
    async with reading(person=events) as (shards, _):
        shard = shards.of("person", "p-1")
        await shard.keep_snapshot("p-1")
        store = shard._open_store.store  # type: ignore[attr-defined]
        ((key, value),) = store.range(b"n", b"o")
        moved = key[:-8] + (2).to_bytes(8, "big")  # its head is that of version 4: it is not of this chain
        personal = {b"w" + moved[1:]: store.get(b"w" + key[1:])}
        store.apply({moved: value, **personal})
        assert (await shard.state("p-1", version=3)).state["name"] == "Ada 3"
        good = value[:8] + events[1].cid + value[44:]
        store.apply({moved: good, **personal})
        assert (await shard.state("p-1", version=2)).state["name"] == "Ada 4"  # the state that was put there
        store.apply({moved: (REGISTRY["person"].state_version + 1).to_bytes(8, "big") + good[8:], **personal})
        assert (await shard.state("p-1", version=2)).state["name"] == "Ada 2"


async def test_statistics_are_by_kind_and_partition():
    events = [*chain("p-1", 3), *chain("p-2", 2)]
    async with reading(person=events, document=[]) as (shards, _), serving(StatsRoutes(shards).routes()) as api:
        status, _, body = await api("GET", "/v1/stats")
        assert status == 200
        size = sum(len(event.value) for event in events)
        assert (body["total"]["events"], body["total"]["aggregates"], body["total"]["bytes"]) == (5, 2, size)
        assert body["kinds"]["person"] == body["total"]
        (person,) = [part for part in body["partitions"] if part["kind"] == "person"]
        assert (person["partition"], person["events"], person["latency"]["max_s"] > 0) == (0, 5, True)
        assert person["events_per_second"] == 5 / 60
        assert (len(body["partitions"]), body["missing"]) == (2, [])


async def test_statistics_are_counted_with_the_events_and_once_where_a_store_has_not_counted_yet():
    events = [*chain("p-1", 3), *chain("p-2", 2)]
    async with reading(person=events[:4]) as (shards, journals):
        shard = shards.of("person", "p-1")
        before = await shard.numbers()
        assert (before.events, before.aggregates) == (4, 2)
        store = shard._open_store.store  # type: ignore[attr-defined]
        store.apply({b"a" + b"p-2": None} | {b"x": None})  # what is scanned is not what was counted
        assert (await shard.numbers()).aggregates == 2
        store.apply({b"q": None})
        assert ((await shard.numbers()).events, (await shard.numbers()).aggregates) == (3, 1)
        journals["person"].append(chain("p-3", 2))
        assert await shard.until_version("p-3", 2, soon())
        counted = await shard.numbers()
        assert (counted.events, counted.aggregates) == (5, 2)
        assert store.get(b"q") is not None


async def test_a_partition_that_cannot_answer_is_missing():
    async with reading(person=[]) as (shards, _), serving(StatsRoutes(shards).routes()) as api:
        await shards.of("person", "p-1")._leave("gone")  # type: ignore[attr-defined]
        _, _, body = await api("GET", "/v1/stats")
        assert [(part["kind"], part["partition"]) for part in body["missing"]] == [("person", 0)]


async def test_schemas_are_served():
    async with serving(schema_routes()) as api:
        names = (await api("GET", "/v1/schemas"))[2]["schemas"]
        assert "urn:annals:schema:person:PersonRegistered:1" in names
        for name in names[:3]:
            status, headers, schema = await api("GET", f"/v1/schemas/{name}")
            assert (status, headers["content-type"]) == (200, "application/schema+json; charset=utf-8")
            assert schema["$id"] == name
        assert (await api("GET", "/v1/schemas/urn:annals:schema:person:Nothing:1"))[0] == 404
