"""One aggregate over HTTP: its state now and as it was, its events in pages and as a CAR, ids of any characters."""

import json
from urllib.parse import quote

import pytest
from libipld import decode_car
from multidict import CIMultiDict

from annals.agents.aggregates import REGISTRY
from annals.schemas.cid import cid_of, cid_text
from annals.workers.api.routes.aggregates import AggregateRoutes
from api_serving import aggregates_of, reading, serving
from chained import chain, sealed

ADA = "/v1/aggregates/person/p-1"


async def test_a_state_is_answered_with_its_head_as_etag():
    events = chain("p-1", 3)
    async with aggregates_of(person=events) as api:
        status, headers, body = await api("GET", ADA)
        assert status == 200
        assert headers["etag"] == f'"{cid_text(events[2].cid)}"'
        assert (body["kind"], body["aggregate_id"], body["version"]) == ("person", "p-1", 3)
        assert body["head"] == cid_text(events[2].cid)
        assert body["position"] == {"partition": 0, "offset": 3}
        assert set(body) == {"kind", "aggregate_id", "version", "head", "status", "recorded_at", "state", "position"}
        status, headers, body = await api("GET", ADA, headers={"if-none-match": f'W/"x", {headers["etag"]}'})
        assert (status, body) == (304, b"")
        lines = CIMultiDict([("if-none-match", '"x"'), ("if-none-match", headers["etag"])])
        assert (await api("GET", ADA, headers=lines))[0] == 304
        status, headers, body = await api("GET", ADA + "?version=2")
        assert (status, body["version"], headers["etag"]) == (200, 2, f'"{cid_text(events[1].cid)}"')
        assert (await api("GET", ADA + "?at=2026-11-22T00:00:00Z"))[2]["version"] == 3
        assert (await api("HEAD", ADA))[::2] == (200, b"")


async def test_what_an_answer_rests_on_and_how_old_that_is_is_in_a_header():
    async with aggregates_of(person=chain("p-1", 3)) as api:
        for path in (ADA, f"{ADA}?version=1", f"{ADA}/events"):
            _, headers, _ = await api("GET", path)
            assert headers["annals-position"] == "partition=0; offset=3; events=0; seconds=0.000"
        _, headers, _ = await api("GET", f"{ADA}/events", headers={"accept": "application/vnd.ipld.car"})
        assert headers["annals-position"].startswith("partition=0; offset=3; ")


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        (ADA + "?version=4", 404, "not_found"),
        (ADA + f"?version={2**53 + 1}", 404, "not_found"),
        (ADA + "?version=" + "9" * 400, 404, "not_found"),
        (ADA + "?version=-1", 400, "invalid_request"),
        (ADA + f"?expect_at_least={2**64}&wait=0", 504, "timeout"),
        (f"/v1/aggregates/person/p-2/events?from={2**64}", 404, "not_found"),
        (ADA + "?at=2026-11-21T09:30:00.1234559Z", 404, "not_found"),
        (ADA + "?at=2026-11-20T00:00:00Z", 404, "not_found"),
        ("/v1/aggregates/person/p-2", 404, "not_found"),
        ("/v1/aggregates/person/p-2/events", 404, "not_found"),
        ("/v1/aggregates/planet/p-1", 404, "not_found"),
        ("/v1/aggregates/planet/p-1?x=1", 404, "not_found"),
        (ADA + "?version=0", 400, "invalid_request"),
        (ADA + "?version=1e1", 400, "invalid_request"),
        (ADA + "?version=2&at=2026-11-22T00:00:00Z", 400, "invalid_request"),
        (ADA + "?version=1&version=1", 400, "invalid_request"),
        (ADA + "?at=2026-11-22", 400, "invalid_request"),
        (ADA + "?at=0001-01-01T00:00:00%2B10:00", 400, "invalid_request"),
        (ADA + "?at=2026-13-22T00:00:00Z", 400, "invalid_request"),
        (ADA + "?wait=61", 400, "invalid_request"),
        (ADA + "?wait=nan", 400, "invalid_request"),
        (ADA + "?kind=person", 400, "invalid_request"),
        (ADA + "?x=1", 400, "invalid_request"),
        (ADA + "?version", 400, "invalid_request"),
        (ADA + "?version=%ff", 400, "invalid_request"),
        ("/v1/aggregates/person/%ff", 400, "invalid_request"),
        ("/v1/aggregates/person/%00", 400, "invalid_request"),
        ("/v1/aggregates/person/" + "x" * 257, 400, "invalid_request"),
        (ADA + "/events?limit=0", 400, "invalid_request"),
        (ADA + "/events?limit=1001", 400, "invalid_request"),
        (ADA + "/events?order=up", 400, "invalid_request"),
        (ADA + "/events?from=0", 400, "invalid_request"),
        (ADA + "?expect_at_least=4&wait=0", 504, "timeout"),
        ("/v1/nothing", 404, "not_found"),
        ("/v1/aggregates/person//events", 404, "not_found"),
        ("/v1/aggregates/person/p-1/", 404, "not_found"),
    ],
)
async def test_what_is_wrong_is_a_problem(path, status, code):
    async with aggregates_of(person=chain("p-1", 3)) as api:
        found, headers, problem = await api("GET", path)
        assert (found, headers["content-type"]) == (status, "application/problem+json")
        assert problem["type"] == f"urn:annals:problem:{code}"
        assert (problem["status"], bool(problem["title"]), bool(problem["detail"])) == (status, True, True)
        if code == "invalid_request":
            assert all(set(error) == {"path", "message"} for error in problem["errors"])
        if code == "timeout":
            assert problem["position"] == {"partition": 0, "offset": 3}


