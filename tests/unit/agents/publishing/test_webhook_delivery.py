"""Webhooks on a log in memory, posted to a server on this machine: the answer decides what becomes of an event."""

import asyncio
import json
from collections import Counter
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry
from test_delivery_shard import nothing_is_left, rows

from annals.agents.publishing.webhooks import circuit, verdicts
from annals.agents.publishing.webhooks.signatures import parse_secret, signature_headers
from annals.schemas.delivery import WAITING
from annals.schemas.subscription import Retry, Webhook
from annals.workers.settings import Settings
from annals.workers.webhooks import endpoint
from annals.workers.webhooks.sender import WebhookSender
from annals.workers.webhooks.telemetry import WebhookMetrics
from annals.workers.webhooks.wiring import Webhooks
from chained import chain
from endpoints import Endpoint
from following import Clock
from lacking import LACKING
from publishing import World, eventually, shown

SECRETS = {"new": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "old": "A" * 40}
RETRY = Retry(max_attempts=2, first_delay_ms=1, max_delay_ms=2, ack_timeout_ms=20_000)


class Scene:
    """A journal, a subscription with a webhook, and its endpoint."""

    def __init__(self, folder, endpoint):
        for name, secret in SECRETS.items():
            (folder / name).write_text(secret)
        self.settings = Settings(webhook_secrets_dir=folder, webhook_allow="127.0.0.0/8")
        self.endpoint = endpoint
        self.world = World("all")
        self.registry = CollectorRegistry()
        self.metrics = WebhookMetrics(self.registry)

    async def subscribe(self, **changed):
        webhook = Webhook(self.endpoint.url, ["new", "old"], changed.pop("content_mode", "binary"))
        await self.world.subscribe("all", **{"delivery": "webhook", "retry": RETRY, "webhook": webhook, **changed})

    @asynccontextmanager
    async def delivering(self):
        webhooks = Webhooks(self.settings, Clock(), Clock(), self.metrics, self.world.subscriptions.pause)
        try:
            async with self.world.shard() as shard, self.world.publisher(shard, webhooks.poster):
                yield
        finally:
            await webhooks.close()

    async def settled(self):
        await eventually(lambda: nothing_is_left(self.world))

    async def are_posted(self, number):
        async def are():
            return len(self.endpoint.posted) >= number

        await eventually(are)

    def posts(self, result):
        labels = {"subscription": "all", "result": result}
        return self.registry.get_sample_value("annals_webhook_posts_total", labels) or 0


@pytest.fixture
async def scene(tmp_path):
    async with Endpoint().serving() as endpoint:
        yield Scene(tmp_path, endpoint)


async def test_events_are_posted_signed_and_in_the_order_of_their_aggregate(scene):
    ada, bob = chain("p-1", 3), chain("p-2", 2)
    scene.world.journal.append([*ada, *bob])
    await scene.subscribe()
    async with scene.delivering():
        await scene.are_posted(5)
        await scene.settled()
    cids = scene.endpoint.cids()
    for events in (ada, bob):
        assert [cid for cid in cids if cid in shown(events)] == shown(events)
    assert await scene.world.cids("all") == []
    posted = scene.endpoint.posted[0]
    assert posted.headers["ce-id"] == posted.headers["webhook-id"]
    assert posted.headers["content-type"] == "application/json"
    assert "ce-redelivery" not in posted.headers
    keys = [parse_secret(secret) for secret in SECRETS.values()]
    sign = signature_headers(posted.cid, int(posted.headers["webhook-timestamp"]), posted.body, keys)
    assert posted.headers["webhook-signature"] == sign["webhook-signature"]
    assert scene.posts("ack") == 5


