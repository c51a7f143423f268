"""What publishing to subscribers costs: behind a journal, live, beside idle subscriptions, and while one catches up."""

from __future__ import annotations

from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from annals.schemas.delivery import PARKED, WAITING
from annals.workers.tools.bench.figures import Figure, Part, Runs, quantile
from annals.workers.tools.bench.ground import KIND
from annals.workers.tools.bench.load import Pacer, aggregate_ids, histories, preload
from annals.workers.tools.bench.parts.drain import MICRO, drain
from annals.workers.tools.bench.parts.latency import MS, SEEN_S, warm_up
from annals.workers.tools.bench.parts.subscribing import put, reading, until_joined, until_published
from annals.workers.tools.bench.parts.unsettled import taken_over
from annals.workers.tools.bench.programs import BenchError, worker
from annals.workers.tools.bench.watching import arrivals, event_command, tailing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from annals.workers.tools.bench.ground import Ground, Site
    from annals.workers.tools.bench.plan import Plan

T = TypeVar("T")
FEW: Final = "00"  # how the ids of one in a hundred aggregates end
LIVE, FILTERED, LATE = "all", "filtered", "late"
ONE_PER_S, TEN_PER_S, FILTERED_PER_S = 14_000.0, 12_000.0, 50_000.0  # the first was moved: see bench/remarks.md
ADDED_MS: Final = (15.0, 40.0)  # p50 and p99
IDLE_TIMES, IDLE_ANSWERING_TIMES, SLOWED_TIMES = 1.1, 1.1, 1.5
TAKEN_OVER_S, PIECE_MS = 5.0, 100.0

METHOD: Final = """\
A worker of the role `read` alone, one process that folds states and indexes and publishes, finds {events:,} events of
{aggregates:,} aggregates in 4 partitions of `person` that subscriptions were put for before there were any. events/s:
between the broker's first stamp and its last in the subscribers' topics; of ten, each gets every event. CPU: of the
whole process, by event of the journal. Idle: beside one subscription that wants everything there are {idle} of a type
that no event has, once streams and once acknowledged ones, which are at rest before there are events. Added: at
{rate}/s for {seconds:g} s behind {warm_up:g} s of warm-up, from an event readable in the journal until it is readable
in the subscriber's topic, by one `read_committed` process; the deciding worker runs beside it, on a broker of long
standing as for the latency above. Filtered: one that wants one aggregate in a hundred is put on {backlog:,} events
that the process has read already; from the request to its last event. Slowed: p99 of what is added while one from the
beginning catches up with them. Taken over: in this process, what a delivery shard does before its first step where
{rows:,} rows of as many aggregates are parked, or waiting for their next attempt: fence, read progress and rows, and
take them up. Longest piece: for how long the event loop's thread computed at most before others had their turn. Memory
of a row: what Python's allocators hold of a second takeover.
"""


class Published(NamedTuple):
    """What a process needed for a journal."""

    per_second: float
    cpu_us: float


