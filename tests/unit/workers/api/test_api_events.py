"""Events, aggregates and correlations over HTTP, over partitions that two workers have."""

import asyncio
import json
import re
import socket
from urllib.parse import quote

import aiohttp
import msgspec
import pytest
from structlog.testing import capture_logs
from yarl import URL

from annals.agents.reading.found import AggregatePage, FoundAggregate
from annals.agents.reading.gathering.aggregates import AggregatesWanted, read_aggregates
from annals.agents.reading.gathering.cursors import BadCursorError
from annals.agents.reading.gathering.events import read_events
from annals.agents.reading.gathering.questions import AskAggregates, Asked
from annals.agents.reading.gathering.replies import Reply, read_answer, reply_to
from annals.agents.reading.queries import aggregates as listing
from annals.schemas.cid import cid_text
from annals.workers.api.routes import correlations as correlations_routes
from annals.workers.api.routes import events as events_routes
from annals.workers.api.routes import listed as listed_route
from annals.workers.settings import Settings
from chained import chain
from following import until
from gathered import event, id_in
from gathered_serving import deployed, read_all

PEOPLE = {"person": 2}
FIRST = id_in(0, 2)
HALVES = ([("person", 0)], [("person", 1)])
WITHIN_S = 30


def story(count=6):
    """Events of two aggregates in two partitions, a second apart, one after the other."""
    last, events = {}, []
    for number in range(count):
        partition = number % 2
        cause = None if number == 0 else f"command-{number - 1}"
        made = event(
            "person",
            id_in(partition, 2),
            last.get(partition),
            number,
            command_id=f"command-{number}",
            causation_id=cause,
            type_="PersonRegistered" if number < 2 else "PersonRenamed",
            actor="hr" if number % 3 == 0 else None,
        )
        last[partition] = made
        events.append(made)
    return events


def cids(body):
    return [each["cid"] for each in body["events"]]


@pytest.mark.parametrize("path", ["/v1/events?limit=1", "/v1/aggregates/person", "/v1/correlations/command-0"])
async def test_a_request_of_little_time_has_the_answers_of_those_that_come(path, monkeypatch):
    """Goes red when a partition is waited for longer than a request may take: 504, and nothing of the others."""
    async with deployed(PEOPLE, *HALVES, settings=Settings(api_port=0, api_timeout_s=3)) as (deployment, (api, _)):
        deployment.append("person", story())
        await read_all(deployment)
        for question in ("find", "aggregates"):
            monkeypatch.setattr(deployment.workers[1].shards["person", 1], question, never)
        status, _, body = await api("GET", path)
        assert (status, [each["partition"] for each in body["missing"]]) == (200, [1]), body
        assert body["positions"] == {"person": [3, None]}
        status, _, body = await api("GET", "/v1/events?limit=1&type=PersonMisspelt")
        assert (status, [each["partition"] for each in body["missing"]]) == (200, [1]), body


async def never(*_, **__):
    await asyncio.Event().wait()


