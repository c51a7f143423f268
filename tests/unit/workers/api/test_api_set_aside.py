"""Bodies by which somebody decides about parked events and dead letters: what is wrong, where, and what is right."""

import pytest

from annals.workers.api.routes.dead_letters import DeadLetterRoutes
from annals.workers.api.routes.parked import ParkedRoutes
from annals.workers.clock import SystemClock
from annals.workers.dead_letters.service import Page
from annals.workers.dead_letters.settling import Done
from annals.workers.settings import Settings
from api_serving import Audit, serving

PARKED = "/v1/subscriptions/billing/parked"
LETTERS = "/v1/dead-letters"
HEADERS = {"content-type": "application/json"}
FORM = "must have exactly one of {}, aggregate and all: true"


class Parked:
    """Takes whatever is decided."""

    async def replay(self, name, choice, stop_at, by):
        return 1

    async def discard(self, name, choice, stop_at, by, reason):
        return 1

    async def page(self, name, choice, begin, limit):
        return [], None


class Letters:
    """Takes whatever is decided."""

    async def settle(self, action, selection, principal, path, *, reason=None, request_id=None):
        return Done(1, 0)

    async def page(self, selection, begin, limit):
        return Page([], None, 0)


@pytest.mark.parametrize(
    ("path", "where", "said"),
    [
        (f"{PARKED}?type=PersonRenamd", "type", "Is PersonRenamed meant?"),
        (f"{PARKED}?type=PersonRenamed&kind=agent", "type", "agent has no event 'PersonRenamed'."),
        (f"{LETTERS}?type=RenamePersn", "type", "Is RenamePerson meant?"),
        (f"{LETTERS}?reason=not_jsn", "reason", "Is not_json meant?"),
    ],
)
async def test_a_list_of_nothing_says_which_filter_has_no_such_value(path, where, said):
    """Goes red when a misspelt type is answered as if nothing of it had been set aside."""
    status, _, problem = await answered(path, None, "GET")
    assert (status, problem["code"]) == (400, "invalid_request")
    ((named, message),) = [(each["path"], each["message"]) for each in problem["errors"]]
    assert named == where
    assert said in message


async def test_a_list_of_nothing_of_what_there_is_is_empty():
    for path, name in ((f"{PARKED}?type=PersonRenamed", "parked"), (f"{LETTERS}?reason=not_json", "dead_letters")):
        status, _, body = await answered(path, None, "GET")
        assert (status, body[name]) == (200, [])


async def answered(path, body, method="POST"):
    audit = Audit()
    routes = (*ParkedRoutes(Parked(), audit, SystemClock()).routes(), *DeadLetterRoutes(Letters()).routes())
    async with serving(routes, Settings(api_port=0), audit=audit) as api:
        return await api(method, path, data=body, headers=HEADERS)


COMMON = [
    (b"", "", "not JSON"),
    (b"[]", "", "must be a JSON object"),
    (b'{"all":', "", "not JSON"),
    (b'{"all":true,"all":true,"reason":"x"}', "all", "is named twice: only one can be meant"),
    (b'{"all":1,"reason":"x"}', "all", "expected bool, got int"),
    (b'{"all":true,"reason":"x","when":1}', "when", "is not a member here; the members are "),
    (b'{"aggregate":{"kind":"person"},"reason":"x"}', "aggregate.id", "is required"),
    (b'{"aggregate":[],"reason":"x"}', "aggregate", "expected object, got array"),
    (b'{"all":true,"reason":"x","stop_at":-1}', "stop_at", "expected int >= 0"),
    (b'{"all":true,"reason":"x","where":{"sinc":1}}', "where.sinc", "is not a member here; the members are "),
    (b'{"all":true,"reason":"x","where":{"since":"now"}}', "where.since", "must be an RFC 3339 date-time"),
    (b'{"all":true,"reason":"x","where":{"kind":"persn"}}', "where.kind", "there is no kind 'persn'"),
    (b'{"aggregate":{"kind":"persn","id":"p"},"reason":"x"}', "aggregate.kind", "there is no kind 'persn'"),
    (b'{"all":true,"reason":""}', "reason", "expected str of length >= 1"),
    (b'{"all":true,"reason":"x","where":' + b"[" * 5_000, "", "not JSON"),
]


@pytest.mark.parametrize(("body", "path", "message"), COMMON)
@pytest.mark.parametrize("where", [f"{PARKED}/replay", f"{PARKED}/discard", f"{LETTERS}/replay", f"{LETTERS}/discard"])
async def test_what_is_wrong_with_a_body_is_said_by_member(where, body, path, message):
    status, _, problem = await answered(where, body)
    assert (status, problem["type"]) == (400, "urn:annals:problem:invalid_request")
    (error,) = problem["errors"]
    assert error["path"] == path
    assert error["message"].startswith(message)
    assert "`" not in problem["detail"]


@pytest.mark.parametrize(
    ("where", "body", "path", "message"),
    [
        (f"{PARKED}/discard", b'{"all":true}', "reason", "is required"),
        (f"{LETTERS}/discard", b'{"all":true}', "reason", "is required"),
        (f"{PARKED}/replay", b"{}", "", FORM.format("cids")),
        (f"{LETTERS}/replay", b"{}", "", FORM.format("offsets")),
        (f"{PARKED}/replay", b'{"cids":[]}', "cids", "expected array of length >= 1"),
        (f"{PARKED}/replay", b'{"cids":[1]}', "cids[0]", "expected str, got int"),
        (f"{LETTERS}/replay", b'{"offsets":[0,-1]}', "offsets[1]", "expected int >= 0"),
    ],
)
async def test_what_is_wrong_with_the_body_of_one_route_is_said_by_member(where, body, path, message):
    status, _, problem = await answered(where, body)
    assert (status, problem["errors"]) == (400, [{"path": path, "message": message}])


async def test_all_that_is_wrong_is_said_at_once():
    status, _, problem = await answered(f"{PARKED}/discard", b'{"all":1,"stop_at":"x"}')
    assert status == 400
    assert sorted(error["path"] for error in problem["errors"]) == ["all", "reason", "stop_at"]


@pytest.mark.parametrize("where", [f"{PARKED}/replay", f"{LETTERS}/replay"])
async def test_what_is_right_is_taken(where):
    status, _, answer = await answered(where, b'{"all":true,"stop_at":3,"where":{"since":"2026-11-29T08:00:00Z"}}')
    assert (status, answer["accepted"]) == (202, 1)
