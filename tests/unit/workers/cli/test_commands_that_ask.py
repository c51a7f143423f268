"""Commands that ask the API of a worker: states, snapshots, events and statistics."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack

import pytest
from aiohttp import web
from aiohttp.test_utils import RawTestServer
from structlog.testing import capture_logs

from annals.agents.aggregates import REGISTRY
from annals.agents.reading.gathering.all_shards import AllShards
from annals.workers.api.routes.aggregates import AggregateRoutes
from annals.workers.api.routes.listed import ListRoutes
from annals.workers.api.routes.snapshots import SnapshotRoutes
from annals.workers.api.routes.stats import StatsRoutes
from api_serving import Alone, Audit, reading, serving
from chained import chain
from commands_beside import annals


async def test_states_snapshots_events_and_statistics_are_told_by_the_command_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    events = chain("p/1 ü", 5)
    async with (
        AsyncExitStack() as stack,
        reading(**{kind: events if kind == "person" else [] for kind in REGISTRY}) as (shards, _),
    ):
        everywhere = AllShards(shards._reading, Alone(), None, REGISTRY)  # type: ignore[arg-type]
        routes = [
            *SnapshotRoutes(shards).routes(),
            *AggregateRoutes(shards).routes(),
            *StatsRoutes(shards).routes(),
            *ListRoutes(everywhere).routes(),
        ]
        async with serving(routes, audit=Audit()) as api:
            stack.enter_context(capture_logs())  # those of the API, which go to standard output here
            who = "person", "p/1 ü"

            async def said(status: int, *words: str) -> str:
                code, out, errors = await annals(monkeypatch, f"http://127.0.0.1:{api.port}", *words)
                assert code == status, (words, out, errors)
                return out or errors

            now = json.loads(await said(0, "state", *who, "--json"))
            assert (now["version"], now["state"]["name"]) == (5, "Ada 5")
            assert json.loads(await said(0, "state", *who, "--version", "2", "--json"))["state"]["name"] == "Ada 2"
            assert "version 5" in await said(0, "state", *who, "--at", "2026-11-21T09:30:01Z")
            assert "404: there is no person" in await said(1, "state", *who, "--at", "2020-01-01T00:00:00Z")
            assert "404: there is no person" in await said(1, "state", "person", "p-2")
            assert "400: " in await said(2, "state", *who, "--at", "yesterday")
            assert "exclude one another" in await said(
                2, "state", *who, "--at", "2020-01-01T00:00:00Z", "--version", "1"
            )

            assert json.loads(await said(0, "snapshots", "list", *who, "--json")) == {"snapshots": []}
            assert "no snapshot" in await said(1, "snapshots", "show", *who)
            made = json.loads(await said(0, "snapshots", "create", *who, "--json"))
            assert (made["version"], set(made)) == (5, {"version", "head", "bytes", "created_at"})
            assert json.loads(await said(0, "snapshots", "list", *who, "--json")) == {"snapshots": [made]}
            counted = json.loads(await said(0, "snapshots", "stats", "--json"))["snapshots"]["person"]
            assert (counted["count"], counted["bytes"], counted["hit_rate"]) == (1, made["bytes"], 0.0)
            assert "hit rate 0%" in await said(0, "snapshots", "stats")
            assert await said(0, "snapshots", "list", "person") == "p/1 ü  version 5\n"
            shown = json.loads(await said(0, "snapshots", "show", *who, "5", "--json"))
            assert (shown["state"], shown["head"]) == (now["state"], made["head"])
            assert "no snapshot of version 4" in await said(1, "snapshots", "show", *who, "4")
            assert "404: " in await said(1, "snapshots", "delete", *who, "4")
            await said(0, "snapshots", "delete", *who, "5")
            assert "404: " in await said(1, "snapshots", "create", "person", "p-2")
            assert "404: " in await said(1, "snapshots", "list", "person", "p-2")

            url = f"http://127.0.0.1:{api.port}"
            lines = [json.loads(line) for line in (await said(0, "events", *who, "--api", url)).splitlines()]
            history = (await api("GET", "/v1/aggregates/person/p%2F1%20%C3%BC/events"))[2]["events"]
            assert lines == history
            part = await said(0, "events", *who, "--api", url, "--from", "2", "--to", "4", "--reverse", "--limit", "2")
            assert [json.loads(line)["version"] for line in part.splitlines()] == [4, 3]
            assert "version 5" in await said(0, "state", *who, "--expect-at-least", "5")
            assert "there is no event" in await said(1, "events", "person", "p-2", "--api-url", url)

            stats = json.loads(await said(0, "stats", "--json"))
            assert stats["total"]["events"] == 5
            assert "person                   5 events" in await said(0, "stats")


@pytest.mark.parametrize("aggregate_id", ["..", ".", "%2F", "a+b/c"])
async def test_an_id_is_asked_for_as_it_is(monkeypatch: pytest.MonkeyPatch, aggregate_id: str) -> None:
    events = chain(aggregate_id, 2)
    async with AsyncExitStack() as stack, reading(person=events) as (shards, _):
        routes = [*SnapshotRoutes(shards).routes(), *AggregateRoutes(shards).routes()]
        async with serving(routes, audit=Audit()) as api:
            stack.enter_context(capture_logs())
            url = f"http://127.0.0.1:{api.port}"
            for words in (["state"], ["snapshots", "create"], ["snapshots", "list"], ["events", "--api", url]):
                status, out, errors = await annals(monkeypatch, url, *words, "person", aggregate_id)
                assert (status, bool(out), errors) == (0, True, ""), words


@pytest.mark.parametrize("words", ["state person p", "stats", "snapshots list person p", "events person p --api {}"])
async def test_an_api_that_is_not_there_is_said_in_a_line_and_no_token_is_shown(
    monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    monkeypatch.setenv("ANNALS_API_TOKEN", "very-secret")
    gone = "http://127.0.0.1:1"
    status, out, errors = await annals(monkeypatch, "http://127.0.0.1:1", *words.format(gone).split())
    assert (status, out) == (2, "")
    assert errors.startswith(f"annals: no API answers at {gone}")
    assert errors.count("\n") == 1
    assert "very-secret" not in errors


@pytest.mark.parametrize("address", ["https://u:very-secret@h/", "https://h/?t=very-secret", "https://h/#very-secret"])
async def test_an_address_that_is_refused_may_hold_a_secret(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    status, out, errors = await annals(monkeypatch, "http://127.0.0.1:1", "state", "person", "p", "--api", address)
    assert (status, out) == (2, "")
    assert "what is given is not an http or https address without user, password, query and fragment" in errors
    assert "very-secret" not in errors


OTHERS = {
    "a list": (200, "[1]"),
    "an object": (200, "{}"),
    "its own 404": (404, '{"error": "no such page"}'),
    "a 404 that is a list": (404, "[]"),
    "a redirection": (302, '{"location": "/login"}'),
    "no JSON": (200, "<html>"),
}


@pytest.mark.parametrize("words", ["state person p", "stats", "snapshots list person p", "events person p --api {}"])
@pytest.mark.parametrize("answer", OTHERS)
async def test_another_service_is_not_taken_for_an_api(
    monkeypatch: pytest.MonkeyPatch, words: str, answer: str
) -> None:
    """Goes red when its 404 is the answer no (exit status 1), or its JSON a traceback."""
    status, text = OTHERS[answer]

    async def other(_: web.BaseRequest) -> web.Response:
        return web.Response(status=status, text=text, content_type="application/json")

    async with RawTestServer(other) as server:
        url = f"http://127.0.0.1:{server.port}"
        code, out, errors = await annals(monkeypatch, f"http://127.0.0.1:{server.port}", *words.format(url).split())
    assert (code, out) == (2, "")
    assert errors.startswith(f"annals: no API answers at {url} (")
    assert errors.count("\n") == 1
