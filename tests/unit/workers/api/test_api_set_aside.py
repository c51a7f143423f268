"""Bodies by which somebody decides about parked events and dead letters: what is wrong, where, and what is right."""

import msgspec
import pytest

from annals.agents.publishing.delivering.choosing import Meant
from annals.agents.reading.jobs import TooManyJobsError
from annals.schemas.audit import Decision
from annals.schemas.cid import cid_of, cid_text
from annals.schemas.job_record import RUNNING, JobRecord
from annals.workers.api.routes.dead_letters import DeadLetterRoutes
from annals.workers.api.routes.parked import MOST_AT_ONCE, ParkedRoutes
from annals.workers.clock import SystemClock
from annals.workers.dead_letters.service import Page
from annals.workers.dead_letters.settling import Done
from annals.workers.settings import Settings
from api_serving import Audit, serving

PARKED = "/v1/subscriptions/billing/parked"
LETTERS = "/v1/dead-letters"
CID = cid_text(cid_of(b"an event"))
HEADERS = {"content-type": "application/json"}
FORM = "must have exactly one of {}, aggregate and all: true"


class Parked:
    """Takes whatever is decided; number: how many are parked."""

    def __init__(self, number=1):
        self.number = number

    async def meant(self, name, choice, stop_at, most):
        return Meant(self.number, [7, 8], 3) if self.number > most else None

    async def replay(self, name, choice, stop_at, by, *, before):
        if self.number:
            await before()
        return min(self.number, 1)

    async def discard(self, name, choice, stop_at, by, reason, *, before):
        return await self.replay(name, choice, stop_at, by, before=before)

    async def page(self, name, choice, begin, limit):
        return [], None


class Jobs:
    """Takes jobs, or has no room for any."""

    def __init__(self, *, has_room=True):
        self.has_room = has_room
        self.begun = []

    async def start(self, kind, subject, request, before):
        if not self.has_room:
            raise TooManyJobsError("8 jobs are running")
        await before()
        self.begun.append((kind, subject, request))
        return JobRecord(id="job-1", kind=kind, subject=subject, status=RUNNING, started_at="")


class Letters:
    """Takes whatever is decided."""

    def __init__(self, number=1):
        self.number = number

    async def settle(self, action, selection, principal, path, *, reason=None, request_id=None):
        return Done(self.number, 0)

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


async def answered(path, body, method="POST", *, parked=None, jobs=None, letters=None, audit=None):
    audit = audit or Audit()
    of_parked = ParkedRoutes(parked or Parked(), jobs or Jobs(), audit, SystemClock())
    routes = (*of_parked.routes(), *DeadLetterRoutes(letters or Letters()).routes())
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


@pytest.mark.parametrize(("action", "why"), [("replay", None), ("discard", "sent twice")])
async def test_very_many_are_decided_about_by_a_job_which_is_named_at_once(action, why):
    """Goes red when a request decides about whatever number itself: of 60,000 it was answered 504 again and again."""
    body = {"all": True, "where": {"kind": "person", "since": "2026-11-29T08:00:00Z"}, "reason": why}
    jobs = Jobs()
    sent = msgspec.json.encode(body)
    found = await answered(f"{PARKED}/{action}", sent, parked=Parked(MOST_AT_ONCE + 1), jobs=jobs)
    status, headers, answer = found
    assert (status, answer, headers["Location"]) == (202, {"accepted": MOST_AT_ONCE + 1}, "/v1/jobs/job-1")
    ((kind, subject, request),) = jobs.begun
    assert (kind, subject) == ("parked", f"{action} what is parked of billing")
    assert request == {
        "name": "billing",
        "action": action,
        "choice": {"kind": "person", "since": "2026-11-29T08:00:00.000000Z"},
        "stop_at": [7, 8],
        "incarnation": 3,
        "by": "anonymous",
        "why": why,
    }
    status, headers, answer = await answered(f"{PARKED}/{action}", sent, parked=Parked(MOST_AT_ONCE), jobs=jobs)
    assert (status, answer, "Location" in headers, len(jobs.begun)) == (202, {"accepted": 1}, False, 1)
    full = Jobs(has_room=False)
    status, headers, _ = await answered(f"{PARKED}/{action}", sent, parked=Parked(MOST_AT_ONCE + 1), jobs=full)
    assert (status, headers["Retry-After"]) == (429, "5")


