"""Workers that ask each other: what is signed, what is refused, and what becomes of answers that lie or do not come."""

import asyncio
import hashlib
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry

from annals.agents.reading.found import EventFilter, ShardStatus
from annals.agents.reading.gathering.questions import (
    Asked,
    AskFind,
    AskHistory,
    AskStatus,
    AskUntilOffset,
)
from annals.agents.reading.gathering.replies import (
    Reply,
    SentEvent,
    SentHistory,
    SentPage,
    UnreadableReplyError,
    read_answer,
    reply_to,
)
from annals.agents.reading.ports import (
    BrokenChainError,
    Member,
    NotReadyError,
)
from annals.agents.reading.read_models.other_members import AskReached
from annals.agents.waiting import ended
from annals.schemas.cid import cid_of, cid_text
from annals.workers.api.callers.forwarding import (
    Caller,
    ForwardedAuthenticator,
    ForwardedRefusedError,
    Forwarding,
    MisdirectedError,
)
from annals.workers.api.peers import CONNECTIONS, PATH, REACHED_PATH, HttpPeers, reached_route
from annals.workers.api.service import ApiService
from annals.workers.settings import Settings, SettingsError
from api_serving import serving
from chained import chain
from gathered import Deployment, event, id_in
from gathered_serving import deployed, read_all
from projecting import Group

KEY = b"k" * 32
ADA = Caller("ada", ("read", "write"))
TOKEN = "a-token"
PEOPLE = {"person": 2}
HALVES = ([("person", 0)], [("person", 1)])
REQUEST = ("POST", "/peer/v1/shards?x=1", b'{"a":1}')


def signer(key=KEY, at=0.0, *, authenticates=True):
    return Forwarding(key, lambda: datetime.now(UTC) + timedelta(seconds=at), authenticates=authenticates)


def test_what_was_signed_verifies_and_says_who_asks():
    header = signer().sign(*REQUEST, "member-1", ADA)
    assert signer().verify(header, *REQUEST, "member-1") == ADA


@pytest.mark.parametrize(
    "request_", [("GET", *REQUEST[1:]), ("POST", "/peer/v1/shards", REQUEST[2]), (*REQUEST[:2], b'{"a":2}')]
)
def test_what_was_signed_for_another_request_does_not_verify(request_):
    header = signer().sign(*REQUEST, "member-1", ADA)
    with pytest.raises(ForwardedRefusedError):
        signer().verify(header, *request_, "member-1")


def test_no_altered_header_verifies():
    header = signer().sign(*REQUEST, "member-1", ADA)
    strange = ["", ".", "x", header + "A", "é" + header, header.replace(".", "..", 1), header[:-1], "A" * 10_000]
    strange += [header[:at] + "AB"[header[at] == "A"] + header[at + 1 :] for at in range(0, len(header), 7)]
    for other in strange:
        with pytest.raises(ForwardedRefusedError):
            signer().verify(other, *REQUEST, "member-1")


@pytest.mark.parametrize("at", [-31, 31])
def test_a_header_of_another_time_does_not_verify(at):
    with pytest.raises(ForwardedRefusedError, match="clocks"):
        signer().verify(signer(at=at).sign(*REQUEST, "member-1", ADA), *REQUEST, "member-1")
    assert signer().verify(signer(at=at * 0.9).sign(*REQUEST, "member-1", ADA), *REQUEST, "member-1") == ADA


def test_a_header_for_another_member_is_misdirected_and_one_of_another_key_refused():
    header = signer().sign(*REQUEST, "member-1", ADA)
    for me in ("member-2", None):
        with pytest.raises(MisdirectedError):
            signer().verify(header, *REQUEST, me)
    with pytest.raises(ForwardedRefusedError):
        signer(b"x" * 32).verify(header, *REQUEST, "member-1")


