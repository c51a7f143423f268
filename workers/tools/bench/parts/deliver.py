"""What deliveries cost: those that a subscriber answers in a topic, and those that are posted to a webhook."""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
from contextlib import asynccontextmanager
from time import perf_counter
from typing import TYPE_CHECKING, Final, NamedTuple

import aiohttp

from annals.workers.settings import load_settings
from annals.workers.tools.bench.figures import Figure, Part, Runs
from annals.workers.tools.bench.ground import KIND, Site
from annals.workers.tools.bench.load import aggregate_ids, histories, preload
from annals.workers.tools.bench.parts.drain import DONE_S, MICRO, drain
from annals.workers.tools.bench.parts.subscribing import LOOK_S, put, reading, until_joined
from annals.workers.tools.bench.programs import BenchError, program
from annals.workers.tools.bench.watching import STILL_S, arrivals

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from annals.workers.settings import Settings
    from annals.workers.tools.bench.ground import Ground
    from annals.workers.tools.bench.plan import Plan
    from annals.workers.tools.bench.programs import Worker

LIVE, ANSWERED, POSTED = "all", "answered", "posted"
NACK_EACH: Final = 100
WAIT_S: Final = 0.02
SETTLED_PER_S, POSTS_PER_S = 5_000.0, 1_000.0
LOOPBACK: Final = "127.0.0.0/8"
SECRET: Final = "bench"  # noqa: S105 - the name of a file
ANSWERS: Final = "annals_delivery_answers_total"
UNSETTLED: Final = "annals_unsettled"

METHOD: Final = """\
A worker of the role `read` alone has read {events:,} events of {aggregates:,} aggregates in 4 partitions of `person`
when two subscriptions are put, one after the other, that begin with the first event: with `acknowledged` delivery, and
with a webhook of `binary` mode, each with `max_in_flight` as it is by default. In order: of an aggregate one event at a
time. Subscriber: bare aiokafka in a process of its own, which refuses one first delivery in {nack_each} and answers by
`acks.<name>`. Settled/s: between the first delivery and the last row, by the broker's stamps. Endpoint: an aiohttp
server in a process of its own, which answers after {wait_ms:g} ms; posts/s: from the first request to the last answer.
CPU: of the whole reading process from the request until nothing is unsettled, by event.
"""


class Delivered(NamedTuple):
    """How fast deliveries were settled, and what the process needed for one event."""

    per_second: float
    cpu_us: float


async def measure_deliver(ground: Ground, plan: Plan) -> Part:
    """Measure it, as many times as planned."""
    runs = Runs()
    for number in range(plan.runs):
        run = f"deliver, run {number + 1} of {plan.runs}"
        ground.say(f"{run}: preparing {plan.delivered_events:,} events")
        async with ground.site() as site, _read(site, plan) as (here, process):
            ground.say(f"{run}: acknowledged")
            answered = await _answered(here, process, plan.delivered_events)
            ground.say(f"{run}: acknowledged: {answered}; webhook")
            posted, at_a_time = await _posted(here, process, plan.delivered_events)
            ground.say(f"{run}: webhook: {posted}")
        runs.add(settled=answered.per_second, settled_cpu=answered.cpu_us)
        runs.add(posts=posted.per_second, posts_cpu=posted.cpu_us, at_a_time=at_a_time)
    values = runs.values
    return Part(
        name="deliver",
        title="Deliveries",
        method=METHOD.format(
            events=plan.delivered_events,
            aggregates=plan.drain_aggregates,
            nack_each=NACK_EACH,
            wait_ms=WAIT_S * 1_000,
        ),
        figures=[
            Figure(name="acknowledged, settled per second", unit="/s", values=values["settled"], least=SETTLED_PER_S),
            Figure(name="acknowledged, CPU per event", unit="µs", values=values["settled_cpu"]),
            Figure(name="webhook, posts per second", unit="/s", values=values["posts"], least=POSTS_PER_S),
            Figure(name="webhook, CPU per event", unit="µs", values=values["posts_cpu"]),
            Figure(name="webhook, requests at a time", unit="", values=values["at_a_time"]),
        ],
    )


