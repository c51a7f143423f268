"""Pausing subscriptions that cannot go on: once for all partitions, and each for itself."""

from __future__ import annotations

import asyncio

from structlog.testing import capture_logs

from annals.agents.publishing.administration import Refused
from annals.agents.publishing.ports import Kept
from annals.schemas.subscription import Definition, Record, Webhook
from annals.topics.names import TopicNames
from annals.workers.publishing.service import SubscriptionService
from annals.workers.publishing.wiring import PausingSubscriptions
from following import until


class Service(SubscriptionService):
    """Pauses what is known to `followed`; one of its own is refused for ever."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.followed: Followed | None = None

    async def pause(self, name: str, reason: str | None = None, endpoint: str | None = None, offset: int | None = None):
        self.asked.append(name)
        await asyncio.sleep(0)
        if name == "refused":
            raise Refused(503, "not_ready", "not now")
        self.followed.put(name, "paused")


class Followed(PausingSubscriptions):
    """Those that a topic would have."""

    def __init__(self, service: Service, *names: str) -> None:
        super().__init__({}, TopicNames(""), service)
        self.known: dict[str, Kept] = {}
        self.changed = asyncio.Event()
        for name in names:
            self.put(name, "active")

    def put(self, name: str, status: str, url: str = "https://a.example") -> None:
        definition = Definition(name, status=status, webhook=Webhook(url, ["key"]))
        self.known = {**self.known, name: Kept(Record(definition, 1, {}), len(self.known))}
        self.changed.set()

    def all(self):
        return self.known

    async def until_changed(self, known) -> None:
        while self.known is known:
            self.changed.clear()
            await self.changed.wait()


def followed(*names: str) -> tuple[Followed, Service]:
    service = Service()
    service.followed = Followed(service, *names)
    return service.followed, service


async def test_of_all_partitions_that_find_out_at_once_one_pauses():
    subscriptions, service = followed("bad")
    await asyncio.wait_for(asyncio.gather(*(subscriptions.pause("bad", "it fails") for _ in range(5))), 30)
    assert service.asked == ["bad"]


async def test_one_that_cannot_be_paused_now_holds_up_no_other():
    subscriptions, service = followed("refused", "bad")
    tries = asyncio.create_task(subscriptions.pause("refused", "it fails"))
    try:
        await asyncio.wait_for(subscriptions.pause("bad", "it fails"), 30)
        assert (service.asked[0], service.asked.count("bad")) == ("refused", 1)
        assert not tries.done()
    finally:
        tries.cancel()
        await asyncio.gather(tries, return_exceptions=True)


async def test_an_endpoint_that_is_gone_pauses_no_subscription_that_has_another_by_now(monkeypatch):
    """Goes red when pausing is tried on after the URL was changed: the new endpoint is paused for the former one."""
    monkeypatch.setattr("annals.workers.publishing.wiring.FIRST_RETRY_S", 0.01)
    subscriptions, service = followed("refused", "good", "bad")
    tries = asyncio.create_task(subscriptions.pause_endpoint("refused", "it is gone", "https://a.example"))
    await until(lambda: len(service.asked) > 1)
    subscriptions.put("refused", "active", "https://b.example")
    await asyncio.wait_for(tries, 30)
    service.asked.clear()
    await asyncio.wait_for(subscriptions.pause_endpoint("good", "it is gone", "https://z.example"), 30)
    await asyncio.wait_for(subscriptions.pause_endpoint("bad", "it is gone", "https://a.example"), 30)
    assert service.asked == ["bad"]


async def test_one_that_was_changed_since_it_was_found_to_fail_is_left_as_it_is(monkeypatch):
    """Goes red when the record that mends a subscription is paused for what the one before it could not do."""
    monkeypatch.setattr("annals.workers.publishing.wiring.FIRST_RETRY_S", 0.01)
    monkeypatch.setattr("annals.workers.publishing.wiring.QUIET_S", 0.01)
    subscriptions, service = followed("refused", "mended", "bad")
    offsets = {name: kept.offset for name, kept in subscriptions.all().items()}
    tries = asyncio.create_task(subscriptions.pause("refused", "it fails", "person-0", offsets["refused"]))
    await until(lambda: len(service.asked) > 1)
    for name in ("refused", "mended"):
        subscriptions.put(name, "active")
    await asyncio.wait_for(tries, 30)
    service.asked.clear()
    await asyncio.wait_for(subscriptions.pause("mended", "it fails", "person-0", offsets["mended"]), 30)
    await asyncio.wait_for(subscriptions.pause("bad", "it fails", "person-0", offsets["bad"]), 30)
    assert service.asked == ["bad"]


async def test_what_all_partitions_find_is_logged_once_and_counted(monkeypatch):
    monkeypatch.setattr("annals.workers.publishing.wiring.QUIET_S", 0.01)
    subscriptions, _ = followed("bad")

    async def found_by(*partitions: str) -> list[tuple[str, int]]:
        with capture_logs() as logs:
            pauses = (subscriptions.pause("bad", "it fails", partition) for partition in partitions)
            await asyncio.wait_for(asyncio.gather(*pauses), 30)
        return [(each["log_level"], each["partitions"]) for each in logs]

    assert await found_by(*(f"person-{number}" for number in range(5))) == [("error", 5)]
    assert await found_by("person-0", "person-6") == [], "it is paused, and was logged"
    subscriptions.put("other", "active")
    subscriptions.put("bad", "active")
    assert await found_by("person-0") == [("error", 1)], "resumed, and still bad"


async def test_one_that_is_paused_when_a_process_begins_is_logged_once(monkeypatch):
    monkeypatch.setattr("annals.workers.publishing.wiring.QUIET_S", 0.01)
    subscriptions, service = followed()
    subscriptions.put("bad", "paused")
    with capture_logs() as logs:
        await asyncio.gather(*(subscriptions.pause("bad", "it fails", f"person-{number}") for number in range(4)))
    assert [(each["event"], each["partitions"]) for each in logs] == [("subscription cannot go on and is paused", 4)]
    assert service.asked == []