async def test_every_worker_answers_pages_over_all_partitions():
    events = story()
    names = [cid_text(each.cid) for each in events]
    async with deployed(PEOPLE, *HALVES) as (deployment, apis):
        deployment.append("person", events)
        await read_all(deployment)
        for api in apis:
            status, _, body = await api("GET", "/v1/events")
            assert (status, cids(body), body["next"]) == (200, names, None)
            assert (body["positions"], body["missing"], body["stale"]) == ({"person": [3, 3]}, [], [])
            assert body["lag"] == {"events": 0, "seconds": 0.0}
            assert list(body["events"][2]) == [*list(body["events"][0])]
            assert body["events"][2]["previous"] == {"/": names[0]}
        for order, expected in (("asc", names), ("desc", names[::-1])):
            seen, path = [], f"/v1/events?order={order}&limit=2"
            while path:
                status, _, body = await apis[len(seen) // 2 % 2]("GET", path)
                assert (status, len(body["events"])) == (200, 2)
                seen += cids(body)
                path = body["next"]
                assert path is None or path.startswith("/v1/events?")
            assert seen == expected
        cursor = (await apis[0]("GET", "/v1/events"))[2]["cursor"]
        deployment.append("person", [event("person", id_in(0, 2), events[4], 9)])
        await read_all(deployment)
        status, _, body = await apis[1]("GET", f"/v1/events?cursor={cursor}")
        assert (status, [each["version"] for each in body["events"]]) == (200, [4])


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("type=PersonRegistered", [0, 1]),
        ("command_id=command-3", [3]),
        ("causation_id=command-3", [4]),
        ("correlation_id=r", [0, 1, 2, 3, 4, 5]),
        ("correlation_id=none", []),
        ("actor=hr", [0, 3]),
        ("actor=hr&type=PersonRenamed", [3]),
        ("since=2026-11-21T09:30:04Z", [4, 5]),
        ("until=2026-11-21T09:30:04Z", [0, 1, 2, 3]),
        ("since=2026-11-21T09:30:04.0000001Z", [5]),
        ("until=2026-11-21T09:30:04.0000001Z", [0, 1, 2, 3, 4]),
        ("until=2016-12-31T23:59:60.999999999Z", []),
        ("kind=person&since=2026-11-21T10:30:02%2B01:00&until=2026-11-21T09:30:03.5Z", [2, 3]),
    ],
)
async def test_events_are_filtered(query, found):
    events = story()
    async with deployed(PEOPLE, *HALVES) as (deployment, apis):
        deployment.append("person", events)
        await read_all(deployment)
        status, _, body = await apis[1]("GET", f"/v1/events?{query}")
        assert (status, cids(body)) == (200, [cid_text(events[number].cid) for number in found])


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("cursor=x", 400, "bad_cursor"),
        ("cursor=", 400, "bad_cursor"),
        (f"cursor={'A' * 4097}", 400, "bad_cursor"),
        ("limit=0", 400, "invalid_request"),
        ("limit=1001", 400, "invalid_request"),
        ("order=up", 400, "invalid_request"),
        ("type=A&type=B", 400, "invalid_request"),
        ("unknown=1", 400, "invalid_request"),
        ("since=yesterday", 400, "invalid_request"),
        ("follow=2", 400, "invalid_request"),
        ("follow=1&order=desc", 400, "invalid_request"),
        ("follow=1&cursor=x", 400, "bad_cursor"),
        ("expect=person", 400, "invalid_request"),
        ("expect=cat/p-1@1", 400, "invalid_request"),
        ("kind=cat", 404, "not_found"),
        ("expect=person/p-1@1&wait=0", 504, "timeout"),
        (f"expect=person/p-1@{2**70}&wait=0", 504, "timeout"),
    ],
)
async def test_what_is_wrong_is_said(query, status, code):
    async with deployed(PEOPLE, *HALVES) as (deployment, apis):
        await read_all(deployment)
        answered, _, body = await apis[0]("GET", f"/v1/events?{query}")
        assert (answered, body["code"]) == (status, code)


@pytest.mark.parametrize(
    ("since", "is_said"),
    [
        ("2026-11-21T10:30:00+01:00", True),
        ("yesterday", False),
        ("2026-11-21", False),
        ("2026-11-21%2009:30:00Z", False),
    ],
)
async def test_how_a_plus_is_written_in_a_url_is_said_where_one_was_there(since, is_said):
    """Goes red where each wrong time is answered with it: at a shell, where the URL is not written, it is wrong."""
    async with deployed(PEOPLE, *HALVES) as (deployment, apis):
        await read_all(deployment)
        status, _, body = await apis[0]("GET", f"/v1/events?since={since}")
        assert status == 400
        assert "must be an RFC 3339 date-time, as 2026-11-21T09:30:00Z" in body["detail"]
        assert ("%2B" in body["detail"]) == is_said


