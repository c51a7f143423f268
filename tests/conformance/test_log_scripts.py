"""The log in memory is held to Kafka: random scripts give the same codes, offsets and visibility on both."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.structs import TopicPartition
from log_scripts import HOUR_MS, LIMIT, PARTITIONS, Site, Step, carry_out, script, seen

from annals.workers.kafka.connections import connect
from annals.workers.kafka.protocol.transactions_v2 import FEATURE
from annals.workers.memory.client import Cluster
from annals.workers.memory.cluster import MemoryCluster, Topic
from annals.workers.memory.partition import FOREVER, Rules
from annals.workers.tools.broker import Broker
from chained import make_topics

WITHIN_S = 30
SEEDS = range(20)
SHORT_MS = 1_000
CONFIG = {
    "max.message.bytes": str(LIMIT),
    "retention.ms": "-1",
    "message.timestamp.after.max.ms": str(HOUR_MS),
    "message.timestamp.before.max.ms": str(FOREVER),
}
QUICK_CLEANUP = {"transaction.abort.timed.out.transaction.cleanup.interval.ms": "100"}


class BrokerSite(Site):
    """A broker."""

    admin: AIOKafkaAdminClient

    async def delete_records(self, partition: int, before: int) -> int:
        where = TopicPartition(self.topic, partition)
        await self.admin.delete_records({where: RecordsToDelete(before_offset=before)})
        return 0


class MemorySite(Site):
    """The log in memory."""

    model: MemoryCluster

    async def delete_records(self, partition: int, before: int) -> int:
        return self.model.delete_records((self.topic, partition), before)


@pytest.fixture(scope="module", params=[1, 2], ids=["version 1", "version 2"])
def level(request: pytest.FixtureRequest) -> int:
    """Of the transactions."""
    return int(request.param)


@pytest.fixture(scope="module")
def cluster(level: int, tmp_path_factory: pytest.TempPathFactory, cache_dir: Path | None) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("scripts")
    with Broker(folder, cache_dir=cache_dir, features={FEATURE: level}, properties=QUICK_CLEANUP) as broker:
        yield broker.bootstrap


def in_memory(level: int, topic: str, now: Callable[[], float] = time.time) -> MemorySite:
    rules = Rules(LIMIT, after_max_ms=HOUR_MS)
    model = MemoryCluster({topic: Topic(PARTITIONS, rules)}, transaction_version=level, now=now)
    site = MemorySite(Cluster(model).client(), topic, f"{topic}-group", level == 2)
    site.model = model
    return site


@asynccontextmanager
async def on_broker(cluster: str, level: int, topic: str) -> AsyncIterator[BrokerSite]:
    await make_topics(cluster, [topic], PARTITIONS, CONFIG)
    client = await connect({"bootstrap_servers": cluster}, [topic])
    admin = AIOKafkaAdminClient(bootstrap_servers=cluster)
    await admin.start()
    try:
        site = BrokerSite(client, topic, f"{topic}-group", level == 2)
        site.admin = admin
        yield site
    finally:
        await admin.close()
        await client.close()


async def settled(site: Site, wanted: dict[str, Any]) -> dict[str, Any]:
    """What is seen once the markers are written, which a broker does after its answer."""
    deadline = asyncio.get_running_loop().time() + WITHIN_S
    while (found := await seen(site)) != wanted and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110 - only the broker knows
        await asyncio.sleep(0.01)
    return found


async def compare(cluster: str, level: int, steps: list[Step]) -> None:
    topic = f"t{secrets.token_hex(4)}"
    model = in_memory(level, topic)
    async with on_broker(cluster, level, topic) as broker:
        for number, step in enumerate(steps):
            told, wanted = await carry_out(broker, step), await carry_out(model, step)
            assert told == wanted, (
                f"step {number}, {step}: the broker says {told}, the model {wanted}\n{steps[:number]}"
            )
            if step.what in {"commit", "abort", "late_end", "init", "delete"} or number == len(steps) - 1:
                there = await seen(model)
                assert await settled(broker, there) == there, f"behind step {number}, {step}\n{steps[:number]}"


@pytest.mark.broker
@pytest.mark.parametrize("seed", SEEDS)
async def test_a_random_script_gives_the_same_on_both(cluster: str, level: int, seed: int) -> None:
    await compare(cluster, level, script(seed))


@pytest.mark.broker
async def test_a_transaction_that_takes_too_long_is_aborted_and_its_writer_refused(cluster: str, level: int) -> None:
    topic, passed_s = f"t{secrets.token_hex(4)}", 0.0
    model = in_memory(level, topic, lambda: time.time() + passed_s)
    steps = [Step(what, 0, 0, 1) for what in ("init", "add", "produce")]
    async with on_broker(cluster, level, topic) as broker:
        broker.timeout_ms = model.timeout_ms = SHORT_MS
        for step in steps:
            assert (
                await carry_out(broker, step)
                == await carry_out(model, step)
                == (0, -1 if step.what != "produce" else 0)
            )
        passed_s = SHORT_MS / 1000
        model.model.abort_timed_out()
        there = await seen(model)
        assert there["partition 0"] == (0, 2, 2, [])
        assert await settled(broker, there) == there
        for what in ("commit", "produce", "offset", "add", "init", "produce"):
            step = Step(what, 0, 0, 1)
            assert await carry_out(broker, step) == await carry_out(model, step), step
