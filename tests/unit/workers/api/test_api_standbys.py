"""Answers of standbys over HTTP: marked, with their position, and only by who is one."""

from contextlib import aclosing, asynccontextmanager

import msgspec
import pytest

from annals.agents.reading.found import ShardStatus
from annals.agents.reading.gathering.all_shards import NotHereError
from annals.agents.reading.gathering.questions import Asked, AskState
from annals.agents.reading.gathering.replies import Reply
from annals.agents.reading.ports import Member, NotReadyError
from annals.schemas.cid import cid_text
from annals.workers.api.callers.forwarding import Caller, Forwarding
from annals.workers.api.car import car_of
from annals.workers.api.peers import PATH, HttpPeers
from following import soon
from gathered import event, id_in
from gathered_serving import deployed, now

ONE = {"person": 1}
KEY = ("person", 0)
ADA = id_in(0, 1)
STATE = f"/v1/aggregates/person/{ADA}"
STALE = [{"kind": "person", "partition": 0, "reason": "standby"}]
CAR = "application/vnd.ipld.car"


@asynccontextmanager
async def crew():
    """An owner, a standby with the same events, and who asks; the owner has one event more than the standby."""
    async with deployed(ONE, [KEY], [], []) as (deployment, apis):
        first = event("person", ADA)
        deployment.append("person", [first])
        deployment.workers[1].follow(KEY)
        for worker in deployment.workers:
            await worker.read()
        deployment.append("person", [event("person", ADA, first, 1)])
        await deployment.workers[0].read_owned()
        yield deployment, apis


async def test_a_state_of_a_standby_says_so_and_where_it_stands():
    async with crew() as (deployment, (_, _, asker)):
        _, _, of_owner = await asker("GET", STATE)
        assert (of_owner["version"], of_owner["position"]["offset"]) == (2, 2)
        assert "stale" not in of_owner
        await deployment.workers[0].lose(KEY)
        status, headers, body = await asker("GET", STATE)
        assert (status, body["version"], body["stale"]) == (200, 1, STALE)
        assert body["position"] == {"partition": 0, "offset": 1}
        assert headers["etag"].strip('"') == body["head"]


async def test_events_snapshots_and_a_car_of_a_standby_say_so():
    async with crew() as (deployment, (_, _, asker)):
        before = (await asker("GET", f"{STATE}/events"))[2]
        assert before.keys() == {"events", "next"}
        await deployment.workers[0].lose(KEY)
        _, _, body = await asker("GET", f"{STATE}/events")
        assert (len(body["events"]), body["stale"], body["position"]["offset"]) == (1, STALE, 1)
        _, headers, _ = await asker("GET", f"{STATE}/events", headers={"accept": CAR})
        assert headers["annals-stale"] == "standby; partition=0; offset=1"


async def test_a_car_whose_rest_who_answers_now_has_not_read_does_not_end_as_if_it_were_whole():
    async with crew() as (deployment, _):
        owner, standby = deployment.workers[0].shards[KEY], deployment.workers[1].standing[KEY]
        (root,) = await owner.history(ADA, first=1, last=None, descending=True, limit=1)
        async with aclosing(car_of(standby, ADA, 2, root)) as parts:
            await anext(parts)
            with pytest.raises(NotReadyError, match="version 2 is not read by who answers now"):
                await anext(parts)


async def test_what_a_standby_does_not_have_is_absent_only_if_it_has_read_what_there_was():
    async with crew() as (deployment, (_, _, asker)):
        await deployment.workers[0].lose(KEY)
        status, _, body = await asker("GET", "/v1/aggregates/person/nobody")
        assert (status, body["code"]) == (404, "not_found")
        assert "standby, which has read up to offset 1" in body["detail"]
        standby = deployment.workers[1].standing[KEY]
        standby.take_over()
        standby.stand_by()  # and the journal's end is not known
        status, _, body = await asker("GET", "/v1/aggregates/person/nobody")
        assert (status, body["code"]) == (503, "not_ready")