async def test_what_fails_comes_again_and_is_parked_after_the_last_attempt(scene):
    ada, bob = chain("p-1", 2), chain("p-2", 1)
    scene.world.journal.append([*ada, *bob])
    scene.endpoint.answer = lambda posted: 500 if posted.cid == shown(ada)[0] else 200
    await scene.subscribe()
    async with scene.delivering():
        await eventually(lambda: parked(scene, 1))
    ((_, _, headers),) = await scene.world.received("all", "parked")
    assert (headers["reason"], headers["attempts"]) == (b"http_500", b"2")
    of_first = [posted for posted in scene.endpoint.posted if posted.cid == shown(ada)[0]]
    assert [posted.headers.get("ce-redelivery") for posted in of_first] == [None, "2"]
    assert shown(ada)[1] not in scene.endpoint.cids(), "the aggregate's next event waits"
    assert shown(bob)[0] in scene.endpoint.cids()


async def parked(scene, number):
    return len(await scene.world.received("all", "parked")) >= number


async def test_an_event_that_is_refused_is_parked_at_once_and_holds_nobody_else_up(scene):
    ada, bob = chain("p-1", 1), chain("p-2", 2)
    scene.world.journal.append([*ada, *bob])
    scene.endpoint.answer = lambda posted: 422 if posted.cid in shown(ada) else 202
    await scene.subscribe(retry=Retry(max_attempts=5))
    async with scene.delivering():
        await eventually(lambda: parked(scene, 1))
        await scene.are_posted(3)
    assert Counter(scene.endpoint.cids()) == Counter(shown([*ada, *bob]))


async def test_an_endpoint_that_asks_to_wait_is_waited_for_without_using_an_attempt_up(scene):
    scene.world.journal.append(chain("p-1", 1))
    answers = [web.Response(status=each, headers={"retry-after": "0"}) for each in (429, 503, 429, 503)]
    scene.endpoint.answer = lambda _: answers.pop() if answers else 200
    await scene.subscribe()
    async with scene.delivering():
        await scene.are_posted(5)
        await scene.settled()
    assert len(scene.endpoint.posted) == 5
    assert not await parked(scene, 1)


async def test_an_endpoint_that_asks_to_wait_is_waited_for_through_a_restart(scene):
    scene.world.journal.append(chain("p-1", 1))
    scene.endpoint.answer = lambda _: web.Response(status=503, headers={"retry-after": "3600"})
    await scene.subscribe()

    async def all_wait(number):
        found = await rows(scene.world)
        return len(found) == number and all((row.state, row.tries) == (WAITING, 0) for row in found)

    async with scene.delivering():
        await eventually(lambda: all_wait(1))
    scene.world.journal.append(chain("p-2", 1))
    async with scene.delivering():
        await eventually(lambda: all_wait(2))
    assert len(scene.endpoint.posted) == 1


async def test_an_endpoint_that_is_gone_gets_nothing_more_however_long_it_takes_to_pause(scene, monkeypatch):
    monkeypatch.setattr(verdicts, "GONE_MS", 10)
    may_pause = asyncio.Event()
    pause = scene.world.subscriptions.pause

    async def late(name, reason, url):
        await may_pause.wait()
        await pause(name, reason)

    waits = set()

    async def has_come_again():
        waits.update((row.at, row.attempt) for row in await rows(scene.world) if row.state == WAITING)
        return len(waits) > 3

    async def is_paused():
        return bool(scene.world.subscriptions.paused)

    scene.world.subscriptions.pause = late
    scene.world.journal.append(chain("p-1", 2))
    scene.endpoint.answer = lambda _: 410
    await scene.subscribe()
    async with scene.delivering():
        await eventually(has_come_again)
        assert {attempt for _, attempt in waits} <= {0, 1}, "what is not sent is no attempt"
        assert len(scene.endpoint.posted) == 1
        may_pause.set()
        await eventually(is_paused)


