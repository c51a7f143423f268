"""How fast a backlog is decided, beside stock Faust that only counts it, and bare aiokafka that decides nothing."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from annals.workers.tools.bench.figures import Figure, Part, Runs
from annals.workers.tools.bench.ground import KIND, create_topic
from annals.workers.tools.bench.load import aggregate_ids, histories, preload
from annals.workers.tools.bench.programs import BenchError, program, worker
from annals.workers.tools.bench.usage import MIB
from annals.workers.tools.bench.watching import arrivals, until_decided

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from annals.workers.tools.bench.ground import Ground, Site
    from annals.workers.tools.bench.plan import Plan
    from annals.workers.tools.bench.programs import Program
    from annals.workers.tools.bench.usage import Usage

BASELINES: Final = "annals.workers.tools.bench.baselines"
DONE_S: Final = 600.0
MICRO: Final = 1e6

STREAMS_PER_S: Final = 30_000.0  # Kafka Streams, exactly once, on the machine of the first prototype
TIMES_FAUST: Final = 6.0
TIMES_BARE: Final = 1 / 3
MOST_MB: Final = 400.0

METHOD: Final = """\
Commands are in `commands.person` before the worker starts: {commands:,} of some 240 bytes to {aggregates:,}
aggregates in turns, each of which causes one event. One process of `annals worker` with all kinds, RocksDB,
outcomes and metrics decides them. commands/s: outcomes behind the first batch, by the time between the broker's
own first and last stamp (LogAppendTime). Every outcome is read afterwards, and is `accepted`. CPU: of the
worker, user and system, behind the first batches. Memory: the kernel's high-water mark of the process (VmHWM).
"""
BESIDE: Final = """\
In each run, one after the other: the worker; a stock Faust agent that counts {faust:,} of the same records;
bare aiokafka that consumes them all, writes one event for each by `send_batch`, sends the offsets and commits;
the same again without reading the command, its bytes copied as they are.
"""


@dataclass(slots=True)
class Drained:
    """What one drain took."""

    per_second: float
    cpu_us: float
    peak_mb: float


async def measure_drain(ground: Ground, plan: Plan) -> Part:
    """Drain with baselines, as many times as planned."""
    runs = Runs()
    for number in range(plan.runs):
        ground.say(f"drain, run {number + 1} of {plan.runs}: {plan.drain_commands:,} commands")
        async with ground.site() as site:
            ids = aggregate_ids(plan.drain_aggregates)
            counts = await preload(site, histories(ids, plan.drain_commands))
            ours = await drain(site, counts)
            ground.say("drain: the same by stock Faust")
            faust = await count_by_faust(site, min(plan.faust_events, plan.drain_commands))
            ground.say("drain: the same by bare aiokafka")
            bare = await pass_through_bare(site, plan.drain_commands)
            copied = await pass_through_bare(site, plan.drain_commands, copies=True)
        runs.add(
            per_second=ours.per_second,
            cpu=ours.cpu_us,
            peak=ours.peak_mb,
            faust=faust["per_second"],
            faust_cpu=faust["cpu_us"],
            bare=bare["per_second"],
            bare_cpu=bare["cpu_us"],
            copied=copied["per_second"],
            copied_cpu=copied["cpu_us"],
            times_faust=ours.per_second / faust["per_second"],
            times_bare=ours.per_second / bare["per_second"],
        )
    values = runs.values
    sizes = {"commands": plan.drain_commands, "aggregates": plan.drain_aggregates}
    return Part(
        name="drain",
        title="Drain of a backlog",
        method=METHOD.format(**sizes) + BESIDE.format(faust=min(plan.faust_events, plan.drain_commands)),
        figures=[
            *_ours(values),
            Figure(name="stock Faust, counting only", unit="/s", values=values["faust"]),
            Figure(name="stock Faust, CPU per event", unit="µs", values=values["faust_cpu"]),
            Figure(name="bare aiokafka, an event each", unit="/s", values=values["bare"]),
            Figure(name="bare aiokafka, CPU per event", unit="µs", values=values["bare_cpu"]),
            Figure(name="bare aiokafka, copying bytes", unit="/s", values=values["copied"]),
            Figure(name="bare aiokafka, CPU per copy", unit="µs", values=values["copied_cpu"]),
            Figure(name="times stock Faust", unit="", values=values["times_faust"], least=TIMES_FAUST),
            Figure(name="times bare aiokafka", unit="", values=values["times_bare"], least=TIMES_BARE),
        ],
    )


async def measure_backlog(ground: Ground, plan: Plan) -> Part:
    """Drain a large backlog: the same over a million commands."""
    runs = Runs()
    for number in range(plan.runs):
        ground.say(f"backlog, run {number + 1} of {plan.runs}: {plan.backlog_commands:,} commands")
        async with ground.site() as site:
            ids = aggregate_ids(plan.drain_aggregates)
            ours = await drain(site, await preload(site, histories(ids, plan.backlog_commands)))
        runs.add(per_second=ours.per_second, cpu=ours.cpu_us, peak=ours.peak_mb)
    values = runs.values
    return Part(
        name="backlog",
        title="Drain of a large backlog",
        method=METHOD.format(commands=plan.backlog_commands, aggregates=plan.drain_aggregates),
        figures=_ours(values),
    )


def _ours(values: Mapping[str, list[float]]) -> list[Figure]:
    """What a drain by our worker took, against what it is held to."""
    return [
        Figure(name="commands per second", unit="/s", values=values["per_second"], least=STREAMS_PER_S),
        Figure(name="worker CPU per command", unit="µs", values=values["cpu"]),
        Figure(name="worker memory at most", unit="MB", values=values["peak"], most=MOST_MB),
    ]


async def drain(site: Site, counts: Mapping[int, int], *options: str) -> Drained:
    """Let a worker decide all commands that are there, and look at what it wrote."""
    async with worker(site, *options) as process:
        return await drained(site, counts, [process])


async def drained(site: Site, counts: Mapping[int, int], processes: Sequence[Program]) -> Drained:
    """Wait until running workers have decided all commands; what several took is added up."""
    first, last = await until_decided(site, site.names.commands(KIND), counts, processes)
    seen = await arrivals(site, site.names.outcomes(KIND), _status)
    if seen.words != {"accepted": sum(counts.values())}:
        raise BenchError(f"of {sum(counts.values())} commands became {dict(seen.words)}")
    cpu_us = MICRO * _cpu(first.usages, last.usages) / max(1, last.done - first.done)
    return Drained(seen.per_second, cpu_us, max(usage.peak_bytes for usage in last.usages) / MIB)


def _cpu(before: list[Usage], after: list[Usage]) -> float:
    return sum(each.cpu_s for each in after) - sum(each.cpu_s for each in before)


def _status(record: Any) -> str:
    status: str = orjson.loads(record.value)["status"]
    return status


async def count_by_faust(site: Site, total: int) -> dict[str, float]:
    """Let a stock Faust agent count."""
    plan = {
        "bootstrap_servers": site.settings.bootstrap_servers,
        "source": site.names.commands(KIND),
        "group": f"{site.settings.topic_prefix}faust",
        "total": total,
    }
    async with program(site, "faust", ["-m", f"{BASELINES}.stock_faust", json.dumps(plan)]) as process:
        found = await process.result(DONE_S)
    return {"per_second": found["count"] / found["seconds"], "cpu_us": MICRO * found["cpu_s"] / found["count"]}


async def pass_through_bare(site: Site, total: int, *, copies: bool = False) -> dict[str, float]:
    """Let bare aiokafka pass everything on, and look at what it wrote."""
    async with bare(site, total, copies=copies) as (process, target):
        found = await process.result(DONE_S)
        seen = await arrivals(site, target)
    cpu_us = MICRO * found["cpu_s"] / max(1, found["count"])
    return {"per_second": seen.per_second, "cpu_us": cpu_us}


@asynccontextmanager
async def bare(site: Site, total: int = 0, *, copies: bool = False) -> AsyncIterator[tuple[Program, str]]:
    """Run bare aiokafka, with the topic that it writes to; without a total it goes on until the block's end."""
    target = await create_topic(site, "copies" if copies else "bare")
    plan = {
        "bootstrap_servers": site.settings.bootstrap_servers,
        "source": site.names.commands(KIND),
        "target": target,
        "group": target,
        "total": total,
        "copies": copies,
    }
    async with program(site, "bare", ["-m", f"{BASELINES}.bare", json.dumps(plan)]) as process:
        yield process, target
