"""How long a command takes from its producer's send until its event can be read, at an even pace."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson

from annals.workers.tools.bench.figures import Figure, Part, Runs, bucket_quantile, quantile
from annals.workers.tools.bench.ground import KIND
from annals.workers.tools.bench.load import Pacer, aggregate_ids, preload, register
from annals.workers.tools.bench.parts.drain import bare
from annals.workers.tools.bench.programs import worker
from annals.workers.tools.bench.watching import event_command, tailing, until_decided

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from annals.workers.tools.bench.ground import Ground, Site
    from annals.workers.tools.bench.plan import Plan
    from annals.workers.tools.bench.programs import Samples, Worker

SEEN_S: Final = 30.0
MS: Final = 1_000
AGGREGATES: Final = 2_000
APPEND: Final = ("annals_decide_seconds", "annals_commit_seconds")
TARGETS: Final = {100: (10.0, 35.0), 1_000: (15.0, 50.0)}  # p50 and p99 in ms, by rate
APPEND_MS: Final = 10.0

METHOD: Final = """\
Commands that cause one event each are sent one by one, evenly spaced, for {seconds:g} s behind {warm_up:g} s of
warm-up, to {aggregates:,} aggregates that exist; nothing else runs. The broker has been in use for {broker:g} s before,
at the highest rate, and is compiled by both of Java's compilers, as one that runs for months; what is not about latency
has the quickly started one of `annals broker`. The time is from just before the
producer's `send` until a `read_committed` consumer in the same process has the event. The append is from the
batch taken to its commit known, from the worker's own histograms (quantiles linear within their buckets,
deciding and committing added). Bare aiokafka is the process of the drain under the same load.
"""


class Took(NamedTuple):
    """What commands took, in ms, and how late the load itself was."""

    latencies_ms: list[float]
    late_ms: list[float]


async def measure_latency(ground: Ground, plan: Plan) -> Part:
    """Measure each rate, as many times as planned, beside bare aiokafka."""
    figures: list[Figure] = []
    notes: list[str] = []
    runs = {rate: Runs() for rate in plan.rates}
    sizes = (plan.warm_up_s, plan.latency_s)
    async with ground.of_long_standing() as used:
        await warm_up(used, plan)
        for number in range(plan.runs):
            async with used.site() as site:
                ground.say(f"latency, run {number + 1} of {plan.runs}: the worker")
                async with _working(site) as (process, ids):
                    for rate in plan.rates:
                        before = await process.metrics()
                        took = await _paced(site, site.names.events(KIND), event_command, ids, rate, *sizes)
                        runs[rate].add(**_quantiles("", took), append=_append_ms(before, await process.metrics()))
                ground.say(f"latency, run {number + 1} of {plan.runs}: bare aiokafka")
                async with bare(site) as (_, target):
                    for rate in plan.rates:
                        took = await _paced(site, target, _id_in_value, ids, rate, *sizes)
                        runs[rate].add(**_quantiles("bare_", took))
    for rate in plan.rates:
        figures += _figures(rate, runs[rate])
        notes.append(f"At {rate}/s the load was late by {max(runs[rate].values['late']):.1f} ms at its own p99.")
    said = {"seconds": plan.latency_s, "warm_up": plan.warm_up_s, "broker": plan.broker_warm_up_s}
    return Part(
        name="latency",
        title="From send to readable event",
        method=METHOD.format(**said, aggregates=AGGREGATES),
        figures=figures,
        notes=notes,
    )


async def warm_up(ground: Ground, plan: Plan) -> None:
    """Use a broker until Java has compiled what it does."""
    ground.say("warming the broker up")
    async with ground.site() as site, _working(site) as (_, ids):
        await _paced(site, site.names.events(KIND), event_command, ids, max(plan.rates), plan.broker_warm_up_s, 0)


@asynccontextmanager
async def _working(site: Site) -> AsyncIterator[tuple[Worker, list[str]]]:
    """Give a worker that is ready, and the aggregates that it has."""
    ids = aggregate_ids(AGGREGATES)
    counts = await preload(site, map(register, ids))
    async with worker(site) as process:
        await until_decided(site, site.names.commands(KIND), counts, [process])
        await process.until_ready()
        yield process, ids


async def _paced(
    site: Site,
    topic: str,
    id_of: Callable[[Any], bytes],
    ids: list[str],
    rate: int,
    warm_up_s: float,
    measured_s: float,
) -> Took:
    """Warm up, then measure, at one rate."""
    async with tailing(site, topic, id_of) as tail:
        warm_up = Pacer(site, rate)
        await warm_up.run(ids, warm_up_s)
        await tail.until_seen(warm_up.sent_at, SEEN_S)
        pacer = Pacer(site, rate)
        await pacer.run(ids, measured_s)
        await tail.until_seen(pacer.sent_at, SEEN_S)
    took = [tail.seen_at[command_id][1] - sent for command_id, sent in pacer.sent_at.items()]
    return Took([MS * each for each in took], [MS * each for each in pacer.late_s])


def _quantiles(prefix: str, took: Took) -> dict[str, float]:
    found = {f"{prefix}p50": quantile(took.latencies_ms, 0.50), f"{prefix}p99": quantile(took.latencies_ms, 0.99)}
    return found if prefix else {**found, "late": quantile(took.late_ms, 0.99)}


def _append_ms(before: Samples, after: Samples) -> float:
    return MS * sum(bucket_quantile(_between(before, after, name), 0.5) for name in APPEND)


def _between(before: Samples, after: Samples, name: str) -> list[tuple[float, float]]:
    """Return a histogram of what was observed between two looks."""
    earlier = before.buckets(name, kind=KIND)
    later: Iterable[tuple[float, float]] = sorted(after.buckets(name, kind=KIND).items())
    return [(bound, count - earlier.get(bound, 0.0)) for bound, count in later]


def _id_in_value(record: Any) -> bytes:
    command_id: str = orjson.loads(record.value)["command_id"]
    return command_id.encode()


def _figures(rate: int, runs: Runs) -> list[Figure]:
    values = runs.values
    p50, p99 = TARGETS.get(rate, (None, None))
    return [
        Figure(name=f"{rate}/s: p50", unit="ms", values=values["p50"], most=p50),
        Figure(name=f"{rate}/s: p99", unit="ms", values=values["p99"], most=p99),
        Figure(name=f"{rate}/s: append, p50", unit="ms", values=values["append"], most=APPEND_MS),
        Figure(name=f"{rate}/s: bare aiokafka, p50", unit="ms", values=values["bare_p50"]),
        Figure(name=f"{rate}/s: bare aiokafka, p99", unit="ms", values=values["bare_p99"]),
    ]