async def test_an_event_that_a_standby_may_not_have_read_is_not_said_to_be_absent():
    second = event("person", ADA, event("person", ADA), 1)
    path = f"/v1/events/{cid_text(second.cid)}"
    async with crew() as (deployment, (_, _, asker)):
        assert (await asker("GET", path))[0] == 200
        await deployment.workers[0].lose(KEY)
        status, _, body = await asker("GET", path)
        assert (status, body["code"]) == (503, "not_ready")
        assert body["detail"] == "the event may be in person-0: standby"
        answer = msgspec.json.encode({"cid": cid_text(second.cid), "verdict": "ack"})
        headers = {"content-type": "application/json"}
        status, _, body = await asker("POST", "/v1/subscriptions/s/acks", data=answer, headers=headers)
        assert (status, body["detail"]) == (503, "the event may be in person-0: standby")


async def test_a_version_that_is_expected_is_waited_for_at_the_standby():
    async with crew() as (deployment, (_, _, asker)):
        await deployment.workers[0].lose(KEY)
        status, _, body = await asker("GET", f"{STATE}?expect_at_least=2&wait=1")
        assert (status, body["position"]) == (504, {"partition": 0, "offset": 1})
        deployment.workers[1].standing[KEY].go_on()
        status, _, body = await asker("GET", f"{STATE}?expect_at_least=2&wait=30")
        assert (status, body["version"], body["stale"]) == (200, 2, STALE)


async def test_answers_over_partitions_name_a_standby():
    async with crew() as (deployment, (_, _, asker)):
        paths = ("/v1/events", "/v1/aggregates/person", "/v1/correlations/r")
        for path in paths:
            assert (await asker("GET", path))[2]["stale"] == []
        await deployment.workers[0].lose(KEY)
        for path in paths:
            _, _, body = await asker("GET", path)
            assert (body["stale"], body["missing"], body["positions"]) == (STALE, [], {"person": [1]})


@pytest.fixture
async def peers():
    made = HttpPeers(Forwarding(None, now, authenticates=False))
    yield made
    await made.close()


async def test_who_is_neither_owner_nor_standby_is_misdirected_and_a_standby_is_no_owner(peers):
    async with crew() as (deployment, _):
        owner, standby, asker = (worker.me for worker in deployment.workers)
        question = AskState(ADA)
        for is_standby in (False, True):
            with pytest.raises(NotHereError, match="neither"):
                await peers.ask(asker, "person", 0, question, soon(), standby=is_standby)
        with pytest.raises(NotHereError, match="does not have it"):
            await peers.ask(standby, "person", 0, question, soon())
        status, found = await peers.ask(standby, "person", 0, question, soon(), standby=True)
        assert (status.standby, found.version) == (True, 1)
        status, found = await peers.ask(owner, "person", 0, question, soon(), standby=True)  # it has taken over
        assert (status.standby, found.version) == (False, 2)


async def test_a_question_to_a_standby_is_signed_for_it_and_passed_on_to_nobody(peers):
    async with crew() as (deployment, (_, _, asker)):
        asked = msgspec.json.encode(Asked("person", 0, AskState(ADA), 5.0, standby=True))
        forwarding = Forwarding(None, now, authenticates=False)
        for to, expected in (("worker-1", 421), ("worker-2", 421)):  # another's, and its own: it is neither of both
            signed = forwarding.sign("POST", PATH, asked, to, Caller("ada", ("read",)))
            headers = {"content-type": "application/json", "annals-forwarded": signed}
            status, _, body = await asker("POST", PATH, data=asked, headers=headers)
            assert (status, body["code"]) == (expected, "misdirected_request")
        liar = Member("worker-2", deployment.workers[1].url, {}, {})
        with pytest.raises(NotHereError, match="another one"):
            await peers.ask(liar, "person", 0, AskState(ADA), soon(), standby=True)


def test_a_release_without_standbys_reads_the_questions_and_replies_of_this_one():
    asked = Asked("person", 0, AskState(ADA), 5.0)
    former = msgspec.json.decode(msgspec.json.encode(asked))
    assert former.pop("standby") is False
    assert msgspec.convert(former, Asked) == asked
    status = ShardStatus("person", 0, "reading", "", 1, 1, reached=True, lag_s=0.0, stale={})
    former = msgspec.msgpack.decode(msgspec.msgpack.encode(Reply(status)))
    assert former["status"].pop("standby") is False
    assert msgspec.convert(former["status"], ShardStatus) == status