@asynccontextmanager
async def _read(site: Site, plan: Plan) -> AsyncIterator[tuple[Site, Worker]]:
    """Run a worker that has read all events, and may post to loopback; the site knows what it may."""
    ids = aggregate_ids(plan.drain_aggregates)
    await drain(site, await preload(site, histories(ids, plan.delivered_events)))
    folder = site.folder / "secrets"
    folder.mkdir(mode=0o700)
    secret = folder / SECRET
    secret.write_text("whsec_" + base64.b64encode(secrets.token_bytes(32)).decode())
    secret.chmod(0o600)
    here = Site(_with_webhooks(site, str(folder)), site.folder)
    await put(here, LIVE, {"kinds": [KIND], "start": "now"})
    options = ("--webhook-secrets-dir", str(folder), "--webhook-allow", LOOPBACK)
    async with reading(here, *options) as process:
        await until_joined(here, [LIVE], [], process)
        yield here, process


def _with_webhooks(site: Site, folder: str) -> Settings:
    """Return the settings of a worker that may post to loopback: whoever puts a webhook asks the same of it."""
    given = site.settings
    return load_settings(
        {
            "bootstrap_servers": given.bootstrap_servers,
            "topic_prefix": given.topic_prefix,
            "partitions": given.partitions,
            "webhook_secrets_dir": folder,
            "webhook_allow": LOOPBACK,
        }
    )


async def _answered(site: Site, process: Worker, events: int) -> Delivered:
    """Deliver all to a subscriber that answers."""
    said = {
        "bootstrap_servers": site.settings.bootstrap_servers,
        "source": site.names.subscribers(ANSWERED),
        "target": site.names.acks(ANSWERED),
        "partitions": site.partitions,
        "total": events,
        "nack_each": NACK_EACH,
    }
    before = process.usage()
    await put(site, ANSWERED, {"kinds": [KIND], "delivery": "acknowledged"})
    subscriber = ["-m", "annals.workers.tools.bench.answering", json.dumps(said)]
    async with program(site, "subscriber", subscriber) as answering:
        found = await answering.result(DONE_S)
        await _until_settled(process, ANSWERED, found["answers"])
    cpu_s = process.usage().cpu_s - before.cpu_s
    first = await arrivals(site, site.names.subscribers(ANSWERED))
    last = await arrivals(site, site.names.deliveries(ANSWERED))
    if first.total != events + found["nacks"]:
        raise BenchError(f"of {events} events and {found['nacks']} that were refused {first.total} were delivered")
    return Delivered(1_000 * events / max(1, last.last_ms - first.first_ms), MICRO * cpu_s / events)


async def _posted(site: Site, process: Worker, events: int) -> tuple[Delivered, float]:
    """Deliver all to an endpoint; return also how many requests were open at a time."""
    endpoint = ["-m", "annals.workers.tools.bench.endpoint", json.dumps({"wait_s": WAIT_S})]
    async with program(site, "endpoint", endpoint) as serving, aiohttp.ClientSession() as session:
        url = (await serving.result(STILL_S))["url"]
        before = process.usage()
        webhook = {"url": url, "secrets": [SECRET]}
        await put(site, POSTED, {"kinds": [KIND], "delivery": "webhook", "webhook": webhook})
        await _until_settled(process, POSTED, events)
        cpu_s = process.usage().cpu_s - before.cpu_s
        async with session.get(url) as answer:
            found = await answer.json()
    if found["posts"] < events:
        raise BenchError(f"of {events} events {found['posts']} were posted")
    return Delivered(found["posts"] / max(1e-3, found["seconds"]), MICRO * cpu_s / events), found["at_a_time"]


async def _until_settled(process: Worker, name: str, answers: int) -> None:
    """Wait until so many answers were taken, and nothing is unsettled."""
    before, moved_at = -1.0, perf_counter()
    while True:
        process.require_running()
        samples = await process.metrics()
        taken = samples.total(ANSWERS, subscription=name, result="taken")
        if taken >= answers and not samples.total(UNSETTLED, subscription=name):
            return
        if taken > before:
            before, moved_at = taken, perf_counter()
        if perf_counter() - moved_at > STILL_S:
            raise BenchError(f"no progress for {STILL_S:.0f} s: {taken:.0f} of {answers} answers were taken")
        await asyncio.sleep(LOOK_S)