async def test_a_page_with_nothing_before_it_waits_for_nothing(monkeypatch):
    """Goes red when a partition that hangs costs the first page the time that is for readers behind a cursor, too."""
    waited = []

    async def read(shards, wanted, cursor, limit, wait_s, *rest):
        waited.append(wait_s)
        return await read_events(shards, wanted, cursor, limit, wait_s, *rest)

    monkeypatch.setattr(events_routes, "read_events", read)
    async with deployed(PEOPLE, *HALVES) as (deployment, apis):
        deployment.append("person", story())
        await read_all(deployment)
        _, _, body = await apis[0]("GET", "/v1/events?limit=1&wait=3")
        await apis[0]("GET", body["next"])
        await apis[0]("GET", "/v1/events?order=desc&wait=3")
    assert waited == [0.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("path", "where", "said"),
    [
        ("events?type=PersonRenamd", "type", "no event 'PersonRenamd'. Is PersonRenamed meant?"),
        ("events?type=PersonRenamd&follow=1", "type", "Is PersonRenamed meant?"),
        ("events?type=TaskAssigned&kind=person", "type", "It is an event of agent."),
        ("events?type=RenamePerson", "type", "It is a command"),
        ("aggregates/person?status=activ", "status", "Is active meant?"),
    ],
)
async def test_a_word_that_there_is_not_is_refused_with_the_one_that_was_meant(path, where, said):
    """Goes red when what is misspelt is answered by an empty page, as if nothing of it had happened."""
    async with deployed(PEOPLE, *HALVES) as (deployment, apis):
        deployment.append("person", story())
        await read_all(deployment)
        status, _, body = await apis[0]("GET", f"/v1/{path}")
        assert (status, body["code"]) == (400, "invalid_request")
        ((named, message),) = [(each["path"], each["message"]) for each in body["errors"]]
        assert named == where
        assert said in message


async def test_events_of_a_type_that_another_release_recorded_are_answered():
    strange = event("person", id_in(0, 2), type_="PersonForgotten")
    async with deployed(PEOPLE, *HALVES) as (deployment, apis):
        deployment.append("person", [strange])
        await read_all(deployment)
        for api in apis:
            status, _, body = await api("GET", "/v1/events?type=PersonForgotten")
            assert (status, cids(body)) == (200, [cid_text(strange.cid)])


async def test_a_type_is_not_called_misspelt_while_a_partition_does_not_answer():
    async with deployed(PEOPLE, [("person", 0)], []) as (deployment, apis):
        await read_all(deployment)
        status, _, body = await apis[0]("GET", "/v1/events?type=PersonForgotten&wait=0")
        assert (status, body["events"]) == (200, [])
        assert [each["partition"] for each in body["missing"]] == [1]


async def test_cursors_of_another_question_are_refused():
    async with deployed({"person": 2, "organization": 1}, [("person", 0), ("person", 1), ("organization", 0)]) as (
        deployment,
        (api,),
    ):
        deployment.append("person", story())
        await read_all(deployment)
        cursor = (await api("GET", "/v1/events?kind=person&limit=1"))[2]["cursor"]
        assert (await api("GET", f"/v1/events?kind=person&cursor={cursor}"))[0] == 200
        for query in (
            f"cursor={cursor}",
            f"kind=organization&cursor={cursor}",
            f"kind=person&order=desc&cursor={cursor}",
        ):
            status, _, body = await api("GET", f"/v1/events?{query}")
            assert (status, body["code"]) == (400, "bad_cursor")
        for query in (
            f"/v1/aggregates/person?cursor={cursor}",
            f"/v1/events?cursor={(await api('GET', '/v1/aggregates/person'))[2]['cursor']}",
        ):
            status, _, body = await api("GET", query)
            assert (status, body["code"]) == (400, "bad_cursor")


async def test_an_event_is_found_by_its_cid_wherever_it_is():
    events = story()
    async with deployed(PEOPLE, *HALVES) as (deployment, apis):
        deployment.append("person", events)
        await read_all(deployment)
        for made in events:
            for api in apis:
                status, _, body = await api("GET", f"/v1/events/{cid_text(made.cid)}")
                assert (status, body["cid"], body["version"]) == (200, cid_text(made.cid), made.version)
        other = cid_text(chain("p-1", 1)[0].cid)
        assert (await apis[0]("GET", f"/v1/events/{other}"))[0] == 404
        assert (await apis[0]("GET", "/v1/events/nonsense"))[0] == 404
        await deployment.workers[1].lose(("person", 1))
        status, headers, body = await apis[0]("GET", f"/v1/events/{other}")
        assert (status, body["code"], headers["retry-after"]) == (503, "not_ready", "1")
        assert "person-1" in body["detail"]