async def measure_subscribe(ground: Ground, plan: Plan) -> Part:
    """Measure it, as many times as planned."""
    runs = Runs()
    nobody = {"kinds": [KIND], "types": ["PersonArchived"]}
    idle: dict[str, dict[str, Any]] = {f"idle-{number}": nobody for number in range(plan.idle_subscriptions)}
    answering = {name: {**wish, "delivery": "acknowledged"} for name, wish in idle.items()}
    many = [f"{LIVE}-{each}" for each in range(plan.subscriber_topics)]
    async with ground.of_long_standing() as used:
        await warm_up(used, plan)
        for number in range(plan.runs):
            run = f"subscribe, run {number + 1} of {plan.runs}"
            runs.add(**await _tell(ground, run, "live, and catching up", _live(used, plan)))
    for number in range(plan.runs):
        tell = partial(_tell, ground, f"subscribe, run {number + 1} of {plan.runs}")
        one = await tell("one topic", _behind(ground, plan, [LIVE], {}))
        ten = await tell(f"{len(many)} topics", _behind(ground, plan, many, {}))
        beside = await tell(f"{len(idle)} idle streams", _behind(ground, plan, [LIVE], idle))
        resting = await tell(f"{len(idle)} idle ones that answer", _behind(ground, plan, [LIVE], answering))
        runs.add(**await tell(f"{plan.unsettled_rows:,} unsettled rows", _unsettled(ground, plan)))
        runs.add(one=one.per_second, one_cpu=one.cpu_us, ten=ten.per_second, ten_cpu=ten.cpu_us)
        runs.add(idle=beside.per_second, idle_times=beside.cpu_us / one.cpu_us)
        runs.add(resting=resting.per_second, resting_times=resting.cpu_us / one.cpu_us)
    sizes = {"events": plan.subscriber_events, "aggregates": plan.drain_aggregates, "backlog": plan.backlog_commands}
    pace = {"rate": min(plan.rates), "seconds": plan.latency_s, "warm_up": plan.warm_up_s}
    return Part(
        name="subscribe",
        title="Publishing to subscribers",
        method=METHOD.format(**sizes, **pace, idle=plan.idle_subscriptions, rows=plan.unsettled_rows),
        figures=_figures(runs.values, min(plan.rates)),
    )


def _figures(values: dict[str, list[float]], rate: int) -> list[Figure]:
    p50, p99 = ADDED_MS
    return [
        Figure(name="one topic, events per second", unit="/s", values=values["one"], least=ONE_PER_S),
        Figure(name="one topic, CPU per event", unit="µs", values=values["one_cpu"]),
        Figure(name="ten topics, events per second", unit="/s", values=values["ten"], least=TEN_PER_S),
        Figure(name="ten topics, CPU per event", unit="µs", values=values["ten_cpu"]),
        Figure(name="beside idle ones, events per second", unit="/s", values=values["idle"]),
        Figure(name="beside idle ones, times the CPU", unit="", values=values["idle_times"], most=IDLE_TIMES),
        Figure(name="beside idle ones that answer, events per second", unit="/s", values=values["resting"]),
        Figure(
            name="beside idle ones that answer, times the CPU",
            unit="",
            values=values["resting_times"],
            most=IDLE_ANSWERING_TIMES,
        ),
        Figure(name=f"added at {rate}/s, p50", unit="ms", values=values["p50"], most=p50),
        Figure(name=f"added at {rate}/s, p99", unit="ms", values=values["p99"], most=p99),
        Figure(name="filtered, events per second", unit="/s", values=values["filtered"], least=FILTERED_PER_S),
        Figure(name="slowed by a catch-up, p99", unit="ms", values=values["slowed"]),
        Figure(name="slowed, times", unit="", values=values["slowed_times"], most=SLOWED_TIMES),
        Figure(name="parked rows taken over", unit="s", values=values["parked_s"], most=TAKEN_OVER_S),
        Figure(name="parked rows taken over, longest piece", unit="ms", values=values["parked_ms"], most=PIECE_MS),
        Figure(name="parked rows, memory of each", unit="B", values=values["parked_bytes"]),
        Figure(name="waiting rows taken over", unit="s", values=values["waiting_s"], most=TAKEN_OVER_S),
        Figure(name="waiting rows taken over, longest piece", unit="ms", values=values["waiting_ms"], most=PIECE_MS),
        Figure(name="waiting rows, memory of each", unit="B", values=values["waiting_bytes"]),
    ]


async def _tell(ground: Ground, run: str, what: str, measuring: Awaitable[T]) -> T:
    """Say what is measured, and what was found, so that it is not lost where a later one fails.

    Raises:
        BenchError: it could not be measured; the message says what.
    """
    ground.say(f"{run}: {what}")
    try:
        found = await measuring
    except BenchError as error:
        raise BenchError(f"{what}: {error}") from error
    ground.say(f"{run}: {what}: {found}")
    return found


