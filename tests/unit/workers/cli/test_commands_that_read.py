"""Commands that read over all partitions: events, lists of aggregates, correlations and questions."""

from __future__ import annotations

import asyncio
import json
import os
from asyncio.subprocess import PIPE, Process, create_subprocess_exec
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from aiohttp import web
from aiohttp.test_utils import RawTestServer
from structlog.testing import capture_logs

from annals.agents.aggregates import REGISTRY
from annals.schemas.cid import cid_text
from commands_beside import annals
from gathered import event, id_in
from gathered_serving import deployed, read_all
from processes import ENTRY_POINT, own_environment

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

ONE_EACH = dict.fromkeys(REGISTRY, 1) | {"person": 2}
ALL = [(kind, partition) for kind, count in ONE_EACH.items() for partition in range(count)]
WITHIN_S = 300
FIRST, SECOND = id_in(0, 2), id_in(1, 2)


@asynccontextmanager
async def told(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Callable[..., Awaitable[str]]]:
    """What a command says over a story of three events."""
    async with deployed(ONE_EACH, ALL) as (deployment, (api,)):
        first = event("person", FIRST, second=1, command_id="a", type_="PersonRegistered", actor="hr")
        second = event("person", SECOND, second=2, command_id="b", causation_id="a", type_="PersonRegistered")
        third = event("person", FIRST, first, 3, command_id="c", causation_id=cid_text(second.cid))
        deployment.append("person", [first, second, third])
        await read_all(deployment)

        async def said(status: int, *words: str) -> str:
            found, out, errors = await annals(monkeypatch, f"http://127.0.0.1:{api.port}", *words)
            assert found == status, (words, out, errors)
            return out or errors

        with capture_logs():  # those of the API, which go to standard output here
            yield said


def commands(lines: str) -> list[str]:
    return [json.loads(line)["command_id"] for line in lines.splitlines()]


async def test_events_of_all_aggregates_are_printed_by_what_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("annals.workers.cli.events.PAGE", 1)  # each event is on a page of its own
    async with told(monkeypatch) as said:
        assert commands(await said(0, "events")) == ["a", "b", "c"]
        assert commands(await said(0, "events", "--kind", "person", "--reverse")) == ["c", "b", "a"]
        assert commands(await said(0, "events", "--limit", "2")) == ["a", "b"]
        assert commands(await said(0, "events", "--type", "PersonRegistered")) == ["a", "b"]
        assert commands(await said(0, "events", "--correlation-id", "r", "--actor", "hr")) == ["a"]
        assert commands(await said(0, "events", "--causation-id", "a")) == ["b"]
        assert commands(await said(0, "events", "--command-id", "c")) == ["c"]
        since = "2026-11-21T09:30:02+00:00"
        assert commands(await said(0, "events", "--since", since, "--until", "2026-11-21T09:30:03Z")) == ["b"]
        assert "there is no event of those that are wanted" in await said(1, "events", "--kind", "workflow")
        assert "Is PersonRenamed meant?" in await said(2, "events", "--type", "PersonRenamd")


async def test_events_are_followed_until_it_is_told_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    async with told(monkeypatch) as said:
        await said(0, "events", "--limit", "1")
        environment = own_environment(ANNALS_API_URL=os.environ["ANNALS_API_URL"])

        async def followed(*words: str) -> Process:
            command = [str(ENTRY_POINT), "events", "--follow", *words]
            return await create_subprocess_exec(*command, env=environment, stdout=PIPE, stderr=PIPE)

        async with asyncio.timeout(WITHIN_S):
            out, _ = await (limited := await followed("--limit", "3")).communicate()
            assert (limited.returncode, commands(out.decode())) == (0, ["a", "b", "c"])
            _, errors = await (refused := await followed("--since", "yesterday")).communicate()
            assert (refused.returncode, errors[:12]) == (2, b"annals: 400:")
            endless = await followed("--actor", "hr")
            assert endless.stdout is not None
            assert json.loads(await endless.stdout.readline())["command_id"] == "a"
            endless.terminate()
            assert await endless.wait() == 0


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("events --from 2", "--from needs ID"),
        ("events --to 2", "--to needs ID"),
        ("events person", "Missing argument 'ID'"),
        ("events person p --kind person", "--kind is for all aggregates, without ID"),
        ("events person p --type PersonRenamed", "--type is for all aggregates, without ID"),
        ("events person p --correlation-id r", "--correlation-id is for all aggregates, without ID"),
        ("events person p --follow", "--follow is for all aggregates, without ID"),
        ("events --follow --reverse", "exclude one another"),
        ("ask people email", "'email' is not NAME=VALUE, as email=ada@example.org"),
        ("ask peple email=a", "there is no question 'peple'"),
    ],
)
async def test_what_does_not_fit_together_is_refused(monkeypatch: pytest.MonkeyPatch, words: str, says: str) -> None:
    status, out, errors = await annals(monkeypatch, "http://127.0.0.1:1", *words.split())
    assert (status, out) == (2, "")
    assert says in errors