async def test_a_state_and_a_history_are_answered_by_whoever_has_not_got_them():
    events = story()
    async with deployed(PEOPLE, *HALVES) as (deployment, apis):
        deployment.append("person", events)
        await read_all(deployment)
        for partition in range(2):
            bodies = [(await api("GET", f"/v1/aggregates/person/{id_in(partition, 2)}/events"))[2] for api in apis]
            assert bodies[0] == bodies[1]
            assert cids(bodies[0]) == [cid_text(each.cid) for each in events[partition::2]]
            headers = {"accept": "application/vnd.ipld.car"}
            cars = [
                (await api("GET", f"/v1/aggregates/person/{id_in(partition, 2)}/events", headers=headers))[2]
                for api in apis
            ]
            assert cars[0] == cars[1] != b""
            assert (await apis[1 - partition]("GET", f"/v1/aggregates/person/{id_in(partition, 2)}"))[2]["version"] == 3
            assert (await apis[1 - partition]("GET", f"/v1/aggregates/person/{id_in(partition, 2, 1)}"))[0] == 404


async def test_aggregates_are_listed_over_all_partitions_and_none_is_lost_while_one_is_away():
    async with deployed({"person": 2}, *HALVES) as (deployment, apis):
        ids = sorted(f"p-{number}" for number in range(40))
        deployment.append("person", [event("person", name, second=number % 9) for number, name in enumerate(ids)])
        await read_all(deployment)
        seen, path, away = [], "/v1/aggregates/person?limit=7", 0
        while path:
            if away == 2:
                await deployment.workers[1].lose(("person", 1))
            elif away == 3:
                deployment.workers[1].take(("person", 1))
                await read_all(deployment)
            status, _, body = await apis[away % 2]("GET", path)
            assert status == 200
            assert [each["partition"] for each in body["missing"]] == ([1] if away == 2 else [])
            seen += [each["aggregate_id"] for each in body["aggregates"]]
            path, away = body["next"], away + 1
        assert sorted(seen) == ids
        status, _, body = await apis[0]("GET", "/v1/aggregates/person?since=2026-11-21T09:30:08Z")
        assert [each["last_at"] for each in body["aggregates"]] == ["2026-11-21T09:30:08.000000Z"] * 4
        assert set(body["aggregates"][0]) == {
            "aggregate_id", "version", "head", "status", "first_at", "last_at", "bytes", "snapshot_version",
        }  # fmt: skip
        assert (await apis[0]("GET", "/v1/aggregates/person?status=merged"))[2]["aggregates"] == []
        assert (await apis[0]("GET", "/v1/aggregates/cat"))[0] == 404


async def test_a_rare_status_is_found_on_later_pages_over_all_partitions(monkeypatch):
    """Goes red when a list looks through all of a partition for one page, and never comes to its end."""
    monkeypatch.setattr(listing, "LOOKED_AT", 3)
    async with deployed({"person": 2}, *HALVES) as (deployment, apis):
        ids = sorted(f"p-{number}" for number in range(30))
        late = [name for number, name in enumerate(ids) if number % 5 == 4]
        deployment.append("person", [event("person", name, second=8 if name in late else 1) for name in ids])
        await read_all(deployment)
        found, path, pages = [], "/v1/aggregates/person?since=2026-11-21T09:30:08Z&limit=10", 0
        while path:
            _, _, body = await apis[pages % 2]("GET", path)
            found += [each["aggregate_id"] for each in body["aggregates"]]
            path, pages = body["next"], pages + 1
        assert found == late
        assert pages > 5
        found, path = [], "/v1/aggregates/person?limit=2"
        while path:
            _, _, body = await apis[0]("GET", path)
            found += [each["aggregate_id"] for each in body["aggregates"]]
            path = body["next"]
        assert found == ids


async def test_a_list_of_aggregates_waits_for_what_its_asker_wrote_and_tells_what_it_rests_on(monkeypatch):
    async with deployed({"person": 2}, *HALVES) as (deployment, apis):
        path = f"/v1/aggregates/person?expect=person/{FIRST}@1"
        status, _, problem = await apis[1]("GET", f"{path}&wait=0")
        assert (status, problem["code"]) == (504, "timeout")
        request = asyncio.create_task(apis[1]("GET", f"{path}&wait=30"))
        deployment.append("person", [event("person", FIRST)])
        status, _, body = await request
        assert (status, [each["aggregate_id"] for each in body["aggregates"]]) == (200, [FIRST])
        assert body["positions"] == {"person": [1, 0]}
        asked = []

        async def moved_once(*question):
            asked.append(await read_aggregates(*question))
            gathered = asked[-1].gathered._replace(positions={"person": [None if asked[:-1] == [] else 1, 0]})
            return asked[-1]._replace(gathered=gathered)

        monkeypatch.setattr(listed_route, "read_aggregates", moved_once)
        assert (await apis[1]("GET", f"{path}&wait=30"))[2]["positions"] == {"person": [1, 0]}
        assert len(asked) == 2
        for wrong in ("p-1@1", f"planet/{FIRST}@1"):
            assert (await apis[0]("GET", f"/v1/aggregates/person?expect={wrong}"))[0] == 400


