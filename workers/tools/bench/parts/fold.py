"""How fast a worker folds a journal whose stores it has not: a new machine, or a data folder that was deleted."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final

from annals.workers.tools.bench.figures import Figure, Part, Runs
from annals.workers.tools.bench.ground import KIND
from annals.workers.tools.bench.load import aggregate_ids, histories, preload
from annals.workers.tools.bench.parts.drain import MICRO, drain
from annals.workers.tools.bench.programs import worker
from annals.workers.tools.bench.usage import MIB

if TYPE_CHECKING:
    from annals.workers.tools.bench.ground import Ground
    from annals.workers.tools.bench.plan import Plan
    from annals.workers.tools.bench.programs import Worker

LEAST_PER_S: Final = 50_000.0

METHOD: Final = """\
A worker with an empty data folder starts on journals of {events:,} events of {aggregates:,} aggregates in 4
partitions of `person`, and empty ones of all other kinds. events/s: by the time between its log lines `shards
assigned` and the last `shard open` of `person`: fence, reading, hashing, folding, RocksDB. CPU: of the whole
process from its start.
"""


async def measure_fold(ground: Ground, plan: Plan) -> Part:
    """Fold one journal anew, as many times as planned."""
    runs = Runs()
    events = plan.backlog_commands
    ground.say(f"fold: preparing {events:,} events")
    async with ground.site() as site:
        ids = aggregate_ids(plan.drain_aggregates)
        await drain(site, await preload(site, histories(ids, events)))
        for number in range(plan.runs):
            ground.say(f"fold, run {number + 1} of {plan.runs}")
            async with worker(site, data=f"new-{number}") as process:
                await process.until_ready()
                usage = process.usage()
                seconds = seconds_to_open(process)
            runs.add(rate=events / seconds, cpu=MICRO * usage.cpu_s / events, peak=usage.peak_bytes / MIB)
    return Part(
        name="fold",
        title="Fold on a new machine",
        method=METHOD.format(events=events, aggregates=plan.drain_aggregates),
        figures=[
            Figure(name="events per second", unit="/s", values=runs.values["rate"], least=LEAST_PER_S),
            Figure(name="worker CPU per event, start included", unit="µs", values=runs.values["cpu"]),
            Figure(name="worker memory at most", unit="MB", values=runs.values["peak"]),
        ],
    )


def seconds_to_open(process: Worker) -> float:
    """Return how long a worker took from its assignment to its last open shard."""
    began = datetime.fromisoformat(process.logged("shards assigned")[0]["timestamp"])
    opened = [entry["timestamp"] for entry in process.logged("shard open") if entry["kind"] == KIND]
    return (datetime.fromisoformat(max(opened)) - began).total_seconds()