async def test_aggregates_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    async with told(monkeypatch) as said:
        lines = (await said(0, "aggregates", "person")).splitlines()
        assert len(lines) == 2
        (line,) = [
            line for line in lines if line.startswith(f"{FIRST}  version 2  active  last event 2026-11-21T09:30:03")
        ]
        assert " bytes  head bafyr4i" in line
        (found,) = (await said(0, "aggregates", "person", "--json", "--since", "2026-11-21T09:30:03Z")).splitlines()
        assert (json.loads(found)["aggregate_id"], json.loads(found)["snapshot_version"]) == (FIRST, None)
        assert len((await said(0, "aggregates", "person", "--limit", "1")).splitlines()) == 1
        assert await said(1, "aggregates", "workflow") == "annals: there is no such workflow\n"
        assert "400: " in await said(2, "aggregates", "person", "--status", "actve")


async def test_a_correlation_is_shown_as_a_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    async with told(monkeypatch) as said:
        assert await said(0, "correlation", "r") == (
            "command a\n"
            f"- PersonRegistered, person {FIRST} version 1, 2026-11-21T09:30:01.000000Z\n"
            "  command b\n"
            f"  - PersonRegistered, person {SECOND} version 1, 2026-11-21T09:30:02.000000Z\n"
            "    command c\n"
            f"    - PersonRenamed, person {FIRST} version 2, 2026-11-21T09:30:03.000000Z\n"
        )
        assert json.loads(await said(0, "correlation", "r", "--json"))["correlation_id"] == "r"
        assert "there is no event of the correlation 'x'" in await said(1, "correlation", "x")


ROW = {"aggregate_id": "p-1", "emails": ["a@example.org"]}
ANSWER = {"rows": [ROW], "positions": {"person": [3]}, "missing": [], "stale": [], "truncated": False, "next": None}
MISSING = [{"kind": "person", "partition": 1, "reason": "no answer in time"}]
EVENT = {"type": "PersonRenamed", "kind": "person", "aggregate_id": "p", "version": 1, "recorded_at": "2026-11-21"}
AGGREGATE = {"aggregate_id": "p", "version": 1, "status": "active", "last_at": "2026-11-21", "bytes": 9, "head": "b"}
FOUND = {
    "events": [EVENT],
    "aggregates": [AGGREGATE | {"snapshot_version": 1}],
    "roots": [{"command_id": "c", "events": [EVENT], "children": []}],
    "rows": [ROW],
}
NOTHING: dict[str, list[object]] = {member: [] for member in FOUND}
WHOLE = {"missing": [], "stale": [], "truncated": False, "next": None}
COMMANDS = ["events", "aggregates person", "correlation r", "ask agents", "projections show agents"]


@asynccontextmanager
async def answering(*answers: object) -> AsyncIterator[str]:
    """An API that gives these answers in turn, the last one from then on; its address."""
    left = list(answers)

    async def answer(_: web.BaseRequest) -> web.Response:
        return web.json_response(left.pop(0) if left[1:] else left[0], headers={"x-request-id": "r"})

    async with RawTestServer(answer) as server:
        yield f"http://127.0.0.1:{server.port}"


async def test_questions_are_asked_with_their_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    async def answer(request: web.BaseRequest) -> web.Response:
        asked.append(request.path_qs)
        found = ANSWER if "email=a%40" in request.path_qs else ANSWER | {"rows": []}
        return web.json_response(found, headers={"x-request-id": "r"})

    async with RawTestServer(answer) as server:
        url = f"http://127.0.0.1:{server.port}"
        words = ("ask", "people", "email=a@example.org", "expect=person/p=1@3")
        assert await annals(monkeypatch, url, *words) == (0, json.dumps(ROW, separators=(",", ":")) + "\n", "")
        status, out, _ = await annals(monkeypatch, url, *words, "--json")
        assert (status, json.loads(out)) == (0, ANSWER)
        assert await annals(monkeypatch, url, "ask", "agents", "capability=x", "capability=y") == (
            1, "", "annals: there is no row for this question of agents\n"
        )  # fmt: skip
    people = "/v1/questions/people?email=a%40example.org&expect=person%2Fp%3D1%403"
    assert asked == [
        people.replace("?", "?limit=1000&"), people, "/v1/questions/agents?limit=1000&capability=x&capability=y"
    ]  # fmt: skip