async def test_a_version_that_is_waited_for_is_answered_when_it_comes():
    events = chain("p-1", 3)
    async with reading(person=events[:2]) as (shards, journals), serving(AggregateRoutes(shards).routes()) as api:
        request = api("GET", ADA + "?expect_at_least=3&wait=30")
        journals["person"].append(events[2:])
        assert (await request)[2]["version"] == 3


@pytest.mark.parametrize("accept", ["application/json", "application/vnd.ipld.car"])
async def test_events_of_a_version_that_is_waited_for_are_answered_when_it_comes(accept):
    events = chain("p-1", 3)
    async with reading(person=events[:2]) as (shards, journals), serving(AggregateRoutes(shards).routes()) as api:
        path = f"{ADA}/events?from=3&expect_at_least=3"
        status, _, problem = await api("GET", f"{path}&wait=0", headers={"accept": accept})
        assert (status, problem["code"], problem["position"]) == (504, "timeout", {"partition": 0, "offset": 2})
        request = api("GET", f"{path}&wait=30", headers={"accept": accept})
        journals["person"].append(events[2:])
        status, _, body = await request
        assert status == 200
        assert events[2].value in body if accept != "application/json" else body["events"][0]["version"] == 3


class Moved:
    """The shard of a partition that moved when an expected version had come: who has it now is behind."""

    def __init__(self, shard, offset):
        self._shard, self._offset = shard, offset

    def __getattr__(self, name):
        return getattr(self._shard, name)

    async def until_version(self, aggregate_id, version, deadline):
        return True

    async def offset_of(self, aggregate_id, version):
        return self._offset


@pytest.mark.parametrize("offset", [2, None])  # the latter: who is behind is asked for it, too
@pytest.mark.parametrize("query", ["", "&at=2099-01-01T00:00:00Z", "&version=3"])
async def test_a_state_is_not_answered_from_before_the_version_that_is_expected(query, offset):
    async with reading(person=chain("p-1", 2)) as (shards, _):
        moved = Moved(shards.of("person", "p-1"), offset)
        shards.of = lambda kind, aggregate_id: moved
        async with serving(AggregateRoutes(shards).routes()) as api:
            status, _, problem = await api("GET", f"{ADA}?expect_at_least=3{query}")
            assert (status, problem["code"]) == (503, "not_ready")


async def test_a_shard_that_has_not_read_what_there_was_says_so():
    async with reading(person=[]) as (shards, _), serving(AggregateRoutes(shards).routes()) as api:
        shards.of("person", "p-1")._end.opened(1)  # type: ignore[attr-defined]
        status, headers, problem = await api("GET", ADA)
        assert (status, headers["retry-after"], problem["type"]) == (503, "1", "urn:annals:problem:not_ready")
        status, _, _ = await api("GET", "/v1/aggregates/document/d-1")  # nobody reads it
        assert status == 503


async def test_events_come_in_pages_that_link_to_the_next():
    events = chain("p-1", 5)
    async with aggregates_of(person=events) as api:
        for order, wanted in (("asc", [1, 2, 3, 4, 5]), ("desc", [5, 4, 3, 2, 1])):
            path, found = f"{ADA}/events?order={order}&limit=2", []
            while path is not None:
                assert path.startswith("/v1/")
                _, _, page = await api("GET", path)
                found += page["events"]
                path = page["next"]
            assert [event["version"] for event in found] == wanted
        assert found[-1]["cid"] == cid_text(events[0].cid)
        assert (found[0]["previous"], found[-1]["previous"]) == ({"/": cid_text(events[3].cid)}, None)
        assert (found[0]["partition"], found[0]["offset"]) == (0, 4)
        _, _, page = await api("GET", ADA + "/events?from=2&to=3")
        assert [event["version"] for event in page["events"]] == [2, 3]
        assert (await api("GET", ADA + "/events?from=9"))[2] == {"events": [], "next": None}


