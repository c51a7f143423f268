"""A cluster that soon forgets transactional ids which are not used: that is no other deployment."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from annals.topics.names import TopicNames, transactional_id
from annals.workers.kafka.write.brokers import Brokers
from annals.workers.kafka.write.transactional_ids import producer_of
from annals.workers.tools.broker import Broker
from grouped import group

pytestmark = pytest.mark.broker

FORGETFUL = {
    "transactional.id.expiration.ms": "1000",
    "transaction.remove.expired.transaction.cleanup.interval.ms": "500",
}


@pytest.fixture(scope="module")
def forgetful(tmp_path_factory: pytest.TempPathFactory, cache_dir: Path | None) -> Iterator[str]:
    with Broker(tmp_path_factory.mktemp("forgetful"), cache_dir=cache_dir, properties=FORGETFUL) as broker:
        yield broker.bootstrap


async def until_forgotten(bootstrap: str, name: str) -> None:
    brokers = Brokers({"bootstrap_servers": bootstrap}, [])
    try:
        async with asyncio.timeout(60):
            while await producer_of(brokers, name) is not None:  # noqa: ASYNC110 - only the broker knows
                await asyncio.sleep(0)
    finally:
        await brokers.close()


def test_a_shard_goes_on_whose_transactional_id_was_forgotten_twice_within_a_minute(
    forgetful: str, tmp_path: Path
) -> None:
    with group(forgetful, "", tmp_path, 1) as crew:
        worker = crew.worker("one").until_ready()
        journal = transactional_id(TopicNames("").events("person"), 0)
        for _ in range(3):
            assert set(crew.answers()) == {"accepted"}
            asyncio.run(until_forgotten(forgetful, journal))
        assert set(crew.answers()) == {"accepted"}
        worker.until_ready()
        assert "annals_fenced_total" not in fences(worker.metrics())


def fences(metrics: str) -> list[str]:
    """The names of the counters of fences that are not 0."""
    lines = [line for line in metrics.splitlines() if line.startswith("annals_fenced_total")]
    return [line.partition("{")[0] for line in lines if not line.endswith(" 0.0")]