def test_with_authentication_and_without_a_key_nothing_is_forwarded_or_believed():
    assert "ANNALS_API_PEER_KEY_FILE" in signer(None).refusal("http://127.0.0.1:1")
    header = signer(None, authenticates=False).sign(*REQUEST, "member-1", ADA)
    with pytest.raises(ForwardedRefusedError):
        signer(None).verify(header, *REQUEST, "member-1")


@pytest.mark.parametrize(
    ("url", "with_authentication", "without"),
    [
        ("http://127.0.0.1:6067", True, True),
        ("http://[::1]:6067", True, True),
        ("https://localhost:6067", True, True),
        ("https://reader-1.example:6067", True, False),
        ("http://127.0.0.1.example:6067", True, False),
        ("http://10.0.0.1:6067", True, False),
        ("http://169.254.169.254", True, False),
        ("file:///etc/passwd", False, False),
        ("http://user:pass@127.0.0.1:6067", False, False),
        ("http://127.0.0.1:6067?x=1", False, False),
        ("http://", False, False),
        ("http://[::1", False, False),
        ("", False, False),
        (None, False, False),
    ],
)
def test_without_authentication_nothing_is_sent_to_another_machine(url, with_authentication, without):
    assert (signer().refusal(url) is None) == with_authentication
    assert (signer(authenticates=False).refusal(url) is None) == without
    assert (signer(None, authenticates=False).refusal(url) is None) == without


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "reader.example"])
def test_beyond_loopback_the_peer_key_is_needed(settings, host):
    beyond = replace(settings, api_host=host)
    with pytest.raises(SettingsError, match=f"ANNALS_API_HOST={host} is beyond loopback: set ANNALS_API_PEER_KEY_FILE"):
        ApiService(beyond, None, None, CollectorRegistry())
    ApiService(replace(settings, api_host="localhost"), None, None, CollectorRegistry())


@pytest.fixture
def settings(tmp_path):
    tokens = tmp_path / "tokens"
    tokens.write_text(f"{hashlib.sha256(TOKEN.encode()).hexdigest()} ada read\n")
    tokens.chmod(0o600)
    return Settings(api_port=0, api_tokens_file=tokens)


async def test_a_caller_with_a_token_is_answered_by_all_workers_and_no_header_of_a_stranger_is_believed(settings):
    async with deployed(PEOPLE, *HALVES, settings=settings, key=KEY) as (deployment, apis):
        deployment.append("person", [event("person", id_in(partition, 2)) for partition in range(2)])
        await read_all(deployment)
        bearer = {"authorization": f"Bearer {TOKEN}"}
        for api in apis:
            status, _, body = await api("GET", "/v1/events", headers=bearer)
            assert (status, len(body["events"]), body["missing"]) == (200, 2, [])
        asked = msgspec.json.encode(Asked("person", 0, AskStatus(), 5.0))
        right = {"content-type": "application/json"}
        for path, method, data in (
            ("/v1/events", "GET", b""),
            (PATH, "POST", asked),
            ("/docs", "GET", b""),
            ("/no", "GET", b""),
        ):
            strange = [
                ("forged", 403),
                (signer(b"x" * 32).sign(method, path, data, "worker-0", ADA), 403),
                (signer(at=-40).sign(method, path, data, "worker-0", ADA), 403),
                (signer(None, authenticates=False).sign(method, path, data, "worker-0", ADA), 403),
                (signer().sign(method, path + "?x=1", data, "worker-0", ADA), 403),
                (signer().sign(method, path, data + b" ", "worker-0", ADA), 403),
                (signer().sign(method, path, data, "worker-1", ADA), 421),
            ]
            for header, expected in strange:
                for extra in ({}, bearer):
                    headers = {**(right if data else {}), **extra, "annals-forwarded": header}
                    status, _, body = await apis[0](method, path, data=data or None, headers=headers)
                    assert (status, body["status"]) == (expected, expected), (path, header)
        signed = {"annals-forwarded": signer().sign("GET", "/v1/events", b"", "worker-0", Caller("ada", ("write",)))}
        assert (await apis[0]("GET", "/v1/events", headers=signed))[0] == 403  # the scopes of the caller hold
        status, _, body = await apis[0]("POST", PATH, data=asked, headers={**right, **bearer})
        assert (status, body["code"]) == (403, "forbidden")
        signed = {**right, "annals-forwarded": signer().sign("POST", PATH, asked, "worker-0", ADA)}
        assert (await apis[0]("POST", PATH, data=asked, headers=signed))[0] == 200