class ReadsOn:
    """A shard that reads on after each answer: where it stands then is not what the answer rests on."""

    def __init__(self, shard):
        self._shard = shard

    def __getattr__(self, name):
        return getattr(self._shard, name)

    def status(self):
        status = self._shard.status()
        return msgspec.structs.replace(status, offset=status.offset + 7, end=status.end + 7)


async def test_the_positions_of_a_list_are_those_of_what_was_looked_at():
    """Goes red when they are taken from where the shards stand when all have answered."""
    async with deployed({"person": 2}, *HALVES) as (deployment, _):
        deployment.append("person", [event("person", FIRST)])
        await read_all(deployment)
        shards = [ReadsOn(worker.shards["person", at]) for at, worker in enumerate(deployment.workers)]
        deadline = asyncio.get_running_loop().time() + 30
        page = await read_aggregates(shards, AggregatesWanted(), [None, None], 10, deadline)
        assert page.positions == {"person": [1, 0]}


async def test_a_worker_of_a_former_release_gets_whole_pages_of_aggregates_or_none(monkeypatch):
    """Goes red when it takes a page that ended early for one with a partition's first aggregates."""
    monkeypatch.setattr(listing, "LOOKED_AT", 3)
    async with deployed({"person": 1}, [("person", 0)]) as (deployment, _):
        deployment.append("person", [event("person", f"p-{number}") for number in range(5)])
        await read_all(deployment)
        shard = deployment.workers[0].shards["person", 0]

        async def reply(limit, **said):
            asked = Asked("person", 0, AskAggregates(None, None, None, None, limit, **said), 1)
            return msgspec.msgpack.decode(await reply_to(shard, asked, 0), type=Reply)

        former = await reply(2)
        found, is_end = msgspec.msgpack.decode(former.answer, type=tuple[list[FoundAggregate], bool])
        assert ([each.aggregate_id for each in found], is_end) == (["p-0", "p-1"], False)
        asked = Asked("person", 0, AskAggregates(None, None, None, None, 2, knows_places=True), 1)
        assert read_answer(asked, former) == AggregatePage(found, False)  # noqa: FBT003 - not the end
        assert (await reply(5)).failure == "not_ready"
        assert read_answer(asked, await reply(2, knows_places=True)).offset == 5


async def test_a_correlation_is_a_tree_over_partitions():
    async with deployed(PEOPLE, *HALVES) as (deployment, apis):
        deployment.append("person", story(4))
        await read_all(deployment)
        status, _, body = await apis[0]("GET", "/v1/correlations/r")
        assert (status, body["correlation_id"], body["truncated"], body["missing"]) == (200, "r", False, [])
        (node,) = body["roots"]
        for number in range(4):
            assert (node["command_id"], len(node["events"])) == (f"command-{number}", 1)
            node = (node["children"] or [None])[0]
        assert node is None
        assert (await apis[0]("GET", "/v1/correlations/none"))[2]["roots"] == []


async def test_a_correlation_waits_for_what_its_asker_wrote():
    events = story(4)
    expect = quote(f"person/{id_in(1, 2)}@2", safe="")
    async with deployed(PEOPLE, *HALVES) as (deployment, apis):
        deployment.append("person", events[:3])
        await read_all(deployment)
        status, _, problem = await apis[0]("GET", f"/v1/correlations/r?expect={expect}&wait=0")
        assert (status, problem["code"]) == (504, "timeout")
        asked = [asyncio.create_task(api("GET", f"/v1/correlations/r?expect={expect}&wait=30")) for api in apis]
        await asyncio.sleep(0)
        deployment.append("person", events[3:])
        for task in asked:
            status, _, body = await task
            node = body["roots"][0]
            while node["children"]:
                (node,) = node["children"]
            assert (status, node["command_id"]) == (200, "command-3")


