"""The routes of subscriptions: statuses, ETags and problems, over an administration in memory."""

import json

import pytest
from aiokafka.errors import KafkaConnectionError

from annals.agents.aggregates import REGISTRY
from annals.agents.publishing.administration import (
    Refused,
    definition_of,
    etag_of,
    put,
    require_etag,
    with_status,
)
from annals.agents.publishing.ports import Kept
from annals.workers.api.routes.subscriptions import SubscriptionRoutes
from annals.workers.publishing.service import Answered
from api_serving import Audit, serving

PATH = "/v1/subscriptions/billing"
HEADERS = {"content-type": "application/json"}


class Administration:
    """Administers by the project's own rules, without brokers."""

    def __init__(self) -> None:
        self.kept: dict[str, Kept] = {}
        self.failure: Exception | None = None

    async def page(self, after, limit):
        found = [self._answered(kept) for name, kept in sorted(self.kept.items()) if name > after]
        return found[:limit], len(found) <= limit

    async def get(self, name):
        return self._answered(self._there(name))

    async def put(self, name, body, if_match=None):
        if self.failure is not None:
            raise self.failure
        definition = definition_of(name, body, REGISTRY)
        kept = self.kept.get(name)
        require_etag(kept, if_match)
        made = put(kept, definition, {"person": [0]}, {"person": [3]}, {}, has_topic=True)
        return self._write(name, made.record)._replace(is_new=made.is_new)

    async def pause(self, name):
        return self._write(name, with_status(self._there(name).record, "paused"))

    async def resume(self, name):
        return self._write(name, with_status(self._there(name).record, "active"))

    async def delete(self, name, if_match=None):
        kept = self._there(name)
        if if_match is not None:
            require_etag(kept, if_match)
        del self.kept[name]

    def _there(self, name):
        if name not in self.kept:
            raise Refused(404, "not_found", f"there is no subscription {name!r}")
        return self.kept[name]

    def _write(self, name, record):
        self.kept[name] = Kept(record, 1 + max((kept.offset for kept in self.kept.values()), default=-1))
        return self._answered(self.kept[name])

    def _answered(self, kept):
        definition = kept.record.definition
        return Answered(
            {"name": definition.name, "status": definition.status, "start": definition.start}, etag_of(kept)
        )


@pytest.fixture
async def api():
    administration, audit = Administration(), Audit()
    async with serving(SubscriptionRoutes(administration).routes(), audit=audit) as api:
        api.administration, api.audit = administration, audit  # type: ignore[attr-defined]
        yield api


def body(**members):
    return {"data": json.dumps(members), "headers": HEADERS}


async def test_a_subscription_from_put_to_delete(api):
    status, headers, made = await api("PUT", PATH, **body(name="billing", kinds=["person"]))
    assert (status, headers["etag"], made["start"]) == (201, '"0"', "beginning")
    status, _, problem = await api("PUT", PATH, **body(name="billing"))
    assert (status, problem["code"]) == (412, "etag_missing")
    changed = body(name="billing", types=["PersonRegistered"])
    status, headers, _ = await api("PUT", PATH, **changed | {"headers": HEADERS | {"if-match": '"0"'}})
    assert (status, headers["etag"]) == (200, '"1"')
    status, _, problem = await api("PUT", PATH, **changed | {"headers": HEADERS | {"if-match": '"0"'}})
    assert (status, problem["code"]) == (412, "etag_differs")
    moved = body(name="billing", start="now") | {"headers": HEADERS | {"if-match": '"1"'}}
    status, _, problem = await api("PUT", PATH, **moved)
    assert (status, problem["code"]) == (409, "start_is_past")

    status, headers, found = await api("GET", PATH)
    assert (status, headers["etag"], found["name"]) == (200, '"1"', "billing")
    # How far it is changes, and its ETag does not: no cache may keep it, and nobody is told that it is the same.
    status, headers, _ = await api("GET", PATH, headers={"if-none-match": headers["etag"]})
    assert (status, headers["cache-control"]) == (200, "no-store")
    assert (await api("GET", "/v1/subscriptions"))[2] == {"subscriptions": [found], "next": None}
    assert (await api("POST", f"{PATH}/pause"))[2]["status"] == "paused"
    status, headers, found = await api("POST", f"{PATH}/resume")
    assert (status, headers["etag"], found["status"]) == (200, '"3"', "active")
    assert (await api("DELETE", PATH))[0] == 204
    for method, path in (("GET", PATH), ("DELETE", PATH), ("POST", f"{PATH}/pause"), ("POST", f"{PATH}/resume")):
        status, _, problem = await api(method, path)
        assert (status, problem["code"]) == (404, "not_found")
    assert len(api.audit.entries) >= 7


