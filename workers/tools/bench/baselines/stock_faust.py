"""A stock Faust agent that only counts: no state, no events, no transactions.

    python -m annals.workers.tools.bench.baselines.stock_faust SETTINGS

SETTINGS is JSON: `{"bootstrap_servers": …, "source": …, "group": …, "total": n}`.

Prints `{"count": …, "seconds": …, "cpu_s": …}`: after the first event, up to the last of `total`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from time import perf_counter, process_time
from typing import Any

import faust


class Counter:
    """Counts events, and what they took after the first one."""

    def __init__(self, total: int) -> None:
        """Take how many there are to count."""
        self._total = total
        self._count = 0
        self._began = self._cpu = 0.0
        self.result: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()

    async def count(self, stream: Any) -> None:
        """Count each event: the agent."""
        async for _ in stream:
            self._count += 1
            if self._count == 1:
                self._began, self._cpu = perf_counter(), process_time()
            elif self._count == self._total:
                seconds, cpu = perf_counter() - self._began, process_time() - self._cpu
                self.result.set_result({"count": self._count - 1, "seconds": seconds, "cpu_s": cpu})


async def run(plan: dict[str, Any]) -> None:
    """Count as planned."""
    logging.disable(logging.WARNING)  # aiokafka's loggers are at DEBUG under Faust: 15 % of its time
    counter = Counter(plan["total"])
    app = faust.App(
        plan["group"],
        broker=";".join(f"kafka://{server}" for server in plan["bootstrap_servers"].split(",")),
        store="memory://",
        consumer_auto_offset_reset="earliest",
        topic_disable_leader=True,
        topic_allow_declare=False,
        web_enabled=False,
    )
    topic = app.topic(plan["source"], key_serializer="raw", value_serializer="raw", internal=False)
    app.agent(topic, name="count")(counter.count)
    await app.start()
    try:
        print(json.dumps(await counter.result), flush=True)  # noqa: T201 - this is how it answers
    finally:
        await app.stop()


if __name__ == "__main__":
    asyncio.run(run(json.loads(sys.argv[1])))
