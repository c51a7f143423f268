"""The topics of subscribers that are looked at while events are published: what is missing, and what is unseen."""

from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest

from annals.schemas.subscription import Definition
from annals.workers.publishing import subscriber_topics
from annals.workers.publishing.subscriber_topics import check_subscribers
from annals.workers.settings import Settings

NOT_PERMITTED, UNKNOWN = 29, 3


class Brokers:
    """Of these topics only some are shown; of the others they say why, where they are asked for by name."""

    def __init__(self, shown, unseen=(), counts=None):
        self.shown, self.unseen, self.counts = shown, unseen, counts or {}
        self._client = self

    async def describe_topics(self):
        def parts(name):
            return [
                {"partition": at, "leader": 1, "replicas": [1], "isr": [1]} for at in range(self.counts.get(name, 1))
            ]

        return [{"topic": name, "error_code": 0, "partitions": parts(name)} for name in self.shown]

    async def describe_configs(self, resources):
        return []

    def get_random_node(self):
        return 1

    async def send(self, node, request):
        codes = [(NOT_PERMITTED if name in self.unseen else UNKNOWN, name) for name in request._topics]
        return SimpleNamespace(topics=codes)


@pytest.mark.parametrize(
    ("unseen", "missing"), [({"subscribers.all"}, []), (set(), ["subscribers.all"])], ids=["unseen", "deleted"]
)
async def test_a_topic_that_the_user_may_not_see_is_none_that_was_deleted(monkeypatch, unseen, missing):
    """Goes red where a worker is not ready, and says to put again what is there, for a right that it does not need."""
    others = {"acks.all", "parked.all", "deliveries.all"}

    @asynccontextmanager
    async def administration(_):
        yield Brokers(others, unseen)

    monkeypatch.setattr(subscriber_topics, "administration", administration)
    report = await check_subscribers(Settings(), [(Definition("all", delivery="webhook"), 1)])
    assert [each.topic for each in report.refusals] == missing


async def test_partitions_that_are_added_to_what_is_read_are_named_and_to_answers_are_a_reason(monkeypatch):
    """Goes red when nobody says that a subscriber's topic has partitions in which there is never anything."""
    counts = {f"{role}.all": 8 for role in ("subscribers", "acks", "parked", "deliveries")}

    @asynccontextmanager
    async def administration(_):
        yield Brokers(counts, counts=counts)

    monkeypatch.setattr(subscriber_topics, "administration", administration)
    report = await check_subscribers(Settings(), [(Definition("all", delivery="webhook"), 2)])
    assert [(each.topic, each.found, each.wanted) for each in report.warnings] == [("subscribers.all", "8", "2")]
    assert [(each.topic, each.found, each.wanted) for each in report.refusals] == [("acks.all", "8", "2")]
