"""Reading as a worker does it: all roles on a broker, states over HTTP, a question, a replay, the lag of reading."""

from __future__ import annotations

import asyncio
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import aiohttp
import orjson

from annals.schemas.values.moments import recorded_at
from annals.workers.clock import SystemClock
from annals.workers.tools.bench.figures import Figure, Runs, quantile
from annals.workers.tools.bench.ground import KIND
from annals.workers.tools.bench.load import Pacer, aggregate_ids, email_of, histories, preload, register_with_email
from annals.workers.tools.bench.parts.drain import drain, drained
from annals.workers.tools.bench.programs import ANNALS, BenchError, program, worker
from annals.workers.tools.bench.watching import event_command, tailing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from annals.workers.tools.bench.ground import Ground, Site
    from annals.workers.tools.bench.plan import Plan
    from annals.workers.tools.bench.programs import Worker

ALL_ROLES: Final = ("--roles", "write,read", "--api-port", "0", "--api-requests-per-second", "")
CONNECTIONS: Final = 16
LAG_RATE: Final = 1_000
LAG_P99_MS: Final = 150.0  # moved from 50: see bench/remarks.md
SEEN_S: Final = 60.0
DATA: Final = b"data: "
READ_S: Final = 300.0
REPLAY_S: Final = 300.0
LOOK_S: Final = 0.2
MS: Final = 1_000
OK: Final = 200

METHOD: Final = """\
On a broker: {commands:,} commands to {aggregates:,} aggregates of `person` are drained by `write` alone, then by a
worker of all roles; the part kept is the ratio of the two. Reading has caught up when every partition's answers rest on
as many events as there are; its rate is that of all events by the time from the first command taken to then. Then the
same worker answers: states over HTTP, {connections} connections that ask without pause, once reading is done; the
question `people` by an e-mail address over {rows:,} rows more, {asked:,} times; then commands come at {rate}/s for
{seconds:g} s, and a stream of `GET /v1/events?follow=1` is read in the same process as the journal is by a
`read_committed` consumer: the lag is what an event is later in the one than in the other. Replay: `annals replay`, dry,
verified and upcast, over 4 partitions in two processes, its own figure.
"""


async def measure_served(ground: Ground, plan: Plan) -> tuple[str, list[Figure]]:
    """Drain, then ask; return the method and the figures."""
    runs = Runs()
    for number in range(plan.runs):
        ground.say(f"read, run {number + 1} of {plan.runs}: on a broker")
        commands = plan.drain_commands
        ids = aggregate_ids(plan.drain_aggregates)
        async with ground.site() as site:
            alone = await drain(site, await preload(site, histories(ids, commands)))
        async with ground.site() as site:
            counts = await preload(site, histories(ids, commands))
            async with worker(site, *ALL_ROLES) as process:
                began = perf_counter()
                every = await drained(site, counts, [process])
                api = await _api_of(process)
                async with aiohttp.ClientSession(api) as session:
                    await _until_read(session, commands, process)
                    caught_up = commands / (perf_counter() - began)
                    served = await _states_per_second(session, ids, plan.read_served_s)
                    people = aggregate_ids(plan.read_rows, "found")
                    await preload(site, map(register_with_email, people))
                    await _until_read(session, commands + len(people), process)
                    question = await _question_ms(session, people, plan.read_samples)
                    lag = await _lag_ms(site, session, ids, plan)
            rate = await _replayed(site)
        runs.add(
            kept=every.per_second / alone.per_second,
            caught_up=caught_up,
            served=served,
            question=quantile(question, 0.99),
            lag_p50=median(lag),
            lag_p99=quantile(lag, 0.99),
            replay=rate,
        )
    method = METHOD.format(
        commands=plan.drain_commands,
        aggregates=plan.drain_aggregates,
        connections=CONNECTIONS,
        rate=LAG_RATE,
        asked=plan.read_samples,
        rows=plan.read_rows,
        seconds=plan.latency_s,
    )
    return method, _figures(runs)


def _figures(runs: Runs) -> list[Figure]:
    values = runs.values
    return [
        Figure(name="drain with all roles, part of `write` alone", unit="", values=values["kept"], least=0.85),
        Figure(name="reading caught up, from the worker's start", unit="/s", values=values["caught_up"]),
        Figure(name="states over HTTP, one process", unit="/s", values=values["served"], least=4_000.0),
        Figure(name="question `people`, p99", unit="ms", values=values["question"], most=100.0),
        Figure(name=f"written to readable at {LAG_RATE}/s, p50", unit="ms", values=values["lag_p50"]),
        Figure(name=f"written to readable at {LAG_RATE}/s, p99", unit="ms", values=values["lag_p99"], most=LAG_P99_MS),
        Figure(name="replay into nothing", unit="/s", values=values["replay"], least=150_000.0),
    ]