async def test_who_may_answer_a_subscription_and_read_nothing_answers_at_any_worker(settings):
    """Goes red when the worker that has the event is asked for it in the name of one who may not read."""
    tokens = settings.api_tokens_file
    tokens.write_text(f"{hashlib.sha256(TOKEN.encode()).hexdigest()} billing acks:billing\n")
    bearer = {"authorization": f"Bearer {TOKEN}", "content-type": "application/json"}
    async with deployed(PEOPLE, *HALVES, settings=settings, key=KEY) as (deployment, apis):
        events = [event("person", id_in(partition, 2)) for partition in range(2)]
        deployment.append("person", events)
        await read_all(deployment)
        for api in apis:
            for made in events:
                answer = msgspec.json.encode({"cid": cid_text(made.cid), "attempt": 1, "verdict": "ack"})
                for name, expected in (("billing", 202), ("audit", 403)):
                    path = f"/v1/subscriptions/{name}/acks"
                    status, _, body = await api("POST", path, data=answer, headers=bearer)
                    assert status == expected, body
            assert (await api("GET", "/v1/events", headers=bearer))[0] == 403


async def test_what_was_passed_on_is_not_passed_on_again(settings):
    async with deployed(PEOPLE, *HALVES, settings=settings, key=KEY) as (deployment, apis):
        deployment.append("person", [event("person", id_in(1, 2))])
        await read_all(deployment)
        path = f"/v1/aggregates/person/{id_in(1, 2)}"
        signed = {"annals-forwarded": signer().sign("GET", path, b"", "worker-0", ADA)}
        status, _, body = await apis[0]("GET", path, headers=signed)
        assert (status, body["code"]) == (503, "not_ready")
        assert "passed on once" in body["detail"]


async def test_on_loopback_anybody_can_sign_and_no_page_of_another_site():
    async with deployed(PEOPLE, *HALVES) as (deployment, apis):
        await read_all(deployment)
        header = signer(None, authenticates=False).sign("GET", "/v1/events", b"", "worker-0", ADA)
        assert (await apis[0]("GET", "/v1/events", headers={"annals-forwarded": header}))[0] == 200
        rebound = {"annals-forwarded": header, "host": "evil.example"}
        assert (await apis[0]("GET", "/v1/events", headers=rebound))[0] == 403
        assert (await apis[0]("GET", "/v1/events", headers={"annals-forwarded": "x"}))[0] == 403