async def test_subscriptions_are_listed_page_by_page(api):
    for name in ("c", "a", "b"):
        assert (await api("PUT", f"/v1/subscriptions/{name}", **body()))[0] == 201
    names, path = [], "/v1/subscriptions?limit=2"
    while path:
        status, _, page = await api("GET", path)
        assert (status, len(page["subscriptions"])) in {(200, 2), (200, 1)}
        names += [each["name"] for each in page["subscriptions"]]
        path = page["next"]
    assert names == ["a", "b", "c"]
    for query, code in (
        ("limit=0", "invalid_request"),
        ("colour=red", "invalid_request"),
        ("cursor=%2F", "bad_cursor"),
    ):
        status, _, problem = await api("GET", f"/v1/subscriptions?{query}")
        assert (status, problem["code"]) == (400, code)


@pytest.mark.parametrize(
    ("members", "path"),
    [
        ({"name": "another"}, "name"),
        ({"colour": "red"}, "colour"),
        ({"kinds": ["ship"]}, "kinds[0]"),
        ({"delivery": "carrier pigeon"}, "delivery"),
        ({"retention": "for ever"}, "retention"),
        ({"retention": "unlimited", "delivery": "acknowledged"}, "retention"),
    ],
)
async def test_a_member_that_offends_is_named(api, members, path):
    status, _, problem = await api("PUT", PATH, **body(**members))
    assert (status, [error["path"] for error in problem["errors"]]) == (422, [path])


@pytest.mark.parametrize(
    "members",
    [
        {"schema_version": {"k" * 900_000: 0}},
        {"start": {"positions": {"k" * 900_000: "x"}}},
        {"start": {"positions": {f"k{number}": "x" for number in range(50_000)}}},
        {"types": ["PersonRegistered" + "k" * 240] * 1_000},
    ],
)
async def test_what_is_said_of_a_large_body_is_bounded(api, members):
    """Goes red when a name of a megabyte comes back in path and detail, or each of a thousand members in an error."""
    status, _, problem = await api("PUT", PATH, **body(**members))
    assert status == 422
    assert len(problem["detail"]) <= 2_000
    assert len(problem["errors"]) <= 100
    assert all(len(each["path"]) <= 200 and len(each["message"]) <= 500 for each in problem["errors"])


@pytest.mark.parametrize("sent", ["no JSON", "[]", ""])
async def test_a_body_that_is_no_object_is_refused(api, sent):
    status, _, problem = await api("PUT", PATH, data=sent, headers=HEADERS)
    assert (status, problem["code"]) == (400, "invalid_request")


@pytest.mark.parametrize(
    ("failure", "answer"),
    [
        (
            Refused(403, "topic_not_permitted", "the worker may not create subscribers.billing"),
            (403, "topic_not_permitted"),
        ),
        (Refused(503, "not_ready", "the change may not have been made"), (503, "not_ready")),
        (KafkaConnectionError("no broker"), (503, "not_ready")),
    ],
)
async def test_what_the_brokers_refuse_is_answered(api, failure, answer):
    api.administration.failure = failure
    status, _, problem = await api("PUT", PATH, **body(name="billing"))
    assert (status, problem["code"]) == answer


@pytest.mark.parametrize("members", [{"delivery": "stream"}, {"delivery": "acknowledged", "ordered": False}])
async def test_what_is_acknowledged_stays_so_and_keeps_its_order(api, members):
    status, headers, _ = await api("PUT", PATH, **body(delivery="acknowledged"))
    assert status == 201
    request = body(**members)
    request["headers"] = {**request["headers"], "if-match": headers["etag"]}
    status, _, problem = await api("PUT", PATH, **request)
    assert (status, problem["code"]) == (409, "delivery_is_past")


async def test_nobody_is_told_that_nothing_has_changed_where_the_etag_says_less_than_the_answer(api):
    """RFC 9110, section 13.1.2. Goes red when a change that was made, or how far it is, is answered 304."""
    any_etag = {"if-none-match": "*"}
    etag = (await api("PUT", PATH, data="{}", headers=HEADERS))[1]["etag"]
    assert (await api("PUT", PATH, data="{}", headers=HEADERS | any_etag | {"if-match": etag}))[0] == 200
    assert (await api("POST", f"{PATH}/pause", headers=any_etag))[0] == 200
    assert (await api("GET", PATH, headers=any_etag))[0] == 200


async def test_the_description_has_the_header_without_which_nothing_is_replaced(api):
    paths = (await api("GET", "/v1/openapi.json"))[2]["paths"]
    for method in ("put", "delete"):
        operation = paths["/v1/subscriptions/{name}"][method]
        assert ("If-Match", "header") in {(each["name"], each["in"]) for each in operation["parameters"]}
        assert "If-Match" in operation["responses"]["412"]["description"]


@pytest.mark.parametrize(("was", "wanted"), [("limited", "unlimited"), ("unlimited", "limited")])
async def test_how_long_a_topic_keeps_events_stays_as_it_was_made(api, was, wanted):
    status, headers, _ = await api("PUT", PATH, **body(retention=was))
    assert status == 201
    request = body(retention=wanted)
    request["headers"] = {**request["headers"], "if-match": headers["etag"]}
    status, _, problem = await api("PUT", PATH, **request)
    assert (status, problem["code"]) == (409, "retention_is_past")
    assert f"was made with {was} retention" in problem["detail"]
