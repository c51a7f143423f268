"""What it takes to take over a subscription that has many unsettled rows."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from contextlib import asynccontextmanager
from time import perf_counter, thread_time
from typing import TYPE_CHECKING, Final, NamedTuple

from annals.agents.publishing.delivering.loading import take_up
from annals.agents.publishing.delivering.machine import Deliveries
from annals.agents.publishing.delivering.ports import DeliveryWrites
from annals.schemas.cid import cid_of, cid_text
from annals.schemas.delivery import PARKED, WAITING, Row, row_key
from annals.schemas.subscription import Retry
from annals.workers.publishing.delivery_log import KafkaDeliveryLogs
from annals.workers.settings import client_options
from annals.workers.tools.bench.ground import KIND
from annals.workers.tools.bench.programs import BenchError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from annals.workers.publishing.delivery_log import KafkaDeliveryLog
    from annals.workers.tools.bench.ground import Site

WRITTEN: Final = 1_000  # rows of one transaction
NOW_MS: Final = 1_790_000_000_000
IN_FLIGHT: Final = 1_000
TICK_S: Final = 0.001
MS: Final = 1_000


class TakenOver(NamedTuple):
    """How long it took, the longest time for which nothing else could run meanwhile, and what each row holds."""

    seconds: float
    held_ms: float
    row_bytes: float


async def taken_over(site: Site, name: str, state: str, rows: int) -> TakenOver:
    """Write rows of a state for a subscription that is there and take them over, twice: what counts memory is slow."""
    logs = KafkaDeliveryLogs(
        client_options(site.settings), site.names, site.settings.app_id, KIND, 0, site.partitions, "none"
    )
    await _write(logs.delivering(name), state, rows)
    pieces: list[float] = []
    async with _ticking(pieces):
        began = perf_counter()
        await _open(logs.delivering(name), rows)
        seconds = perf_counter() - began
    gc.collect()
    tracemalloc.start()
    try:
        held = await _open(logs.delivering(name), rows)
        gc.collect()
        row_bytes = tracemalloc.get_traced_memory()[0] / rows
    finally:
        tracemalloc.stop()
    del held
    return TakenOver(seconds, MS * max(pieces), row_bytes)


async def _write(log: KafkaDeliveryLog, state: str, rows: int) -> None:
    try:
        await log.fence()
        progress = await log.own_progress()
        if progress is None:
            raise BenchError("the subscription has no progress")
        for begin in range(0, rows, WRITTEN):
            some = [_row(number, state) for number in range(begin, min(begin + WRITTEN, rows))]
            await log.deliver(DeliveryWrites({row_key(row): row for row in some}, progress, 0))
    finally:
        await log.close()


def _row(number: int, state: str) -> Row:
    aggregate_id = f"bench-{number:09d}"
    return Row(
        KIND,
        aggregate_id,
        1,
        cid_text(cid_of(aggregate_id.encode())),
        "PersonRegistered",
        number,
        ordered=True,
        state=PARKED if state == PARKED else WAITING,
        attempt=1,
        tries=1,
        due=0 if state == PARKED else NOW_MS + number,
        at=NOW_MS,
        reason="http_500",
    )


async def _open(log: KafkaDeliveryLog, rows: int) -> Deliveries:
    """Do what a delivery shard does before its first step."""
    try:
        await log.fence()
        progress = await log.own_progress()
        retry = Retry()
        machine = Deliveries(KIND, (), retry, IN_FLIGHT)
        unsettled = await log.unsettled(1 if progress is None else progress.incarnation)
        await take_up(machine, unsettled, retry, NOW_MS)
    finally:
        await log.close()
    if len(machine) != rows:
        raise BenchError(f"of {rows} rows {len(machine)} were taken over")
    return machine


@asynccontextmanager
async def _ticking(pieces: list[float]) -> AsyncIterator[None]:
    """Note for how long the event loop's thread computed between two looks at the clock, whatever else the cores do."""

    async def tick() -> None:
        while True:
            before = thread_time()
            await asyncio.sleep(TICK_S)
            pieces.append(thread_time() - before)

    task = asyncio.create_task(tick())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
