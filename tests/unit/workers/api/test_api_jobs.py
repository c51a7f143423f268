"""The routes of replays and jobs: which targets HTTP may name, what is wrong with a body, pages, cancelling."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest

from annals.agents.reading.gathering.cursors import seal_text
from annals.agents.reading.jobs import MOST_RUNNING, Jobs
from annals.agents.reading.ports import Member
from annals.agents.reading.replays import ReplayRequest
from annals.workers.api.routes.jobs import JobRoutes
from annals.workers.audit.chains import JournalId
from annals.workers.audit.journals import Journal
from annals.workers.jobs.replays import Replays, plan_of
from annals.workers.replay import event_types
from annals.workers.settings import Settings
from api_serving import Audit, serving
from following import Clock
from jobs_in_memory import JobRecordsInMemory, numbered

FILE = {"target": {"file": "lines.jsonl"}}


class Alone:
    """A group of one."""

    me = Member("me", None, {}, {})

    def all(self):
        return [self.me]

    def owner(self, kind, partition):
        return self.me


class Waits:
    """Work that never ends by itself."""

    async def __call__(self, record, report):
        report({"events": 3, "total": 7, "rate": 1.5, "positions": {"person": [3, None]}})
        await asyncio.Event().wait()


async def found(settings, kinds, key):
    """Three partitions each, which end at 10, 11 and 12; with a key the second one alone."""
    partitions = range(3) if key is None else [1]
    return [
        Journal(JournalId(kind, f"events.{kind}", partition, 3), 0, 10 + partition)
        for kind in kinds
        for partition in partitions
    ]


async def nothing(settings):
    """What other releases have published."""
    return frozenset()


@asynccontextmanager
async def replays(folder):
    settings = Settings(api_port=0, replay_dir=folder)
    jobs = Jobs(JobRecordsInMemory(), Alone(), {"replay": Waits(), "verify": Waits()}, Clock(), numbered())
    try:
        async with serving(JobRoutes(jobs, Replays(settings, jobs, found)).routes(), settings, audit=Audit()) as api:
            yield api, jobs
    finally:
        await jobs.close()


async def test_a_replay_is_begun_told_and_cancelled(tmp_path):
    async with replays(tmp_path) as (api, jobs):
        status, headers, body = await api("POST", "/v1/replays", json=FILE)
        assert (status, headers["location"]) == (202, f"/v1/replays/{body['id']}")
        assert (body["status"], body["events"], body["target"]) == ("running", 0, {"file": "lines.jsonl"})
        await asyncio.sleep(0)
        status, _, body = await api("GET", headers["location"])
        assert (status, body["status"], body["events"], body["total"], body["rate"]) == (200, "running", 3, 7, 1.5)
        assert (body["failures"], body["positions"], body["error"]) == (0, {"person": [3, None]}, None)
        status, _, body = await api("DELETE", headers["location"])
        assert (status, body["status"], body["events"]) == (202, "cancelled", 3)
        assert (await api("DELETE", headers["location"]))[2] == body
        assert jobs.running == 0
        verified = await jobs.start("verify", "locations", {})
        assert (await api("GET", f"/v1/replays/{verified.id}"))[0] == 404
        assert (await api("DELETE", f"/v1/replays/{verified.id}"))[0] == 404
        assert (await api("GET", f"/v1/jobs/{verified.id}"))[2]["kind"] == "verify"
        assert (await api("DELETE", f"/v1/jobs/{verified.id}"))[2]["status"] == "cancelled"


async def test_pages_are_the_newest_first(tmp_path):
    async with replays(tmp_path) as (api, _):
        made = [(await api("POST", "/v1/replays", json={"dry_run": True}))[2]["id"] for _ in range(5)]
        found, path = [], "/v1/replays?limit=2"
        while path is not None:
            _, _, body = await api("GET", path)
            found += [each["id"] for each in body["replays"]]
            path = body["next"]
        assert found == made[::-1]
        assert [each["id"] for each in (await api("GET", "/v1/jobs"))[2]["jobs"]] == found
        _, _, body = await api("GET", "/v1/jobs?limit=2")
        of_others = [body["next"].partition("cursor=")[2], seal_text(b"\x01\x00"), seal_text(b"j-0001"), "x", ""]
        for cursor in of_others:
            status, _, problem = await api("GET", f"/v1/replays?cursor={cursor}")
            assert (status, problem["code"]) == (400, "bad_cursor"), cursor
        assert len((await api("GET", body["next"]))[2]["jobs"]) == 2


async def test_no_more_run_than_may(tmp_path):
    async with replays(tmp_path) as (api, _):
        for _ in range(MOST_RUNNING):
            assert (await api("POST", "/v1/replays", json={"dry_run": True}))[0] == 202
        status, headers, body = await api("POST", "/v1/replays", json={"dry_run": True})
        assert (status, body["code"], headers["retry-after"]) == (429, "too_many_requests", "5")


@pytest.mark.parametrize(
    "target",
    [
        {"topic": "commands.person"},
        {"topic": "events.person"},
        {"topic": "replays."},
        {"topic": "replays.Upper"},
        {"topic": "x.replays.copy"},
        {"topic": ["replays.copy"]},
        {"file": "../outside"},
        {"file": "/etc/passwd"},
        {"file": "below/it"},
        {"file": ".hidden"},
        {"file": "link"},
        {"file": "a\nb"},
        {"file": ""},
        {"handler": "os:system"},
        {"handler": "unknown"},
        {"file": "a", "topic": "replays.copy"},
        {"webhook": "http://127.0.0.1/"},
        {},
    ],
)
async def test_http_names_no_code_no_path_and_no_other_topic(tmp_path, target):
    (tmp_path / "link").symlink_to("/etc/passwd")
    async with replays(tmp_path) as (api, jobs):
        for dry_run in (False, True):  # which is asked to see what the replay would be
            status, _, body = await api("POST", "/v1/replays", json={"target": target, "dry_run": dry_run})
            assert (status, body["code"]) == (403, "target_not_permitted")
        assert jobs.running == 0


async def test_without_a_folder_no_file_is_written():
    async with replays(None) as (api, _):
        assert (await api("POST", "/v1/replays", json=FILE))[2]["code"] == "target_not_permitted"


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"target": None}, "target"),
        ({"target": "replays.copy"}, "target"),
        ({"kinds": ["cat"]}, "kinds[0]"),
        ({"kinds": "person"}, "kinds"),
        ({"types": ["PersonRenamed", "PersonRenamd"]}, "types[1]"),
        ({"types": ["TaskAssigned"], "kinds": ["person"]}, "types[0]"),
        ({"types": ["PersonRenamd"], "positions": {"person": [1]}}, "types[0]"),
        ({"aggregate": {"kind": "cat", "id": "p"}}, "aggregate.kind"),
        ({"aggregate": {"kind": "person", "id": ""}}, "aggregate.id"),
        ({"aggregate": {"kind": "person", "id": "p"}, "kinds": ["person"]}, "kinds"),
        ({"since": "yesterday"}, "since"),
        ({"since": "0001-01-01T00:00:00+05:00"}, "since"),
        ({"until": "9999-12-31T23:59:59-01:00"}, "until"),
        ({"positions": {"person": [-1]}}, "positions.person[0]"),
        ({"positions": {"cat": [1]}}, "positions.cat"),
        ({"positions": {"person": []}}, "positions.person"),
        ({"positions": {"person": [1, 1]}}, "positions.person"),
        ({"positions": {"person": [1, 1, 1, 1]}}, "positions.person"),
        ({"positions": {"person": [None] * 4}}, "positions.person"),
        ({"positions": {"person": [11, None, 12]}}, "positions.person[0]"),
        ({"positions": {"person": [10, 12, 2**63 - 1]}}, "positions.person[2]"),
        ({"positions": {"person": [1, 1, 1], "agent": [0, 0, 13]}}, "positions.agent[2]"),
        ({"positions": {"agent": [1, 1, 1]}, "kinds": ["person"]}, "positions.agent"),
        ({"positions": {"agent": [1, 1, 1]}, "aggregate": {"kind": "person", "id": "p"}}, "positions.agent"),
        ({"positions": {"person": [1, 12, 1]}, "aggregate": {"kind": "person", "id": "p"}}, "positions.person[1]"),
        ({"rate": 0}, "rate"),
        ({"rate": True}, "rate"),
        ({"retries": -1}, "retries"),
        ({"dry_run": "yes"}, "dry_run"),
        ({"speed": 1}, "speed"),
    ],
)
async def test_what_is_wrong_with_a_body_is_named(tmp_path, monkeypatch, change, path):
    monkeypatch.setattr(event_types, "_published", nothing)
    async with replays(tmp_path) as (api, jobs):
        status, _, body = await api("POST", "/v1/replays", json={**FILE, **change})
        assert (status, body["code"]) == (400, "invalid_request"), body
        assert path in [each["path"] for each in body["errors"]], body
        assert jobs.running == 0


@pytest.mark.parametrize(
    ("text", "bound"),
    [
        ("2026-11-21T09:30:00.123456Z", "2026-11-21T09:30:00.123456Z"),
        ("2026-11-21T10:30:00.1234561+01:00", "2026-11-21T09:30:00.123457Z"),
    ],
)
def test_a_replay_between_two_microseconds_begins_and_ends_at_the_later_one(text, bound):
    request = ReplayRequest(since=text, until=text, dry_run=True)
    assert plan_of(request, Settings()).selection[3:] == (bound, bound)


@pytest.mark.parametrize("positions", [{}, {"person": [10, 11, 12]}, {"person": [None] * 3, "agent": [0, None, 12]}])
async def test_positions_up_to_the_ends_of_the_journals_are_taken(tmp_path, positions):
    async with replays(tmp_path) as (api, _):
        assert (await api("POST", "/v1/replays", json={**FILE, "positions": positions}))[0] == 202