@pytest.mark.parametrize("action", ["replay", "discard"])
@pytest.mark.parametrize(
    ("number", "has_room", "status", "count"),
    [(1, True, 202, 1), (MOST_AT_ONCE + 1, True, 202, 1), (MOST_AT_ONCE + 1, False, 429, 0), (0, True, 202, 0)],
)
async def test_a_decision_is_recorded_where_one_is_made(action, number, has_room, status, count):
    """Goes red when it is recorded before it is known whether it is: `audit` told of decisions that were refused."""
    audit = Audit()
    with_all = {"parked": Parked(number), "jobs": Jobs(has_room=has_room), "audit": audit}
    answer, *_ = await answered(f"{PARKED}/{action}", b'{"all":true,"reason":"sent twice"}', **with_all)
    assert answer == status
    made = [(each.action, each.subscription) for each in audit.entries if isinstance(each, Decision)]
    assert made == [(action, "billing")] * count
    assert [each.status for each in audit.entries if not isinstance(each, Decision)] == [None, status]


async def test_very_many_of_one_aggregate_are_a_job_and_those_that_are_named_are_not():
    """Goes red when only `all` is: where later events pass parked ones an aggregate may have any number of them."""
    jobs, parked = Jobs(), Parked(MOST_AT_ONCE + 1)
    for chosen in ({"aggregate": {"kind": "person", "id": "p-1"}}, {"cids": [CID]}):
        body = msgspec.json.encode({**chosen, "where": {"type": "PersonRenamed", "reason": ""}})
        status, headers, answer = await answered(f"{PARKED}/replay", body, parked=parked, jobs=jobs)
        is_job = "aggregate" in chosen
        assert (status, "Location" in headers) == (202, is_job)
        assert answer == {"accepted": MOST_AT_ONCE + 1 if is_job else 1}
    ((*_, request),) = jobs.begun
    assert request["choice"] == {"kind": "person", "aggregate_id": "p-1", "type": "PersonRenamed", "reason": ""}


@pytest.mark.parametrize("action", ["replay", "discard"])
@pytest.mark.parametrize(
    ("where", "path", "said"),
    [
        (PARKED, {"type": "PersonRenamd"}, "Is PersonRenamed meant?"),
        (PARKED, {"type": "PersonRenamed", "kind": "agent"}, "agent has no event 'PersonRenamed'."),
        (LETTERS, {"type": "RenamePersn"}, "Is RenamePerson meant?"),
        (LETTERS, {"reason": "not_jsn"}, "Is not_json meant?"),
    ],
)
async def test_a_decision_about_nothing_says_which_filter_has_no_such_value(action, where, path, said):
    """Goes red when a misspelt type is answered `accepted: 0`, as if somebody else had decided; a list named it."""
    body = msgspec.json.encode({"all": True, "reason": "sent twice", "where": path})
    nothing = {"parked": Parked(0), "letters": Letters(0)}
    status, _, problem = await answered(f"{where}/{action}", body, **nothing)
    assert (status, problem["code"]) == (400, "invalid_request")
    ((named, message),) = [(each["path"], each["message"]) for each in problem["errors"]]
    assert named == f"where.{next(iter(path))}"
    assert said in message
    right = msgspec.json.encode({"all": True, "reason": "sent twice", "where": {"since": "2026-11-29T08:00:00Z"}})
    status, _, answer = await answered(f"{where}/{action}", right, **nothing)
    assert (status, answer["accepted"]) == (202, 0)
