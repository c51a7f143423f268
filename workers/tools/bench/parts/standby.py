"""How long a partition waits for its standby, with a long journal behind it."""

from __future__ import annotations

import asyncio
from datetime import datetime
from time import perf_counter
from typing import TYPE_CHECKING, Final

from annals.workers.clock import SystemClock
from annals.workers.tools.bench.figures import Figure, Part, Runs
from annals.workers.tools.bench.ground import KIND
from annals.workers.tools.bench.load import Pacer, aggregate_ids, histories, preload
from annals.workers.tools.bench.parts.takeover import BEFORE_S, LONGEST_S, RATE, SEEN_S, until_answered, until_shared
from annals.workers.tools.bench.programs import BenchError, worker
from annals.workers.tools.bench.watching import event_command, tailing

if TYPE_CHECKING:
    from annals.workers.tools.bench.ground import Ground, Site
    from annals.workers.tools.bench.plan import Plan
    from annals.workers.tools.bench.programs import Worker

MOST_S: Final = 2.0
WARM_S: Final = 1_800.0
LOOK_S: Final = 0.5

METHOD: Final = """\
Two workers with `ANNALS_STANDBY_REPLICAS=1` share 4 partitions of each kind, and decide {events:,} commands to
{aggregates:,} aggregates, without restore points. When each has folded what the other decided, commands come at
{rate}/s, and one of the two is killed with SIGKILL. Seconds: from the other one's log line `shards assigned` until,
in the last partition that it took over, the event of a command that was sent after the kill can be read. Offsets:
that it had to fold before, in the partition with the most. Every command that was sent has its event in the end.
"""


async def measure_standby(ground: Ground, plan: Plan) -> Part:
    """Kill a worker that has a standby, as many times as planned."""
    runs = Runs()
    for number in range(plan.runs):
        ground.say(f"standby, run {number + 1} of {plan.runs}")
        async with ground.site() as site:
            seconds, offsets = await _takeover(site, plan)
        runs.add(seconds=seconds, offsets=offsets)
    return Part(
        name="standby",
        title="Takeover by a standby",
        method=METHOD.format(events=plan.backlog_commands, aggregates=plan.drain_aggregates, rate=RATE),
        figures=[
            Figure(name="assignment to the next answer", unit="s", values=runs.values["seconds"], most=MOST_S),
            Figure(name="offsets folded at the takeover", unit="", values=runs.values["offsets"]),
        ],
    )


async def _takeover(site: Site, plan: Plan) -> tuple[float, float]:
    ids = aggregate_ids(plan.drain_aggregates)
    options = ("--standby-replicas", "1", "--restore-point-events", "0")
    async with worker(site, *options, data="one") as survivor, worker(site, *options, data="two") as victim:
        await until_shared(site, [survivor, victim])
        await preload(site, histories(ids, plan.backlog_commands))
        await _until_warm(site, plan.backlog_commands, [survivor, victim])
        lost = victim.partitions(KIND)
        before = len(survivor.logged("shards assigned"))
        async with tailing(site, site.names.events(KIND), event_command) as tail:
            pacer = Pacer(site, RATE)
            sending = asyncio.create_task(pacer.run(ids, LONGEST_S))
            await asyncio.sleep(BEFORE_S)
            victim.kill()
            try:
                answered = await until_answered(tail, pacer, lost, perf_counter())
            finally:
                pacer.stop()
                await sending
            ago = perf_counter() - answered
            at = SystemClock().now().timestamp() - ago
            await tail.until_seen(pacer.sent_at, SEEN_S)
        assigned = survivor.logged("shards assigned")[before]["timestamp"]
        folded = [
            entry["folded"]
            for entry in survivor.logged("shard open")
            if entry["kind"] == KIND and entry["partition"] in lost
        ]
    return at - datetime.fromisoformat(assigned).timestamp(), float(max(folded))


async def _until_warm(site: Site, events: int, workers: list[Worker]) -> None:
    """Wait until all is decided, and each partition's standby has folded it.

    Raises:
        BenchError: it took too long.
    """
    try:
        async with asyncio.timeout(WARM_S):
            while True:
                samples = [await process.metrics() for process in workers]
                decided = sum(each.total("annals_events_total", kind=KIND) for each in samples)
                standing = sum(each.total("annals_standby_open", kind=KIND) for each in samples)
                behind = sum(each.total("annals_standby_lag", kind=KIND) for each in samples)
                if decided >= events and standing == site.partitions and not behind:
                    return
                await asyncio.sleep(LOOK_S)
    except TimeoutError:
        raise BenchError(f"the standbys were not warm within {WARM_S:.0f} s") from None