async def test_an_endpoint_that_is_gone_holds_nothing_up_at_the_one_that_came_in_its_place(scene, monkeypatch):
    """Goes red when it is not told which endpoint is gone: the other one's subscription is paused, or it waits."""
    monkeypatch.setattr(verdicts, "GONE_MS", 10)
    asked, former = [], scene.endpoint.url

    async def held(*said):
        asked.append(said)
        await asyncio.Event().wait()

    async def is_asked():
        return bool(asked)

    scene.world.subscriptions.pause = held
    scene.world.journal.append(chain("p-1", 2))
    scene.endpoint.answer = lambda posted: 410 if posted.path == "/in" else 204
    await scene.subscribe()
    async with scene.delivering():
        await eventually(is_asked)
        other = Webhook(f"{former}-anew", ["new"])
        scene.world.subscriptions.set("all", definition={"webhook": other})
        await scene.settled()
    assert [(name, url) for name, _, url in asked] == [("all", former)]
    assert [posted.path for posted in scene.endpoint.posted] == ["/in", "/in-anew", "/in-anew"]


async def test_an_endpoint_that_is_gone_pauses_its_subscription(scene):
    scene.world.journal.append([event for at in range(50) for event in chain(f"p-{at}", 1)])
    scene.endpoint.answer = lambda _: 410
    asked = []
    pause = scene.world.subscriptions.pause

    async def counted(name, reason, url):
        asked.append(name)
        await pause(name, reason)

    scene.world.subscriptions.pause = counted
    await scene.subscribe()

    async def is_paused():
        return "all" in scene.world.subscriptions.paused

    async with scene.delivering():
        await eventually(is_paused)
    assert "http_410" in scene.world.subscriptions.paused["all"]
    assert asked == ["all"], "once, for those who pause fence one another"
    assert len(scene.endpoint.posted) <= 32, "those under way, and no others"
    assert not await parked(scene, 1)


async def test_the_circuit_opens_and_is_open_after_a_restart(scene):
    scene.world.journal.append([event for at in range(30) for event in chain(f"p-{at}", 1)])
    scene.endpoint.answer = lambda _: 500
    await scene.subscribe(retry=Retry(max_attempts=100, first_delay_ms=1, max_delay_ms=1))

    async def all_wait():
        found = await rows(scene.world)
        return len(found) == 30 and all((row.state, row.reason) == (WAITING, "circuit_open") for row in found)

    async def is_done():
        return await nothing_is_left(scene.world)

    async with scene.delivering():
        await scene.are_posted(12)

        async def some_wait():
            return any(row.reason == "circuit_open" for row in await rows(scene.world))

        await eventually(some_wait)
    before = len(scene.endpoint.posted)
    async with scene.delivering():
        await scene.are_posted(before + 1)
        scene.endpoint.answer = lambda _: 200
        await eventually(is_done)
    assert not await parked(scene, 1)


async def test_what_waits_for_its_endpoint_is_no_attempt(scene, monkeypatch):
    """Goes red where an outage counts as redeliveries, or a first request says that it is the fourth."""
    monkeypatch.setattr(circuit, "FIRST_MS", 20)
    monkeypatch.setattr(circuit, "PROBED_MS", 10)
    events = [event for at in range(30) for event in chain(f"p-{at}", 1)]
    scene.world.journal.append(events)
    scene.endpoint.answer = lambda _: 500
    await scene.subscribe(retry=Retry(max_attempts=100, first_delay_ms=1, max_delay_ms=1))
    async with scene.delivering():
        await scene.are_posted(circuit.OPENS_AFTER + 4)  # with probes
        scene.endpoint.answer = lambda _: 200
        await scene.settled()
    told, seen = [], Counter()
    for posted in scene.endpoint.posted:
        seen[posted.cid] += 1
        told.append((int(posted.headers.get("ce-redelivery", 1)), seen[posted.cid]))
    assert [said for said, _ in told] == [number for _, number in told]
    assert (scene.world.counts.deliveries, scene.world.counts.redeliveries) == (len(told), len(told) - len(events))


