"""What a request about one subscription has the brokers say does not grow with how many others there are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from aiokafka.admin import NewTopic
from aiokafka.conn import AIOKafkaConnection
from aiokafka.protocol.metadata import MetadataRequest

from annals.agents.publishing.delivering.choosing import FIRST, Choice
from annals.topics.names import TopicNames
from annals.workers.kafka.admin.cluster import administration
from annals.workers.kafka.admin.provisioning import create
from annals.workers.publishing.parked import ParkedService
from annals.workers.publishing.service import SubscriptionService
from annals.workers.registry import deciders
from annals.workers.settings import Settings, client_options

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

pytestmark = pytest.mark.broker

OTHERS = 60
STREAM, ANSWERING = {"kinds": ["person"]}, {"kinds": ["person"], "delivery": "acknowledged"}


async def test_no_request_asks_about_the_topics_of_others(
    bootstrap: str, topic_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goes red when one asks about all topics: with 1,000 subscriptions that was most of what it cost."""
    told: list[set[str]] = []
    send = AIOKafkaConnection.send

    async def answered(asked: Awaitable[Any]) -> Any:
        answer = await asked
        told.append({topic[1] for topic in answer.topics})
        return answer

    def sent(self: AIOKafkaConnection, request: Any, expect_response: bool = True) -> Any:  # noqa: FBT001, FBT002
        asked = send(self, request, expect_response)
        return answered(asked) if isinstance(request, MetadataRequest) else asked

    monkeypatch.setattr(AIOKafkaConnection, "send", sent)
    settings = Settings(bootstrap_servers=bootstrap, topic_prefix=topic_prefix, partitions=1)
    names, options = TopicNames(topic_prefix), client_options(settings)
    await create(settings)
    others = {names.subscribers(f"other-{number}") for number in range(OTHERS)}
    async with administration(settings) as admin:
        await admin.create_topics([NewTopic(topic, 1, 1) for topic in others])
    service = SubscriptionService(settings, options, deciders())
    parked = ParkedService(settings, options, deciders())
    requests: dict[str, Callable[[], Awaitable[Any]]] = {
        "put a stream": lambda: service.put("audit", STREAM),
        "put one that answers": lambda: service.put("billing", ANSWERING),
        "put again": lambda: service.put("audit", STREAM | {"types": ["PersonRegistered"]}, "*"),
        "get a stream": lambda: service.get("audit"),
        "get one that answers": lambda: service.get("billing"),
        "a page": lambda: service.page(limit=1),
        "its parked events": lambda: parked.page("billing", Choice(), FIRST, 10),
        "replay": lambda: parked.replay("billing", Choice(), None, "somebody"),
        "pause": lambda: service.pause("billing"),
        "resume": lambda: service.resume("billing"),
        "delete": lambda: service.delete("audit"),
    }
    for what, ask in requests.items():
        told.clear()
        await ask()
        assert told, what
        assert not set.union(*told) & others, what
