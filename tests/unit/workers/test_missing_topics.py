"""Which missing topics keep a worker from starting: all that commands need, and not that of the schemas."""

import pytest

from annals.workers import worker as module
from annals.workers.kafka.admin.findings import Report, missing_topics
from annals.workers.process import CannotStartError
from annals.workers.settings import Settings
from annals.workers.worker import Worker

COUNTS = {"person": 4}


def missing(monkeypatch: pytest.MonkeyPatch, *topics: str) -> Worker:
    async def check(_: Settings) -> Report:
        needed = [topic for topic in topics if topic != "x.schemas"]
        return Report(missing=list(topics), needed=needed, partitions=COUNTS, dead_letter_partitions=1)

    monkeypatch.setattr(module, "check", check)
    return Worker(Settings(topic_prefix="x."))


async def test_a_worker_starts_without_the_topic_of_schemas(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await missing(monkeypatch, "x.schemas")._prepared(0.1) == (COUNTS, 1)


async def test_a_worker_names_the_missing_topics_that_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CannotStartError, match=r"^missing topics: x\.events\.person\. .*annals topics create"):
        await missing(monkeypatch, "x.events.person", "x.schemas")._prepared(0.1)


async def test_many_missing_topics_are_told_by_number_and_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    """Goes red when thirty names hide that it is the prefix that is wrong."""
    names = [f"x.events.{number}" for number in range(30)]
    with pytest.raises(
        CannotStartError,
        match=r"^missing topics: 30 with the prefix 'x\.': x\.events\.0, x\.events\.1, x\.events\.2 …\. ",
    ):
        await missing(monkeypatch, *names)._prepared(0.1)


def test_without_a_prefix_the_setting_is_named() -> None:
    assert missing_topics(["a", "b", "c", "d"], "") == (
        "missing topics: 4 without a prefix (ANNALS_TOPIC_PREFIX): a, b, c …"
    )