async def test_a_correlation_of_very_many_events_is_truncated_and_one_of_a_long_chain_answered(monkeypatch):
    monkeypatch.setattr("annals.workers.api.routes.correlations.PART", 200)
    monkeypatch.setattr("annals.workers.api.routes.correlations.MOST_EVENTS", 1_500)
    async with deployed({"person": 1}, [("person", 0)]) as (deployment, (api,)):
        events = [
            event("person", f"p-{n}", command_id=f"command-{n}", causation_id=f"command-{n - 1}") for n in range(1_500)
        ]
        deployment.append("person", events)
        await read_all(deployment)
        status, _, body = await raw(api, "/v1/correlations/r")
        assert status == 200
        assert (body.count(b'"command_id":"command-1499"'), b'"truncated":false' in body) == (2, True)
        deployment.append("person", [event("person", "p-1500")])
        await read_all(deployment)
        status, _, body = await raw(api, "/v1/correlations/r")
        assert (status, b'"truncated":true' in body) == (200, True)


async def test_partitions_have_as_long_for_each_part_of_a_large_correlation(monkeypatch):
    """Goes red when all parts share the time of one: of 10,000 events, partitions pass for missing where all answer."""
    deadlines = []

    async def noted(*asked):
        deadlines.append(asked[5])
        return await read_events(*asked)

    monkeypatch.setattr(correlations_routes, "read_events", noted)
    monkeypatch.setattr(correlations_routes, "PART", 1)
    async with deployed(PEOPLE, *HALVES) as (deployment, (api, _)):
        deployment.append("person", story(4))
        await read_all(deployment)
        status, _, body = await api("GET", "/v1/correlations/r")
    assert (status, body["missing"]) == (200, [])
    assert len(deadlines) >= 4
    assert deadlines == sorted(set(deadlines)), "each later than the one before"


async def raw(api, path):
    async with api.client.get(URL(f"http://127.0.0.1:{api.port}{path}", encoded=True)) as answer:
        return answer.status, answer.headers, await answer.read()


async def test_what_was_written_is_read_at_any_worker():
    first = event("person", id_in(1, 2))
    second = event("person", id_in(1, 2), first)
    expect = quote(f"person/{id_in(1, 2)}@2", safe="")
    async with deployed(PEOPLE, *HALVES) as (deployment, apis):
        deployment.append("person", [first])
        await read_all(deployment)
        asked = [asyncio.create_task(api("GET", f"/v1/events?expect={expect}&wait=30")) for api in apis]
        await asyncio.sleep(0)
        deployment.append("person", [second])
        for task in asked:
            status, _, body = await task
            assert (status, cids(body)[-1]) == (200, cid_text(second.cid))
        status, _, body = await apis[0]("GET", f"/v1/events?expect={expect.replace('%402', '%409')}&wait=0.1")
        assert (status, body["code"], body["position"]["offset"]) == (504, "timeout", 2)


@pytest.mark.parametrize("path", ["/v1/events?", "/v1/correlations/r?"])
async def test_what_was_written_is_not_missing_in_the_answer(monkeypatch, path):
    """Goes red when a worker that hangs after its event was waited for makes an answer of 200 without it."""
    left = 0

    async def read(*asked):
        nonlocal left
        left -= 1
        found = await read_events(*asked)
        return (
            found
            if left < 0
            else found._replace(events=[], positions={"person": [None, *found.positions["person"][1:]]})
        )

    for routes in (events_routes, correlations_routes):
        monkeypatch.setattr(routes, "read_events", read)
    async with deployed({"person": 1}, [("person", 0)]) as (deployment, (api,)):
        deployment.append("person", [event("person", "p-1")])
        await read_all(deployment)
        left = 2
        status, _, body = await api("GET", f"{path}expect=person/p-1@1&wait=30")
        assert (status, body["positions"], left) == (200, {"person": [1]}, -1)
        left = 1
        status, _, body = await api("GET", f"{path}expect=person/p-1@1&wait=0")
        assert (status, body["position"]) == (504, {"kind": "person", "partition": 0, "offset": None})