async def _behind(ground: Ground, plan: Plan, names: Sequence[str], idle: dict[str, dict[str, Any]]) -> Published:
    """Publish a journal that is there, to subscriptions that want all of it, beside idle ones."""
    events, wants_all = plan.subscriber_events, {"kinds": [KIND]}
    async with ground.site() as site:
        for name, wish in {**dict.fromkeys(names, wants_all), **idle}.items():
            await put(site, name, wish)
        async with reading(site) as process:  # they are live, and what comes is not caught up with
            answering = [name for name, wish in idle.items() if "delivery" in wish]
            await until_joined(site, [*names, *(idle.keys() - set(answering))], answering, process)
        await drain(site, await preload(site, histories(aggregate_ids(plan.drain_aggregates), events)))
        async with reading(site) as process:
            before = process.usage()
            await until_published(process, names, events)
            cpu_s = process.usage().cpu_s - before.cpu_s
        seen = [await arrivals(site, site.names.subscribers(name)) for name in names]
    if any(each.total != events for each in seen):
        raise BenchError(f"of {events} events subscribers got {[each.total for each in seen]}")
    took_ms = max(each.last_ms for each in seen) - min(each.first_ms for each in seen)
    return Published(1_000 * events / max(1, took_ms), MICRO * cpu_s / events)


async def _live(ground: Ground, plan: Plan) -> dict[str, float]:
    """Measure what publishing adds at an even pace, a filtered catch-up, and what a whole one does to what is live."""
    ids = aggregate_ids(plan.drain_aggregates)
    async with ground.site() as site:
        await drain(site, await preload(site, histories(ids, plan.backlog_commands)))
        await put(site, LIVE, {"kinds": [KIND], "start": "now"})
        async with reading(site) as process, worker(site) as deciding:
            await deciding.until_ready()
            await until_joined(site, [LIVE], [], process)  # behind all that was there, which is read by then
            added = await _added(site, ids, plan)
            few = sum(each.endswith(FEW) for each in ids)
            wanted = plan.backlog_commands * few // len(ids)  # renamed in turns: as many of each
            began = perf_counter()
            await put(site, FILTERED, {"kinds": [KIND], "filters": [{"suffix": {"subject": FEW}}]})
            await until_published(process, [FILTERED], wanted)
            filtered = plan.backlog_commands / (perf_counter() - began)
            await put(site, LATE, {"kinds": [KIND]})
            slowed = await _added(site, ids, plan)
    p99 = quantile(added, 0.99)
    found = {"p50": quantile(added, 0.50), "p99": p99, "filtered": filtered}
    return {**found, "slowed": quantile(slowed, 0.99), "slowed_times": quantile(slowed, 0.99) / p99}


async def _unsettled(ground: Ground, plan: Plan) -> dict[str, float]:
    """Measure takeovers of what is parked, and of what waits."""
    found: dict[str, float] = {}
    async with ground.site() as site:
        for state in (PARKED, WAITING):
            await put(site, state, {"kinds": [KIND], "delivery": "acknowledged"})
            took = await taken_over(site, state, state, plan.unsettled_rows)
            found |= {f"{state}_s": took.seconds, f"{state}_ms": took.held_ms, f"{state}_bytes": took.row_bytes}
    return found


async def _added(site: Site, ids: list[str], plan: Plan) -> list[float]:
    """Return by how many ms events were later in the subscriber's topic than in the journal."""
    journal, topic = site.names.events(KIND), site.names.subscribers(LIVE)
    async with tailing(site, journal, event_command) as first, tailing(site, topic, event_command) as second:
        for seconds in (plan.warm_up_s, plan.latency_s):
            pacer = Pacer(site, min(plan.rates))
            await pacer.run(ids, seconds)
            await first.until_seen(pacer.sent_at, SEEN_S)
            await second.until_seen(pacer.sent_at, SEEN_S)
    return [MS * max(0.0, second.seen_at[each][1] - first.seen_at[each][1]) for each in pacer.sent_at]