async def test_events_come_as_a_car():
    events = chain("p-1", 5)
    async with aggregates_of(person=events) as api:
        path = ADA + "/events?from=2&to=4&limit=1&order=desc"
        status, headers, car = await api("GET", path, headers={"accept": "application/vnd.ipld.car;version=1"})
        assert (status, headers["content-type"]) == (200, "application/vnd.ipld.car")
        header, blocks = decode_car(car)
        assert header == {"version": 1, "roots": [events[3].cid]}
        assert list(blocks) == [event.cid for event in events[1:4]]
        assert all(event.value in car and cid_of(event.value) == event.cid for event in events[1:4])
        lines = CIMultiDict([("accept", "application/json;q=0.1"), ("accept", "application/vnd.ipld.car")])
        assert (await api("GET", path, headers=lines))[2] == car
        status, _, problem = await api("GET", ADA + "/events?from=6", headers={"accept": "application/vnd.ipld.car"})
        assert (status, problem["type"]) == (404, "urn:annals:problem:not_found")


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("*/*", "application/json"),
        ("application/vnd.ipld.car;q=0", "application/json"),
        ("application/vnd.ipld.car; q=0.000, */*", "application/json"),
        ("application/json, application/vnd.ipld.car;q=0.9", "application/json"),
        ("application/json;q=0.5, Application/VND.ipld.car; version=1; q=0.9", "application/vnd.ipld.car"),
        ("application/json, application/vnd.ipld.car", "application/vnd.ipld.car"),
    ],
)
async def test_a_car_is_for_who_prefers_one_and_caches_are_told(accept, wanted):
    async with aggregates_of(person=chain("p-1", 9)) as api:
        headers = {"accept": accept, "accept-encoding": "gzip"}
        status, given, _ = await api("GET", ADA + "/events", headers=headers)
        assert (status, given["content-type"]) == (200, wanted)
        varies = {"accept", "accept-encoding"} if wanted == "application/json" else {"accept"}
        assert set(given["vary"].split(", ")) == varies
        assert "content-encoding" in given or wanted != "application/json"


@pytest.mark.parametrize(
    "aggregate_id",
    ["a/b", "..", ".", "a%2Fb", "a b", "a+b", "ä/ö?#&=%", "a\u2028b", "💡", "a;b", "//", "%", "\\", "{id}"],
)
async def test_every_character_of_an_id_goes_round(aggregate_id):
    async with aggregates_of(person=chain(aggregate_id, 2)) as api:
        path = f"/v1/aggregates/person/{quote(aggregate_id, safe='').replace('.', '%2E')}"
        status, _, body = await api("GET", path)
        assert (status, body.get("aggregate_id")) == (200, aggregate_id)
        _, _, page = await api("GET", path + "/events?limit=1")
        assert page["events"][0]["aggregate_id"] == aggregate_id
        _, _, page = await api("GET", page["next"].replace("..", "%2E%2E").replace("/./", "/%2E/"))
        assert page["events"][0]["version"] == 2


async def test_numbers_are_exact():
    data = {"name": "x", "n": [2**64 - 1, -(2**63), 0.1, 1.0, 5e-324, 1.7976931348623157e308]}
    async with aggregates_of(person=[sealed("p-1", 1, None, data=data)]) as api:
        _, _, page = await api("GET", ADA + "/events")
        assert json.dumps(page["events"][0]["data"], sort_keys=True) == json.dumps(data, sort_keys=True)
        assert REGISTRY["person"].kind == page["events"][0]["kind"]


async def test_a_version_beyond_all_numbers_is_one_that_is_not_there():
    async with aggregates_of(person=chain("p-1", 3)) as api:
        assert (await api("GET", f"{ADA}/events?from={2**70}"))[2] == {"events": [], "next": None}
        assert len((await api("GET", f"{ADA}/events?to={2**70}"))[2]["events"]) == 3
        assert (await api("GET", f"{ADA}?at=2026-11-21T09:30:00.1234569Z"))[2]["version"] == 3


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_a_page_of_large_events_has_fewer_and_links_to_the_next(monkeypatch, order):
    monkeypatch.setattr("annals.agents.reading.queries.events.PAGE_BYTES", 1_000)
    events = chain("p-1", 9)
    async with aggregates_of(person=events) as api:
        versions, path = [], f"{ADA}/events?order={order}&from=2&to=8"
        while path is not None:
            status, _, body = await api("GET", path)
            assert (status, 0 < len(body["events"]) < 5) == (200, True)
            versions += [event["version"] for event in body["events"]]
            path = body["next"]
        assert versions == (list(range(2, 9)) if order == "asc" else list(range(8, 1, -1)))