class Stream:
    """A stream of server-sent events: name, id and data of each."""

    def __init__(self, api, path, last_event_id=None):
        headers = {} if last_event_id is None else {"last-event-id": last_event_id}
        url = URL(f"http://127.0.0.1:{api.port}{path}", encoded=True)
        timeout = aiohttp.ClientTimeout(total=None)
        self._request = api.client.get(url, headers=headers, timeout=timeout)

    async def __aenter__(self):
        self.answer = await self._request.__aenter__()
        assert (self.answer.status, self.answer.content_type) == (200, "text/event-stream")
        return self

    async def __aexit__(self, *error):
        self.answer.close()

    async def take(self, count):
        """The next events, and the id of the last."""
        taken, last = [], None
        async with asyncio.timeout(WITHIN_S):
            while len(taken) < count:
                fields = await self._next()
                last = fields.get("id", last)
                if "data" in fields:
                    assert fields["event"] == "event"
                    taken.append(json.loads(fields["data"])["cid"])
        return taken, last

    async def alive(self):
        """The next id without an event."""
        async with asyncio.timeout(WITHIN_S):
            while True:
                fields = await self._next()
                if set(fields) == {"id"}:
                    return fields["id"]

    async def _next(self):
        fields = {}
        while line := (await self.answer.content.readline()).decode().rstrip("\n"):
            name, _, value = line.partition(": ")
            assert name not in fields
            fields[name] = value
        return fields


async def test_a_stream_goes_on_behind_its_last_id_at_another_worker():
    events = story(12)
    names = [cid_text(each.cid) for each in events]
    async with deployed(PEOPLE, *HALVES) as (deployment, apis):
        deployment.append("person", events[:4])
        await read_all(deployment)
        async with Stream(apis[0], "/v1/events?follow=1") as stream:
            taken, last = await stream.take(4)
            assert taken == names[:4]
            deployment.append("person", events[4:8])
            seen = (await stream.take(2))[0]
            rest, last = await stream.take(1)
        seen += rest
        deployment.append("person", events[8:])
        # `cursor` stands in the URL that a browser asks again; what it has seen is in the header
        begun = (await apis[0]("GET", "/v1/events?limit=1"))[2]["cursor"]
        async with Stream(apis[1], f"/v1/events?follow=1&cursor={begun}", last) as stream:
            seen += (await stream.take(5))[0]
        assert sorted(seen) == sorted(names[4:])
        for partition in range(2):
            own = names[4 + partition :: 2]
            assert [name for name in seen if name in own] == own


async def test_events_that_are_there_already_come_together_and_each_has_its_id(monkeypatch):
    monkeypatch.setattr(events_routes, "PIECE_BYTES", 2_000)
    events = story(12)
    async with deployed(PEOPLE, *HALVES) as (deployment, apis):
        deployment.append("person", events)
        await read_all(deployment)
        async with Stream(apis[0], "/v1/events?follow=1") as stream:
            pieces, piece = [], b""
            while sum(each.count(b"event: event\n") for each in pieces) < 12:
                data, is_end = await stream.answer.content.readchunk()
                piece += data
                if is_end:
                    pieces, piece = [*pieces, piece], b""
        assert cids((await apis[0]("GET", "/v1/events"))[2]) == [cid_text(each.cid) for each in events]
    assert pieces.pop(0) == b"retry: 1000\n\n"
    assert len(pieces) < 6
    assert all(piece.endswith(b"\n\n") and len(piece) < 4_000 for piece in pieces)
    ids = re.findall(rb"id: (.+)\nevent: event\ndata: .+\n\n", b"".join(pieces))
    assert len(set(ids)) == 12


async def test_one_stream_too_many_is_refused_by_name_and_ends_no_other(monkeypatch):
    """Goes red when streams take all connections: each new one would end the oldest, which comes back at once."""
    monkeypatch.setattr("annals.workers.api.routes.events.MOST_STREAMS", 2)
    async with deployed(PEOPLE, *HALVES) as (deployment, apis):
        deployment.append("person", story())
        await read_all(deployment)
        path = "/v1/events?follow=1"
        async with Stream(apis[0], path) as one:
            async with Stream(apis[0], path) as other:
                await one.take(1)
                await other.take(1)
                async with asyncio.timeout(WITHIN_S):
                    status, headers, body = await apis[0]("GET", path)
                assert (status, body["code"], headers["retry-after"]) == (503, "not_ready", "1")
                assert "ANNALS_API_CONNECTIONS" in body["detail"]
                await one.take(1)
            await is_free(apis[0], path)
            async with Stream(apis[0], path) as another:
                await another.take(1)


@pytest.fixture
def looking(monkeypatch):
    """What happens when the routes look at a cursor; as ever where it is None."""
    wanted = []

    async def read(*args):
        for each in wanted:
            await each()
        return await read_events(*args)

    monkeypatch.setattr("annals.workers.api.routes.events.read_events", read)
    return wanted


