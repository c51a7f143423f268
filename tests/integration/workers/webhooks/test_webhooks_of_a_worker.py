"""Webhooks of a worker: posted to a server that answers badly, through two kills of the process that reads."""

from __future__ import annotations

import asyncio
import random
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from annals.agents.publishing.webhooks.signatures import parse_secret, signature_headers
from endpoints import Endpoint, Posted
from grouped import Group, group
from processes import free_port
from renamed_people import PEOPLE, RENAMES, send_renames

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.broker

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
EVENTS = PEOPLE * (RENAMES + 1)


@pytest.fixture
def crew(bootstrap: str, topic_prefix: str, tmp_path: Path) -> Iterator[Group]:
    with group(bootstrap, topic_prefix, tmp_path, partitions=2) as made:
        yield made


class Receiver:
    """Takes events in a thread of its own; knows only what came and what it said."""

    def __init__(self) -> None:
        self.endpoint = Endpoint()
        self.endpoint.answer = self.answer
        self.chance = random.Random(7)
        self.versions: dict[str, int] = {}
        self.said: dict[str, list[int]] = {}
        self.wrong: list[str] = []
        self.is_well = False

    def answer(self, posted: Posted) -> Any:
        headers = posted.headers
        keys = [parse_secret(SECRET)]
        signed = signature_headers(posted.cid, int(headers["webhook-timestamp"]), posted.body, keys)
        if signed["webhook-signature"] != headers["webhook-signature"] or posted.cid != headers["ce-id"]:
            self.wrong.append(f"signature of {posted.cid}")
        subject, version = headers["ce-subject"], int(headers["ce-sequence"])
        expected = self.versions.get(subject, 0)
        if version == expected + 1:
            self.versions[subject] = version
        elif version != expected:
            self.wrong.append(f"{subject}: version {version} after {expected}")
        status = 204 if self.is_well else self.chance.choices([200, 500, 302], [8, 1, 1])[0]
        self.said.setdefault(posted.cid, []).append(status)
        return status

    def taken(self) -> int:
        return sum(any(status < 300 for status in said) for said in list(self.said.values()))


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made, is_ready, ends = Receiver(), threading.Event(), threading.Event()

    async def serve() -> None:
        async with made.endpoint.serving():
            is_ready.set()
            await asyncio.to_thread(ends.wait)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    assert is_ready.wait(30)
    yield made
    ends.set()
    thread.join(30)


def test_every_event_is_taken_in_order_through_kills(crew: Group, receiver: Receiver, tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    folder.mkdir()
    (folder / "billing").write_text(SECRET)
    worker = crew.worker(
        "one",
        {},
        ROLES="write,read",
        API_PORT=str(free_port()),
        WEBHOOK_SECRETS_DIR=str(folder),
        WEBHOOK_ALLOW="127.0.0.0/8",
    ).until_ready()
    asked: dict[str, Any] = {
        "kinds": ["person"],
        "start": "beginning",
        "delivery": "webhook",
        "webhook": {"url": receiver.endpoint.url, "secrets": ["billing"]},
        "retry": {"max_attempts": 50, "first_delay_ms": 20, "max_delay_ms": 200, "ack_timeout_ms": 1_500},
    }
    for member, webhook in {
        "webhook.url": {"url": "http://10.0.0.1/", "secrets": ["billing"]},
        "webhook.secrets[0]": {"url": receiver.endpoint.url, "secrets": ["unknown"]},
    }.items():
        status, problem = worker.asked("PUT", "/v1/subscriptions/hook", {**asked, "webhook": webhook})
        assert (status, problem["code"]) == (422, "invalid_subscription")
        assert [error["path"] for error in problem["errors"]] == [member]
    made = worker.subscribe("hook", **asked)
    assert made["webhook"] == asked["webhook"], made

    send_renames(crew)
    for share in (4, 2):
        worker.until(lambda share=share: receiver.taken() > EVENTS // share, "some are taken")
        worker.kill_reader()
    worker.until(lambda: receiver.taken() == EVENTS, "all are taken")
    receiver.is_well = True
    worker.until(lambda: worker.health() == [], "it reads again")

    def deliveries() -> dict[str, int]:
        shown: dict[str, int] = worker.call("GET", "/v1/subscriptions/hook")[1].get("deliveries", {})
        return shown

    worker.until(lambda: deliveries() == {"unsettled": 0, "in_flight": 0, "parked": 0}, "all is settled")
    assert receiver.wrong == []
    assert set(receiver.versions.values()) == {RENAMES + 1}
    doubled = Counter(sum(status < 300 for status in said) - 1 for said in receiver.said.values())
    assert sum(times * number for times, number in doubled.items()) <= 2 * PEOPLE, "those in flight at a kill alone"

    receiver.endpoint.answer = lambda _: 410
    renaming = {"kind": "person", "id": "410", "type": "RenamePerson", "aggregate_id": "p-0", "data": {"name": "Ada"}}
    assert worker.asked("POST", "/v1/commands", renaming)[0] == 202

    def reason() -> str:
        shown = worker.call("GET", "/v1/subscriptions/hook")[1]
        return str(shown.get("reason")) if shown.get("status") == "paused" else ""

    assert "410" in worker.until(reason, "it is paused")
    assert SECRET not in worker.log.read_text()
    assert worker.end() == 0
