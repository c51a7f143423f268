"""`POST /v1/commands`: what is sent, and what is answered."""

import json
import threading

import pytest

from annals.schemas import outcome
from annals.workers.api.http.routing import Principal
from annals.workers.api.routes import commands
from annals.workers.api.routes.commands import CommandRoutes
from annals.workers.client.sendable import NotSendableError, from_line
from api_commands import Broker
from api_serving import serving

HEAD = b"\x01\x71\x1e\x20" + bytes(32)
COMMAND = {"kind": "person", "id": "c-1", "type": "RegisterPerson", "aggregate_id": "p-1", "data": {"name": "Ada"}}


class Known:
    """An authenticator that knows everybody as one principal."""

    def __init__(self, principal):
        self.it = principal

    async def principal(self, request, read_body):
        return self.it


async def post(broker, command=COMMAND, query="", principal=None, **options):
    options.setdefault("data", json.dumps(command).encode() if not isinstance(command, bytes) else command)
    options.setdefault("headers", {"content-type": "application/json"})
    known = [] if principal is None else [Known(principal)]
    async with serving(CommandRoutes(broker, 1_000_000).routes(), authenticators=known) as api:
        return await api("POST", f"/v1/commands{query}", **options)


async def test_a_command_is_accepted_when_the_broker_has_it():
    broker = Broker()
    status, _, body = await post(broker)
    assert (status, body) == (202, {"command_id": "c-1"})
    assert json.loads(broker.sent[0].value) == {name: value for name, value in COMMAND.items() if name != "kind"}


@pytest.mark.parametrize("body", [b"[]", b"1", b"null", b'"a line"'])
async def test_a_body_that_is_no_object_is_called_a_body(body):
    status, _, problem = await post(Broker(), body)
    assert (status, problem["code"]) == (400, "invalid_request")
    assert problem["detail"].startswith('the body is a JSON object: {"kind": …')


@pytest.mark.parametrize("values", [1, 5_000])
async def test_a_large_body_is_read_by_a_thread_and_sent_as_it_is(monkeypatch, values):
    threads = []

    def noted(*args, **options):
        threads.append(threading.current_thread())
        return from_line(*args, **options)

    monkeypatch.setattr(commands, "from_line", noted)
    broker, command = Broker(), {**COMMAND, "data": {"name": "Ada", "x": [1] * values}}
    status, _, body = await post(broker, command)
    assert (status, body) == (202, {"command_id": "c-1"})
    assert json.loads(broker.sent[0].value)["data"] == command["data"]
    assert [thread is threading.main_thread() for thread in threads] == [values == 1]


async def test_a_command_without_id_gets_one():
    broker = Broker()
    _, _, body = await post(broker, {name: value for name, value in COMMAND.items() if name != "id"})
    assert body == {"command_id": broker.sent[0].id}
    assert len(body["command_id"]) == 36


@pytest.mark.parametrize("make", [outcome.accepted, outcome.duplicate])
async def test_its_outcome_is_answered_as_it_came(make):
    text = make("c-1", "person", "p-1", 1, HEAD, [(1, "PersonRegistered", HEAD)])
    status, _, body = await post(Broker(text), query="?wait=5")
    assert (status, body) == (200, json.loads(text))


@pytest.mark.parametrize(
    ("code", "status"),
    [("version_conflict", 409), ("head_conflict", 409), ("invalid_command", 422), ("rule_violated", 422)],
)
async def test_a_rejection_is_a_problem_with_its_outcome(code, status):
    text = outcome.rejected("c-1", "person", "p-1", 1, HEAD, code, "no", {"x": 2**64 - 1})
    found, headers, problem = await post(Broker(text), query="?wait=5")
    assert (found, headers["content-type"]) == (status, "application/problem+json")
    assert (problem["type"], problem["outcome"]) == (f"urn:annals:problem:{code}", json.loads(text))


async def test_no_outcome_in_time_is_said():
    status, _, problem = await post(Broker(), query="?wait=0.05")
    assert (status, problem["type"], problem["command_id"]) == (504, "urn:annals:problem:timeout", "c-1")


@pytest.mark.parametrize("broker", [Broker(delivered=False), Broker(NotSendableError("the broker refused it"))])
async def test_a_command_that_the_broker_does_not_have_is_said(broker):
    for query in ("", "?wait=5"):
        status, headers, problem = await post(broker, query=query)
        assert (status, problem["type"]) == (503, "urn:annals:problem:not_ready")
        assert int(headers["retry-after"]) > 0


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (b"", ""),
        (b"{", ""),
        (b"[]", ""),
        (b"\xff", ""),
        (b'{"kind": "planet", "type": "X", "aggregate_id": "p-1", "data": {}}', "kind"),
        (b'{"type": "X", "aggregate_id": "p-1", "data": {}}', "kind"),
        (b'{"kind": "person", "kind": "person", "type": "X", "aggregate_id": "p-1", "data": {}}', "kind"),
        (json.dumps(COMMAND | {"aggregate_id": "x" * 257}).encode(), "aggregate_id"),
        (json.dumps(COMMAND | {"aggregate_id": None}).encode(), "aggregate_id"),
        (json.dumps(COMMAND | {"id": "x" * 129}).encode(), "id"),
        (b"[" * 100_000, ""),
    ],
)
async def test_what_nobody_could_answer_is_not_sent_and_its_member_named(body, path):
    broker = Broker()
    status, _, problem = await post(broker, body)
    assert (status, problem["type"], broker.sent) == (400, "urn:annals:problem:invalid_request", [])
    assert [error["path"] for error in problem["errors"]] == [path]


async def test_a_misspelt_member_is_left_to_be_decided():
    broker = Broker()
    assert (await post(broker, COMMAND | {"expectedVersion": 3}))[0] == 202
    assert b"expectedVersion" in broker.sent[0].value


async def test_a_command_that_is_too_large_is_not_sent():
    broker = Broker()
    status, _, problem = await post(broker, COMMAND | {"data": {"name": "x" * 1_000_001}})
    assert (status, problem["type"], broker.sent) == (413, "urn:annals:problem:too_large", [])


@pytest.mark.parametrize("said", [{}, {"actor": "mallory"}, {"actor": None}])
async def test_the_callers_actor_is_the_commands(said):
    broker = Broker()
    await post(broker, COMMAND | said, principal=Principal("hr", frozenset({"write"}), "hr-service"))
    assert json.loads(broker.sent[0].value)["actor"] == "hr-service"
    assert broker.sent[0].value.count(b"actor") == 1


async def test_who_may_only_read_sends_nothing():
    broker = Broker()
    status, _, problem = await post(broker, principal=Principal("hr", frozenset({"read"})))
    assert (status, problem["type"], broker.sent) == (403, "urn:annals:problem:forbidden", [])