async def test_those_who_come_back_all_at_once_are_no_more_streams_than_there_may_be(monkeypatch, looking):
    """Goes red when a stream is counted only once its cursor was looked at."""
    monkeypatch.setattr("annals.workers.api.routes.events.MOST_STREAMS", 2)
    looks, may_go_on = [], asyncio.Event()

    async def held():
        looks.append(1)
        await may_go_on.wait()

    async with deployed(PEOPLE, *HALVES) as (deployment, (api, _)):
        deployment.append("person", story())
        await read_all(deployment)
        path = f"/v1/events?follow=1&cursor={(await api('GET', '/v1/events?limit=1'))[2]['cursor']}"
        looking.append(held)
        herd = [asyncio.create_task(api("HEAD", path)) for _ in range(5)]
        await until(lambda: len(looks) + sum(each.done() for each in herd) == len(herd))
        may_go_on.set()
        assert sorted([(await each)[0] for each in herd]) == [200, 200, 503, 503, 503]
        async with Stream(api, path) as one, Stream(api, path) as other:
            await one.take(1)
            await other.take(1)
            assert (await api("GET", path))[0] == 503


@pytest.mark.parametrize("end", ["refused", "no body is asked for", "the caller goes", "its deadline passes"])
async def test_the_place_of_a_stream_is_given_back_however_it_ends(monkeypatch, looking, end):
    monkeypatch.setattr("annals.workers.api.routes.events.MOST_STREAMS", 1)
    looks = []

    async def held():
        looks.append(1)
        await asyncio.Event().wait()

    async def refused():
        raise BadCursorError("the journal was made anew")

    async with deployed(PEOPLE, *HALVES, settings=Settings(api_port=0, api_timeout_s=1)) as (deployment, (api, _)):
        deployment.append("person", story())
        await read_all(deployment)
        path = f"/v1/events?follow=1&cursor={(await api('GET', '/v1/events?limit=1'))[2]['cursor']}"
        match end:
            case "refused":
                looking.append(refused)
                assert (await api("GET", path))[0] == 400
            case "no body is asked for":
                assert (await api("HEAD", path))[0] == 200
            case "the caller goes":
                looking.append(held)
                asking = asyncio.create_task(api("GET", path))
                await until(lambda: looks)
                asking.cancel()
            case _:
                looking.append(held)
                assert (await api("GET", path))[0] == 504
        looking.clear()
        await is_free(api, path)
        async with Stream(api, path) as stream:
            await stream.take(1)
        await is_free(api, path)


async def is_free(api, path):
    """Wait until there is a place for a stream: that one has ended is noticed a moment later."""
    async with asyncio.timeout(WITHIN_S):
        while (await api("HEAD", path))[0] != 200:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.01)


async def test_a_stream_moves_its_cursor_over_what_is_not_wanted(monkeypatch):
    monkeypatch.setattr("annals.agents.reading.gathering.events.ALIVE_S", 0.05)
    async with deployed(PEOPLE, *HALVES) as (deployment, apis):
        deployment.append("person", story())
        await read_all(deployment)
        async with Stream(apis[0], "/v1/events?follow=1&type=PersonMerged") as stream:
            while True:
                last = await stream.alive()
                behind = (await apis[1]("GET", f"/v1/events?cursor={last}"))[2]
                if behind["events"] == []:
                    break
            assert behind["next"] is None


async def test_a_caller_that_takes_nothing_is_dropped(monkeypatch):
    monkeypatch.setattr("annals.workers.api.http.answers.SLOWEST_S", 0.2)
    large = [event("person", f"p-{number}", actor="x" * 200_000) for number in range(120)]
    async with deployed({"person": 1}, [("person", 0)]) as (deployment, (api,)):
        deployment.append("person", large)
        await read_all(deployment)
        with capture_logs() as logged, socket.create_connection(("127.0.0.1", api.port)) as caller:
            caller.sendall(b"GET /v1/events?follow=1 HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
            await until(lambda: any("too slow" in each["event"] for each in logged))
            received = await asyncio.to_thread(everything, caller)
        assert 0 < received < 120 * 200_000


def everything(caller):
    """How much comes until the connection ends."""
    caller.settimeout(WITHIN_S)
    return sum(map(len, iter(lambda: caller.recv(1 << 16), b"")))
