"""How several workers share the partitions, what a command costs then, and how long a rebalance takes."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from contextlib import AsyncExitStack
from itertools import pairwise
from time import perf_counter
from typing import TYPE_CHECKING, Final

from annals.workers.tools.bench.figures import Figure, Part, Runs
from annals.workers.tools.bench.ground import KIND
from annals.workers.tools.bench.load import Pacer, aggregate_ids, histories, preload, register
from annals.workers.tools.bench.parts.drain import MICRO
from annals.workers.tools.bench.parts.takeover import until_shared
from annals.workers.tools.bench.programs import worker
from annals.workers.tools.bench.watching import arrivals, event_command, tailing, until_decided

if TYPE_CHECKING:
    from annals.workers.tools.bench.ground import Ground, Site
    from annals.workers.tools.bench.plan import Plan
    from annals.workers.tools.bench.watching import Tail

PARTITIONS: Final = 8
SEEN_S: Final = 60.0
LONGEST_S: Final = 300.0
AROUND_S: Final = 1.0
MOST_TIMES: Final = 1.2
MOST_APART: Final = 1.0

SCALING: Final = """\
So many workers on 8 partitions of each kind are ready before {commands:,} commands to {aggregates:,} aggregates
are written in large batches; what the load takes of the machine is in commands/s, not in CPU per command.
Apart: the most partitions of `person` that a worker has, less the fewest.
"""
PAUSE: Final = """\
One worker has 8 partitions of each kind; commands to {aggregates:,} aggregates come at {rate}/s, so that each
partition has one every {every:.0f} ms. A second worker joins and, when both are ready, leaves by SIGTERM. The
pause is the longest time without a new event in any one partition; every command that was sent has its event in
the end.
"""


async def measure_scaling(ground: Ground, plan: Plan) -> Part:
    """Let one worker and several decide the same backlog."""
    runs = Runs()
    for number in range(plan.runs):
        for count in plan.workers:
            ground.say(f"scaling, run {number + 1} of {plan.runs}: {count} workers")
            async with ground.site(PARTITIONS) as site:
                runs.add(**await _shared(site, count, plan))
        cpu = [runs.values[f"{count} cpu"][-1] for count in plan.workers]
        runs.add(spread=max(cpu) / min(cpu) if min(cpu) else 1.0)
    values = runs.values
    figures = []
    for count in plan.workers:
        name = f"{count} worker{'s' if count > 1 else ''}"
        figures += [
            Figure(name=f"{name}: CPU per command, all together", unit="µs", values=values[f"{count} cpu"]),
            Figure(name=f"{name}: commands per second", unit="/s", values=values[f"{count} rate"]),
            Figure(name=f"{name}: partitions apart", unit="", values=values[f"{count} apart"], most=MOST_APART),
        ]
    figures.append(Figure(name="most CPU per command to least", unit="", values=values["spread"], most=MOST_TIMES))
    method = SCALING.format(commands=plan.scaling_commands, aggregates=plan.drain_aggregates)
    return Part(name="scaling", title="Several workers", method=method, figures=figures)


async def _shared(site: Site, count: int, plan: Plan) -> dict[str, float]:
    async with AsyncExitStack() as stack:
        workers = [await stack.enter_async_context(worker(site, data=f"data-{number}")) for number in range(count)]
        await until_shared(site, workers)
        owned = [len(process.partitions(KIND)) for process in workers]
        before = sum(process.usage().cpu_s for process in workers)
        ids = aggregate_ids(plan.drain_aggregates)
        counts = await preload(site, histories(ids, plan.scaling_commands))
        _, last = await until_decided(site, site.names.commands(KIND), counts, workers)
        cpu_s = sum(usage.cpu_s for usage in last.usages) - before
    seen = await arrivals(site, site.names.outcomes(KIND))
    return {
        f"{count} cpu": MICRO * cpu_s / plan.scaling_commands,
        f"{count} rate": seen.per_second,
        f"{count} apart": max(owned) - min(owned),
    }


async def measure_pause(ground: Ground, plan: Plan) -> Part:
    """Let a second worker come and go under load, as many times as planned."""
    runs = Runs()
    for number in range(plan.runs):
        ground.say(f"pause, run {number + 1} of {plan.runs}")
        async with ground.site(PARTITIONS) as site:
            runs.add(**await _paused(site, plan))
    return Part(
        name="pause",
        title="A worker joins and leaves",
        method=PAUSE.format(
            aggregates=plan.drain_aggregates, rate=plan.pause_rate, every=1_000 * PARTITIONS / plan.pause_rate
        ),
        figures=[
            Figure(name="longest pause of a partition, join", unit="s", values=runs.values["join"]),
            Figure(name="longest pause of a partition, leave", unit="s", values=runs.values["leave"]),
        ],
    )


async def _paused(site: Site, plan: Plan) -> dict[str, float]:
    ids = aggregate_ids(plan.drain_aggregates)
    counts = await preload(site, map(register, ids))
    async with worker(site, data="one") as first:
        await until_decided(site, site.names.commands(KIND), counts, [first])
        async with tailing(site, site.names.events(KIND), event_command) as tail:
            pacer = Pacer(site, plan.pause_rate)
            sending = asyncio.create_task(pacer.run(ids, LONGEST_S))
            try:
                await asyncio.sleep(AROUND_S)
                joins = perf_counter()
                async with worker(site, data="two") as second:
                    await until_shared(site, [first, second])
                    await asyncio.sleep(AROUND_S)
                    leaves = perf_counter()
                await first.until_ready()
                await asyncio.sleep(AROUND_S)
                ends = perf_counter()
            finally:
                pacer.stop()
                await sending
            await tail.until_seen(pacer.sent_at, SEEN_S)
    return {"join": longest_pause(tail, joins, leaves), "leave": longest_pause(tail, leaves, ends)}


def longest_pause(tail: Tail, start: float, end: float) -> float:
    """Return the longest time without a new event in any partition, of those that ended between start and end."""
    seen: dict[int, list[float]] = defaultdict(list)
    for partition, at in tail.seen_at.values():
        seen[partition].append(at)
    pauses = [
        later - max(earlier, start)
        for times in seen.values()
        for earlier, later in pairwise(sorted(times))
        if later > start and earlier < end
    ]
    return max(pauses, default=0.0)