async def test_a_delivery_that_is_not_answered_in_time_comes_again_when_the_first_has_ended(scene):
    scene.world.journal.append(chain("p-1", 2))
    under_way, most = 0, 0

    async def answer(_):
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        try:
            if len(scene.endpoint.posted) == 1:
                await asyncio.sleep(30)
        finally:
            under_way -= 1
        return 200

    scene.endpoint.answer = answer
    await scene.subscribe(retry=Retry(max_attempts=3, first_delay_ms=1, max_delay_ms=1, ack_timeout_ms=500))
    async with scene.delivering():
        await scene.are_posted(3)
        await scene.settled()
    cids = scene.endpoint.cids()
    assert cids[0] == cids[1] != cids[2]
    assert most == 1


async def test_what_waited_for_its_turn_has_all_its_time_to_be_answered(scene, monkeypatch):
    """Goes red when the time limit goes on from before the wait: a request under way is broken off and repeated."""
    monkeypatch.setattr(endpoint, "AT_A_TIME", 1)
    events = [event for at in range(6) for event in chain(f"p-{at}", 1)]
    scene.world.journal.append(events)

    async def answer(_):
        await asyncio.sleep(0.7)
        return 200

    scene.endpoint.answer = answer
    await scene.subscribe(retry=Retry(max_attempts=1, ack_timeout_ms=2_000))
    async with scene.delivering():
        await scene.are_posted(6)
        await scene.settled()
    assert Counter(scene.endpoint.cids()) == Counter(shown(events))
    assert scene.posts("ack") == 6
    assert not await parked(scene, 1)


async def test_batches_are_taken_apart_where_one_event_is_refused(scene):
    events = [event for at in range(5) for event in chain(f"p-{at}", 1)]
    bad = shown(events)[2]
    scene.world.journal.append(events)

    def answer(posted):
        return 400 if bad in [each["id"] for each in json.loads(posted.body)] else 200

    scene.endpoint.answer = answer
    await scene.subscribe(content_mode="batched")
    async with scene.delivering():
        await eventually(lambda: parked(scene, 1))

        async def the_rest_is_settled():
            return len(await rows(scene.world)) == 1

        await eventually(the_rest_is_settled)
    first = scene.endpoint.posted[0]
    assert first.headers["content-type"] == "application/cloudevents-batch+json"
    ((_, _, headers),) = await scene.world.received("all", "parked")
    assert headers["ce_id"].decode() == bad


async def test_what_was_sent_in_a_batch_that_was_refused_is_an_attempt_also_where_it_is_put_off_alone(scene):
    """Goes red where an event that came in the batch comes again as if for the first time."""
    scene.world.journal.append([event for at in range(3) for event in chain(f"p-{at}", 1)])

    def answer(posted):
        is_batch = len(json.loads(posted.body)) > 1
        return 400 if is_batch else web.Response(status=503, headers={"retry-after": "600"})

    scene.endpoint.answer = answer
    await scene.subscribe(content_mode="batched")

    async def all_wait():
        return [row.state for row in await rows(scene.world)] == 3 * [WAITING]

    async with scene.delivering():
        await eventually(all_wait)
    assert len(scene.endpoint.posted) == 2, "the batch, and its first event: the others wait for the endpoint"
    assert [(row.attempt, row.reason) for row in await rows(scene.world)] == 3 * [(1, circuit.ASKED_TO_WAIT)]


async def test_without_its_secret_nothing_is_sent_and_nothing_is_lost(scene, tmp_path):
    (tmp_path / "old").rename(tmp_path / "away")
    scene.world.journal.append(chain("p-1", 1))
    await scene.subscribe()

    async def waits():
        return [row.reason for row in await rows(scene.world)] == ["secret_unusable"]

    async with scene.delivering():
        await eventually(waits)
    assert not scene.endpoint.posted