@asynccontextmanager
async def stranger(answer):
    """A server that answers as it is told."""
    seen = []

    async def handle(request):
        seen.append((request.method, dict(request.headers), await request.read()))
        return await answer(request)

    runner = web.ServerRunner(web.Server(handle), shutdown_timeout=0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", seen
    finally:
        await runner.cleanup()


async def gathered_with(answer):
    """What is answered where one of two partitions is at a stranger."""
    async with deployed(PEOPLE, [("person", 0)], []) as (deployment, apis), stranger(answer) as (url, seen):
        deployment.append("person", [event("person", id_in(0, 2))])
        await read_all(deployment)
        deployment.workers[0].believed["person", 1] = Member("stranger", url, {"person": [1]}, {})
        status, _, body = await apis[0]("GET", "/v1/events", headers={"authorization": "Bearer secret"})
        assert status == 200
        assert len(body["events"]) == 1
        assert body["positions"] == {"person": [1, None]}
        assert body["next"] is not None
        ((kind, partition, reason),) = [tuple(each.values()) for each in body["missing"]]
        assert (kind, partition) == ("person", 1)
        for _, headers, _ in seen:
            assert "Authorization" not in headers
            assert "Cookie" not in headers
        return reason, seen


def status_of(partition=1):
    return ShardStatus("person", partition, "reading", "", 1, 1, reached=True, lag_s=0.0, stale={})


def packed(status, answer):
    return msgspec.msgpack.encode(Reply(status, msgspec.Raw(msgspec.msgpack.encode(answer))))


def page(*events, next_offset=9):
    return SentPage([SentEvent(offset, made.value) for offset, made in events], next_offset, True, 9, b"")  # noqa: FBT003


OTHERS = [event("person", f"p-{number}") for number in range(2)]
LIES = {
    "no msgpack": b"<html>",
    "nothing": b"",
    "another partition": packed(status_of(0), page()),
    "no status": packed(None, page()),
    "another answer": packed(status_of(), [1, 2]),
    "no block": packed(status_of(), SentPage([SentEvent(0, b"?")], 1, True, 1, b"")),  # noqa: FBT003
    "offsets out of order": packed(status_of(), page((5, OTHERS[0]), (4, OTHERS[1]))),
    "one offset twice": packed(status_of(), page((5, OTHERS[0]), (5, OTHERS[1]))),
    "more than were asked for": packed(status_of(), page(*((n, OTHERS[0]) for n in range(101)))),
    "deep": msgspec.msgpack.encode(Reply(status_of())).replace(b"\xc0", b"\x91" * 100_000, 1),
}


@pytest.mark.parametrize("lie", LIES)
async def test_an_answer_that_is_none_is_a_missing_partition(lie):
    async def answer(request):
        return web.Response(body=LIES[lie])

    reason, _ = await gathered_with(answer)
    assert "cannot be read" in reason or "without its position" in reason


async def test_a_phase_that_a_later_release_has_is_no_reason_to_refuse_its_answer():
    """Goes red where only phases that this release knows can be read: in an upgrade, half of all would be missing."""
    there = event("person", id_in(1, 2))

    async def answer(request):
        return web.Response(body=packed(status_of(), page((0, there))).replace(b"\xa7reading", b"\xa8drowsing"))

    async with deployed(PEOPLE, [("person", 0)], []) as (deployment, apis), stranger(answer) as (url, _):
        await read_all(deployment)
        deployment.workers[0].believed["person", 1] = Member("stranger", url, {"person": [1]}, {})
        _, _, body = await apis[0]("GET", "/v1/events")
    assert [each["cid"] for each in body["events"]] == [cid_text(cid_of(there.value))]
    assert body["missing"] == []
    assert body["stale"] == [{"kind": "person", "partition": 1, "reason": "in a phase of a later release: drowsing"}]


async def test_a_redirect_is_not_followed_and_a_refusal_named():
    async def answer(request):
        return web.Response(status=307, headers={"location": "/elsewhere"})

    reason, seen = await gathered_with(answer)
    assert "status 307" in reason
    assert len(seen) == 1

    async def refuse(request):
        return web.Response(status=403)

    assert "peer key" in (await gathered_with(refuse))[0]


async def test_a_peer_that_hangs_is_missing_in_bounded_time(monkeypatch):
    monkeypatch.setattr("annals.workers.api.gathered.GATHER_S", 2.0)

    async def hang(request):
        while request.transport is not None:  # noqa: ASYNC110 - until the asker has gone, of which nothing tells
            await asyncio.sleep(0.01)
        raise ConnectionResetError

    assert (await gathered_with(hang))[0] == "no answer in time"


@pytest.mark.parametrize("wait", ["0", "0.001"])
@pytest.mark.parametrize(
    "path",
    [
        "/v1/aggregates/person/{}?expect_at_least={}",
        "/v1/aggregates/person/{}/events?expect_at_least={}",
        "/v1/events?expect=person/{}@{}",
        "/v1/aggregates/person?expect=person/{}@{}",
        "/v1/correlations/c-1?expect=person/{}@{}",
    ],
)
async def test_who_does_not_wait_is_told_by_every_worker_what_there_is(path, wait):
    """Goes red where a question without time to wait is not put: 504 from who does not have the partition, at 0."""
    async with deployed(PEOPLE, [("person", 0)], [("person", 1)]) as (deployment, apis):
        deployment.append("person", [event("person", id_in(1, 2))])
        await read_all(deployment)
        for api in apis:
            status, _, body = await api("GET", f"{path.format(id_in(1, 2), 1)}&wait={wait}")
            assert status == 200, body
            status, _, body = await api("GET", f"{path.format(id_in(1, 2), 2)}&wait={wait}")
            assert (status, body["position"]["offset"]) == (504, 1)


async def test_questions_that_wait_hold_up_none_that_do_not():
    """Goes red when they share connections: some callers that wait for an event, and nothing else was answered."""
    waiting, over = asyncio.Semaphore(0), asyncio.Event()

    async def answer(request):
        asked = msgspec.json.decode(await request.read(), type=Asked)
        if isinstance(asked.question, AskUntilOffset):
            waiting.release()
            await over.wait()
        return web.Response(body=packed(status_of(), None))

    async with stranger(answer) as (url, _):
        peers, member = HttpPeers(signer()), Member("stranger", url, {}, {})
        soon = asyncio.get_running_loop().time() + 30
        waits = [
            asyncio.create_task(peers.ask(member, "person", 1, AskUntilOffset(9), soon)) for _ in range(CONNECTIONS + 1)
        ]
        try:
            async with asyncio.timeout(60):
                for _ in waits:
                    await waiting.acquire()
                assert await peers.ask(member, "person", 1, AskStatus(), soon) == (status_of(), None)
        finally:
            over.set()
            await ended(*waits)
        await peers.close()


async def test_a_reply_without_end_is_given_up(monkeypatch):
    monkeypatch.setattr("annals.workers.api.peers.REPLY_BYTES", 1 << 20)

    async def answer(request):
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x" * (1 << 16))

    assert "does not answer (ValueError)" in (await gathered_with(answer))[0]


async def test_nobody_listens_or_the_name_is_none():
    peers = HttpPeers(signer(None, authenticates=False))
    deadline = asyncio.get_running_loop().time() + 30
    try:
        for url, why in (
            ("http://127.0.0.1:1", "does not answer"),
            ("http://10.1.1.1", "another machine"),
            (None, "no address"),
        ):
            with pytest.raises(NotReadyError, match=why):
                await peers.ask(Member("m", url, {}, {}), "person", 0, AskStatus(), deadline)
    finally:
        await peers.close()
    with pytest.raises(NotReadyError, match="ends"):
        await peers.ask(Member("m", "http://127.0.0.1:1", {}, {}), "person", 0, AskStatus(), deadline)


async def test_the_proxies_of_the_environment_are_not_used(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with deployed(PEOPLE, *HALVES) as (deployment, apis):
        await read_all(deployment)
        assert (await apis[0]("GET", "/v1/events"))[2]["missing"] == []


async def test_a_member_whose_address_is_another_worker_now_is_looked_up_again():
    async with deployed(PEOPLE, *HALVES) as (deployment, apis):
        deployment.append("person", [event("person", id_in(1, 2))])
        await read_all(deployment)
        a, b = deployment.workers
        a.believed["person", 1] = Member("gone", b.url, {}, {})
        asked = asyncio.create_task(apis[0]("GET", f"/v1/aggregates/person/{id_in(1, 2)}/events"))
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_later(0.3, a.believed.clear)
        assert (await asked)[0] == 200


async def test_a_long_history_comes_in_parts(monkeypatch):
    monkeypatch.setattr("annals.agents.reading.gathering.replies.PART_EVENTS", 3)
    events = chain(id_in(1, 2), 8)
    async with deployed(PEOPLE, *HALVES) as (deployment, apis):
        deployment.append("person", events)
        await read_all(deployment)
        for query, expected in (("", events), ("?order=desc", events[::-1]), ("?from=2&to=7", events[1:7])):
            status, _, body = await apis[0]("GET", f"/v1/aggregates/person/{id_in(1, 2)}/events{query}")
            assert (status, [each["cid"] for each in body["events"]]) == (200, [cid_text(e.cid) for e in expected])


async def test_a_part_of_large_events_has_fewer(monkeypatch):
    monkeypatch.setattr("annals.agents.reading.gathering.replies.PART_BYTES", 600)
    events = chain(id_in(1, 2), 7)
    async with deployed(PEOPLE, *HALVES) as (deployment, apis):
        deployment.append("person", events)
        await read_all(deployment)
        body = (await apis[0]("GET", f"/v1/aggregates/person/{id_in(1, 2)}/events"))[2]
        assert [each["version"] for each in body["events"]] == list(range(1, 8))


async def test_what_a_shard_raises_elsewhere_is_raised_here():
    deployment = Deployment({"person": 1})

    class Broken:
        def status(self):
            return status_of(0)

        async def find(self, *_, **__):
            raise BrokenChainError("person 'p-1' version 2")

    asked = Asked("person", 0, AskFind(EventFilter(), None, False, 10), 1.0)  # noqa: FBT003
    body = await reply_to(Broken(), asked, 0.0)
    reply = msgspec.msgpack.decode(body, type=Reply)
    assert (reply.failure, reply.message) == ("broken_chain", "person 'p-1' version 2")
    assert msgspec.msgpack.decode(await reply_to(None, asked, 0.0), type=Reply).failure == "not_here"
    await deployment.close()


def test_a_history_of_another_aggregate_is_no_answer():
    asked = Asked("person", 1, AskHistory("p-1", 1, None, False, 10), 1.0)  # noqa: FBT003
    for answer in (
        SentHistory([SentEvent(0, chain("p-2", 1)[0].value)], is_whole=True),
        SentHistory([], is_whole=False),
    ):
        reply = msgspec.msgpack.decode(packed(status_of(), answer), type=Reply)
        with pytest.raises(UnreadableReplyError):
            read_answer(asked, reply)


@asynccontextmanager
async def asked_how_far(answer, *, knows=True):
    """What asks a worker for its rows of a global projection, and the worker's API. knows: whether it has the route."""
    routes = [reached_route(answer)] if knows else []
    forwarding, peers = signer(), HttpPeers(signer())
    authenticators = [ForwardedAuthenticator(forwarding, Group(Member("m", None, {}, {})))]
    async with serving(routes, authenticators=authenticators) as api:
        member = Member("m", f"http://127.0.0.1:{api.port}", {}, {})

        async def ask():
            soon = asyncio.get_running_loop().time() + 30
            return await peers.has_reached(member, AskReached("locations", 2, 1), soon)

        try:
            yield ask, api
        finally:
            await peers.close()


@pytest.mark.parametrize("is_there", [True, False])
async def test_a_worker_says_whether_its_rows_of_a_global_projection_have_reached_a_version(is_there):
    asked = []

    def answer(question):
        asked.append(question)
        return is_there

    async with asked_how_far(answer) as (ask, api):
        assert await ask() is is_there
        assert asked == [AskReached("locations", 2, 1)]
        body = msgspec.json.encode(AskReached("locations", 2, 1))
        status, _, _ = await api("POST", REACHED_PATH, data=body, headers={"content-type": "application/json"})
        assert (status, len(asked)) == (403, 1)  # no worker asks


async def test_a_worker_that_starts_or_knows_no_such_question_says_nothing_of_its_rows():
    def answer(question):
        raise NotReadyError("not read yet")

    for knows, why in ((True, "status 503"), (False, "status 404")):
        async with asked_how_far(answer, knows=knows) as (ask, _):
            with pytest.raises(NotReadyError, match=why):
                await ask()
