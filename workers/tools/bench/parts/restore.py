"""How soon a worker decides whose stores are gone: from restore points, and by folding its journals in full."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from annals.workers.clock import SystemClock
from annals.workers.tools.bench.figures import Figure, Part, Runs
from annals.workers.tools.bench.ground import KIND
from annals.workers.tools.bench.load import aggregate_ids, histories, preload
from annals.workers.tools.bench.parts.drain import drain
from annals.workers.tools.bench.parts.fold import seconds_to_open
from annals.workers.tools.bench.programs import worker

if TYPE_CHECKING:
    from annals.workers.tools.bench.ground import Ground, Site
    from annals.workers.tools.bench.plan import Plan

AT_MOST: Final = 0.1
MADE_WITHIN_S: Final = 60.0
LOOK_S: Final = 0.2
MADE: Final = "annals_restore_points_total"
OFTEN: Final = ("--restore-point-events", "10")
NEVER: Final = ("--restore-point-events", "0")

METHOD: Final = """\
A worker with an empty data folder starts on journals of {events:,} events of {aggregates:,} aggregates in 4 partitions
of `person`: once with restore points at their ends, once without. seconds: between its log lines `shards assigned` and
the last `shard open` of `person`. The share is the first of the second. What is folded behind a restore point while the
shard decides is not in it.
"""


async def measure_restore(ground: Ground, plan: Plan) -> Part:
    """Open the same journals in both ways, as many times as planned."""
    runs = Runs()
    events = plan.backlog_commands
    ground.say(f"restore: preparing {events:,} events")
    async with ground.site() as site:
        ids = aggregate_ids(plan.restore_aggregates)
        await drain(site, await preload(site, histories(ids, events)))
        await _make_restore_points(site)
        for number in range(plan.runs):
            ground.say(f"restore, run {number + 1} of {plan.runs}")
            restored = await _opened(site, f"restored-{number}", OFTEN)
            folded = await _opened(site, f"folded-{number}", NEVER)
            runs.add(restored=restored, folded=folded, share=restored / folded)
    return Part(
        name="restore",
        title="Opening from a restore point",
        method=METHOD.format(events=events, aggregates=plan.restore_aggregates),
        figures=[
            Figure(name="seconds from a restore point", unit="s", values=runs.values["restored"]),
            Figure(name="seconds by the full fold", unit="s", values=runs.values["folded"]),
            Figure(name="share", unit="", values=runs.values["share"], most=AT_MOST),
        ],
    )


async def _opened(site: Site, data: str, options: tuple[str, ...]) -> float:
    async with worker(site, *options, data=data) as process:
        await process.until_ready()
        return seconds_to_open(process)


async def _make_restore_points(site: Site) -> None:
    """Let the worker that has the stores make a last restore point of each shard that has events."""
    clock = SystemClock()
    async with worker(site, *OFTEN) as process:
        await process.until_ready()
        wanted = len(process.partitions(KIND))
        end = clock.monotonic() + MADE_WITHIN_S
        while clock.monotonic() < end:
            if (await process.metrics()).total(MADE, kind=KIND) >= wanted:
                return
            await asyncio.sleep(LOOK_S)