async def test_a_defect_of_the_worker_is_told_and_is_no_endpoint_that_did_not_answer(scene, monkeypatch):
    """Goes red when the log alone speaks of it, and each attempt lasts until its time limit."""

    async def post(*_):
        raise ZeroDivisionError("a secret")

    monkeypatch.setattr(WebhookSender, "post", post)
    scene.world.journal.append(chain("p-1", 1))
    await scene.subscribe()
    async with scene.delivering():
        await eventually(lambda: parked(scene, 1))
    ((_, _, headers),) = await scene.world.received("all", "parked")
    assert (headers["reason"], headers["attempts"]) == (b"worker_failed", b"2")
    assert scene.posts("worker_failed") == 2


@pytest.mark.parametrize("lacks", LACKING.values(), ids=LACKING)
async def test_what_the_machine_lacks_uses_no_attempt_up_and_opens_no_circuit(scene, monkeypatch, lacks):
    """Goes red when events are parked that no endpoint was ever asked to take."""
    original, failed = WebhookSender.post, []

    async def post(*asked):
        if len(failed) < 3:
            failed.append(1)
            raise lacks()
        return await original(*asked)

    monkeypatch.setattr(WebhookSender, "post", post)
    monkeypatch.setattr("annals.workers.webhooks.poster.WORKER_FAILED_MS", 1)
    scene.world.journal.append(chain("p-1", 2))
    await scene.subscribe()
    async with scene.delivering():
        await scene.are_posted(2)
        await scene.settled()
    assert await scene.world.received("all", "parked") == []
    assert scene.posts("worker_failed") == 3


def all_wait(scene, number, reason):
    async def do():
        found = await rows(scene.world)
        return len(found) == number and all((row.state, row.reason) == (WAITING, reason) for row in found)

    return do


async def change(scene, **definition):
    scene.world.subscriptions.set("all", definition=definition)


async def test_another_endpoint_need_not_wait_for_what_the_former_asked(scene):
    """Goes red when what waits by the former's `Retry-After` waits on, and all that is for the new one with it."""
    ada = chain("p-1", 1)
    scene.world.journal.append(ada)
    scene.endpoint.answer = lambda _: web.Response(status=503, headers={"retry-after": "3600"})
    await scene.subscribe()
    async with scene.delivering(), Endpoint().serving() as other:
        await eventually(all_wait(scene, 1, "endpoint_asked_to_wait"))
        await change(scene, webhook=Webhook(other.url, ["new", "old"]))
        bob = chain("p-2", 1)
        scene.world.journal.append(bob)
        await scene.settled()
    assert sorted(other.cids()) == sorted(shown([*ada, *bob]))
    assert len(scene.endpoint.posted) == 1


async def test_what_an_endpoint_asked_for_holds_where_anything_else_is_changed(scene):
    scene.world.journal.append(chain("p-1", 1))
    scene.endpoint.answer = lambda _: web.Response(status=503, headers={"retry-after": "3600"})
    await scene.subscribe()
    async with scene.delivering():
        await eventually(all_wait(scene, 1, "endpoint_asked_to_wait"))
        await change(scene, retry=Retry(max_delay_ms=1, first_delay_ms=1))
        scene.world.journal.append(chain("p-2", 1))
        await eventually(all_wait(scene, 2, "endpoint_asked_to_wait"))
    assert len(scene.endpoint.posted) == 1


async def test_an_open_circuit_is_told_of_while_somebody_posts_to_it_and_no_longer(scene, monkeypatch):
    """Goes red when what was told last holds: an alarm goes on where nobody posts, and none comes behind a restart."""
    monkeypatch.setattr(circuit, "FIRST_MS", 3_600_000)
    monkeypatch.setattr(circuit, "LAST_MS", 3_600_000)
    scene.world.journal.append([chain(f"p-{number}", 1)[0] for number in range(30)])
    scene.endpoint.answer = lambda _: 500
    await scene.subscribe(retry=Retry(max_attempts=1_000, first_delay_ms=1, max_delay_ms=2))
    async with scene.delivering():
        await eventually(all_wait(scene, 30, "circuit_open"))
        assert await tells_of_circuit(scene, 1)()
    assert await tells_of_circuit(scene, None)()
    posted = len(scene.endpoint.posted)
    async with scene.delivering():
        await eventually(tells_of_circuit(scene, 1))
        assert len(scene.endpoint.posted) == posted, "as the rows say it"
        scene.world.subscriptions.set("all", definition={"status": "paused"})
        await eventually(tells_of_circuit(scene, None))