async def _api_of(process: Worker) -> str:
    async with asyncio.timeout(READ_S):
        while True:
            process.require_running()
            for entry in process.logged("worker started"):
                if entry.get("api"):
                    return str(entry["api"])
            await asyncio.sleep(LOOK_S)


async def _until_read(session: aiohttp.ClientSession, events: int, process: Worker) -> None:
    """Wait until all events are in the reading stores."""
    deadline = perf_counter() + READ_S
    while (found := await _events_read(session)) < events:
        process.require_running()
        if perf_counter() > deadline:
            raise BenchError(f"{found} of {events} events were read within {READ_S:.0f} s")
        await asyncio.sleep(LOOK_S)


async def _events_read(session: aiohttp.ClientSession) -> int:
    async with session.get("/v1/stats") as answer:
        if answer.status != OK:
            return 0
        return int((await answer.json())["kinds"][KIND]["events"])


async def _states_per_second(session: aiohttp.ClientSession, ids: Sequence[str], seconds: float) -> float:
    """Ask for states without pause on several connections; return the answers per second."""
    began, answered = perf_counter(), 0

    async def ask(number: int) -> None:
        nonlocal answered
        while perf_counter() - began < seconds:
            number += CONNECTIONS
            await _get(session, f"/v1/aggregates/{KIND}/{ids[number % len(ids)]}")
            answered += 1

    await asyncio.gather(*(ask(number) for number in range(CONNECTIONS)))
    return answered / (perf_counter() - began)


async def _question_ms(session: aiohttp.ClientSession, ids: Sequence[str], times: int) -> list[float]:
    async def ask(number: int) -> None:
        email = quote(email_of(ids[number * len(ids) // times]))
        if not (await _get(session, f"/v1/questions/people?email={email}"))["rows"]:
            raise BenchError(f"nobody has {email}")

    return await _each_ms(ask, times)


async def _lag_ms(site: Site, session: aiohttp.ClientSession, ids: list[str], plan: Plan) -> list[float]:
    """Return how much later each event is in the API's stream than in Kafka."""
    since = quote(recorded_at(SystemClock().now()))
    path = f"/v1/events?follow=1&kind={KIND}&since={since}"
    streamed_at: dict[bytes, float] = {}
    async with (
        tailing(site, site.names.events(KIND), event_command) as tail,
        session.get(path, timeout=aiohttp.ClientTimeout(total=None)) as stream,
    ):
        reading = asyncio.create_task(_note_events(stream, streamed_at))
        try:
            warm_up, pacer = Pacer(site, LAG_RATE), Pacer(site, LAG_RATE)
            await warm_up.run(ids, plan.warm_up_s)
            await pacer.run(ids, plan.latency_s)
            await tail.until_seen(pacer.sent_at, SEEN_S)
            await _until_streamed(reading, streamed_at, pacer.sent_at)
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
    return [MS * max(0.0, streamed_at[each] - tail.seen_at[each][1]) for each in pacer.sent_at]


async def _until_streamed(
    reading: asyncio.Task[None], streamed_at: Mapping[bytes, float], wanted: Mapping[bytes, float]
) -> None:
    deadline = perf_counter() + SEEN_S
    while not streamed_at.keys() >= wanted.keys():
        if reading.done():
            await reading
        if reading.done() or perf_counter() > deadline:
            missing = len(wanted.keys() - streamed_at.keys())
            raise BenchError(f"{missing} of {len(wanted)} events were not in the stream within {SEEN_S:.0f} s")
        await asyncio.sleep(LOOK_S)


async def _note_events(stream: aiohttp.ClientResponse, streamed_at: dict[bytes, float]) -> None:
    if stream.status != OK:
        raise BenchError(f"the stream was answered {stream.status}: {await stream.text()}")
    async for line in stream.content:
        if line.startswith(DATA):
            command_id: str = orjson.loads(line.removeprefix(DATA))["command_id"]
            streamed_at.setdefault(command_id.encode(), perf_counter())


async def _each_ms(ask: Callable[[int], Awaitable[None]], times: int) -> list[float]:
    taken = []
    for number in range(times):
        began = perf_counter()
        await ask(number)
        taken.append(MS * (perf_counter() - began))
    return taken


async def _get(session: aiohttp.ClientSession, path: str) -> Any:
    async with session.get(path) as answer:
        if answer.status != OK:
            raise BenchError(f"GET {path} was answered {answer.status}: {await answer.text()}")
        return await answer.json()


async def _replayed(site: Site) -> float:
    """Replay everything into nothing; return its own events per second."""
    settings = site.settings
    arguments = [
        *(*ANNALS, "replay", "--kind", KIND, "--dry-run", "--processes", "2", "--json"),
        *("--bootstrap-servers", settings.bootstrap_servers, "--topic-prefix", settings.topic_prefix),
    ]
    async with program(site, "replay", arguments) as process:
        found = await process.result(REPLAY_S)
    return float(found["rate"])
