"""What rebalances open they close: 64 partitions, 20 rebalances, as many sockets, threads and handles as before."""

import asyncio
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer
from chaos_commands import persons
from chaos_scenario import Scenario, assert_clean
from chaos_workers import SESSION_MS, Worker, eventually, open_handles

from annals.workers.kafka.group.assignor import BalancedAssignor
from annals.workers.tools.broker import Broker

pytestmark = [pytest.mark.broker, pytest.mark.chaos, pytest.mark.slow]

PARTITIONS = 64
REBALANCES = 20
SOCKETS = 2 * PARTITIONS + 4  # two of each shard's writer, two of the group's consumer, the watch's, the web server's


def shards(worker: Worker) -> float:
    return worker.metric("annals_shard_connections")


async def come_and_go(scenario: Scenario, worker: Worker) -> None:
    """Join the group as a member that takes half of the partitions, and leave it."""
    guest = AIOKafkaConsumer(
        bootstrap_servers=scenario.bootstrap,
        group_id=f"{scenario.prefix}annals",
        enable_auto_commit=False,
        partition_assignment_strategy=[BalancedAssignor.of_one_consumer()],
        session_timeout_ms=SESSION_MS,
        heartbeat_interval_ms=SESSION_MS // 4,
    )
    guest.subscribe([f"{scenario.prefix}commands.person"])
    await guest.start()
    try:
        await asyncio.to_thread(
            eventually, lambda: shards(worker) == PARTITIONS / 2, "half of the shards are closed", told=worker.told
        )
    finally:
        await guest.stop()
    await asyncio.to_thread(
        eventually, lambda: shards(worker) == PARTITIONS, "all shards are here again", told=worker.told
    )


async def test_rebalances_leave_no_socket_no_thread_and_no_handle_behind(chaos_broker: Broker, tmp_path: Path) -> None:
    with Scenario(chaos_broker.bootstrap, f"h{tmp_path.name[-6:]}.", tmp_path, kinds=("person",)) as scenario:
        worker = scenario.make_topics(PARTITIONS).start().until_ready()
        # the first rebalance opens what stays: connections to the group's coordinator, RocksDB's own threads
        scenario.send(persons(200, 1))
        assert_clean(scenario.until_answered())
        await come_and_go(scenario, worker)
        worker.until_ready()
        eventually(
            lambda: open_handles(worker)["sockets"] == SOCKETS,
            f"{SOCKETS} sockets",
            told=lambda: f"now {open_handles(worker)}\n{worker.told()}",
        )
        before = open_handles(worker)
        for _ in range(REBALANCES // 2):
            await come_and_go(scenario, worker)
        worker.until_ready()
        eventually(
            lambda: _are_at_most(open_handles(worker), before),
            f"as many as before, {before}",
            told=lambda: f"now {open_handles(worker)}\n{worker.told()}",
        )
        scenario.send(persons(200, 1, "q"))
        assert_clean(scenario.until_answered())


def _are_at_most(now: dict[str, int], before: dict[str, int]) -> bool:
    return all(now[name] <= before[name] for name in before)