async def test_the_rows_of_all_pages_of_a_question_are_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Goes red when a question ends behind its first page, or holds all pages before it prints one."""
    second = ANSWER | {"rows": [ROW | {"aggregate_id": "p-2"}, ROW | {"aggregate_id": "p-3"}]}
    for limit, expected in (
        ([], ["p-1", "p-2", "p-3"]),
        (["--limit", "2"], ["p-1", "p-2"]),
        (["--limit", "1"], ["p-1"]),
    ):
        async with answering(
            ANSWER | {"next": "/v1/x", "truncated": True}, ANSWER | {"rows": [], "next": "/v1/y"}, second
        ) as url:
            status, out, errors = await annals(monkeypatch, url, "ask", "people", "email=a@example.org", *limit)
        assert (status, errors) == (0, "")
        assert [json.loads(line)["aggregate_id"] for line in out.splitlines()] == expected


@pytest.mark.parametrize(
    "words", [*COMMANDS, "events --limit 1", "aggregates person --limit 1", "snapshots list person"]
)
@pytest.mark.parametrize("found", [FOUND, NOTHING], ids=["found", "nothing"])
async def test_an_answer_without_a_partition_is_none(
    monkeypatch: pytest.MonkeyPatch, words: str, found: dict[str, object]
) -> None:
    """Goes red when what a worker that hangs has is left out without a word, or asked for without end."""
    async with answering(WHOLE | found | {"missing": MISSING, "next": "/v1/x"}) as url:
        status, out, errors = await annals(monkeypatch, url, *words.split())
    assert (status, errors) == (2, "annals: person-1 does not answer: no answer in time\n")
    assert bool(out) == (found is FOUND and words != "snapshots list person")


@pytest.mark.parametrize("words", [*COMMANDS, "events --limit 1", "aggregates person --limit 1"])
async def test_what_is_behind_is_named_and_what_it_may_have_is_not_denied(
    monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    """Goes red when a partition that is being indexed, or stands, makes an answer short without a word."""
    behind = WHOLE | {"stale": MISSING}
    async with answering(behind | FOUND) as url:
        status, out, errors = await annals(monkeypatch, url, *words.split())
    assert (status, bool(out)) == (0, True)
    assert errors == "annals: partitions are behind: person-1 (no answer in time)\n"
    async with answering(behind | NOTHING) as url:
        status, out, errors = await annals(monkeypatch, url, *words.split())
    assert (status, out) == (2, "")
    assert errors == "annals: nothing was found, and partitions are behind: person-1 (no answer in time)\n"


async def test_what_was_behind_at_an_earlier_page_is_not_at_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    first, last = WHOLE | FOUND | {"stale": MISSING, "next": "/v1/x"}, WHOLE | NOTHING
    async with answering(first, last) as url:
        status, out, errors = await annals(monkeypatch, url, "events")
    assert (status, len(out.splitlines()), errors) == (0, 1, "")


async def test_a_state_that_may_be_old_is_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    state = {"version": 1, "status": "active", "recorded_at": "2026-11-21", "head": "b", "state": {}, "stale": MISSING}
    async with answering(state) as url:
        status, out, errors = await annals(monkeypatch, url, "state", "person", "p")
    assert (status, out[:10]) == (0, "person p v")
    assert errors == "annals: partitions are behind: person-1 (no answer in time)\n"


async def test_what_a_correlation_has_more_is_said_beside_the_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    """Goes red when a program that reads the lines takes the sentence for one."""
    async with answering(WHOLE | FOUND | {"truncated": True}) as url:
        status, out, errors = await annals(monkeypatch, url, "correlation", "r")
    assert (status, out.count("\n"), errors) == (0, 2, "annals: there are more events than these\n")


async def test_a_stream_that_breaks_off_is_said_once() -> None:
    """Goes red when a stream that gets nothing any more looks as one in which nothing happens."""
    answers: list[bytes | int] = [b'id: c1\ndata: {"n":1}\n\n', 502, 503, b'id: c2\ndata: {"n":2}\n\n']

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        given, headers = answers.pop(0), {"x-request-id": "r"}
        if isinstance(given, int):
            return web.json_response(
                {"type": "urn:annals:problem:said", "detail": "said"}, status=given, headers=headers
            )
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
        await response.write(given)
        return response

    async with RawTestServer(answer) as server:
        url = f"http://127.0.0.1:{server.port}"
        environment = own_environment(ANNALS_API_URL=url)
        command = [str(ENTRY_POINT), "events", "--follow", "--limit", "2"]
        async with asyncio.timeout(WITHIN_S):
            process = await create_subprocess_exec(*command, env=environment, stdout=PIPE, stderr=PIPE)
            out, errors = await process.communicate()
    assert (process.returncode, out) == (0, b'{"n":1}\n{"n":2}\n')
    assert errors == b"annals: the stream broke off, and is asked for again until it goes on: 502: said\n"