def tells_of_circuit(scene, value):
    async def tells():
        return scene.registry.get_sample_value("annals_webhook_circuit_open", {"subscription": "all"}) == value

    return tells


def test_a_circuit_is_told_of_until_the_last_who_posts_has_ended():
    """Goes red when the first partition that leaves takes along what the others tell."""
    registry = CollectorRegistry()
    metrics = WebhookMetrics(registry)
    is_open = [True]
    for _ in range(2):
        metrics.began("all", lambda: is_open[0])
    told = []
    for _ in range(2):
        metrics.ended("all")
        told.append(registry.get_sample_value("annals_webhook_circuit_open", {"subscription": "all"}))
    assert told == [1, None]


async def test_another_endpoint_begins_with_a_closed_circuit(scene, monkeypatch):
    """Goes red when the rows that the former's circuit kept back open that of the new one."""
    monkeypatch.setattr(circuit, "FIRST_MS", 3_600_000)
    monkeypatch.setattr(circuit, "LAST_MS", 3_600_000)
    events = [event for at in range(30) for event in chain(f"p-{at}", 1)]
    scene.world.journal.append(events)
    scene.endpoint.answer = lambda _: 500
    await scene.subscribe(retry=Retry(max_attempts=100, first_delay_ms=1, max_delay_ms=1))
    async with scene.delivering():
        await eventually(all_wait(scene, 30, "circuit_open"))
    async with Endpoint().serving() as other:
        await change(scene, webhook=Webhook(other.url, ["new", "old"]))
        async with scene.delivering():
            await scene.settled()
    assert sorted(other.cids()) == sorted(shown(events))


async def test_another_endpoint_need_not_wait_since_the_former_failed(scene):
    scene.world.journal.append(chain("p-1", 1))
    scene.endpoint.answer = lambda _: 500
    slow = Retry(max_attempts=5, first_delay_ms=86_400_000, max_delay_ms=86_400_000)
    await scene.subscribe(retry=slow)
    async with scene.delivering(), Endpoint().serving() as other:
        await eventually(all_wait(scene, 1, "http_500"))
        await change(scene, webhook=Webhook(other.url, ["new", "old"]))
        await scene.settled()
    assert [posted.headers["ce-redelivery"] for posted in other.posted] == ["2"]


async def test_another_endpoint_need_not_wait_for_an_answer_of_the_former(scene):
    async def never(_):
        await asyncio.Event().wait()

    scene.world.journal.append(chain("p-1", 1))
    scene.endpoint.answer = never
    await scene.subscribe(retry=Retry(ack_timeout_ms=86_400_000))
    async with scene.delivering(), Endpoint().serving() as other:
        await scene.are_posted(1)
        await change(scene, webhook=Webhook(other.url, ["new", "old"]))
        await scene.settled()
    assert [posted.headers["ce-redelivery"] for posted in other.posted] == ["2"]


async def test_a_shorter_policy_holds_for_what_waits_already(scene):
    """Goes red when an event waits on for as long as the policy of before let it."""
    scene.world.journal.append(chain("p-1", 1))
    scene.endpoint.answer = lambda posted: 200 if "ce-redelivery" in posted.headers else 500
    slow = Retry(max_attempts=5, first_delay_ms=86_400_000, max_delay_ms=86_400_000)
    await scene.subscribe(retry=slow)
    async with scene.delivering():
        await eventually(all_wait(scene, 1, "http_500"))
        await change(scene, retry=RETRY)
        await scene.settled()
    assert len(scene.endpoint.posted) == 2
