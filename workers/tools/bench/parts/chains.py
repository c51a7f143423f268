"""How fast chains are verified, and what a long one costs to append to."""

from __future__ import annotations

import json
import os
import resource
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from annals.workers.tools.bench.figures import Figure, Part, Runs
from annals.workers.tools.bench.ground import KIND
from annals.workers.tools.bench.load import aggregate_ids, histories, preload, rename
from annals.workers.tools.bench.parts.drain import MICRO, drain
from annals.workers.tools.bench.programs import ANNALS, BenchError, program, worker
from annals.workers.tools.bench.watching import until_decided

if TYPE_CHECKING:
    from collections.abc import Mapping

    from annals.workers.tools.bench.ground import Ground, Site
    from annals.workers.tools.bench.plan import Plan
    from annals.workers.tools.bench.programs import Worker

EMPTY_KIND: Final = "agent"
SHORTEST_S: Final = 0.001
LEAST_PER_S: Final = 80_000.0
MOST_TIMES: Final = 1.2
VERIFY_S: Final = 600.0
OLD: Final = "person-old"
WARM: Final = "person-warm"
ROUNDS: Final = 3  # of appending, in each run: a ratio of two small times needs more of them

VERIFY: Final = """\
`annals verify person --json` as a process, from its start to its exit, on journals of {events:,} events of
{aggregates:,} aggregates, with one process for the work and with one per core ({cores}); then `annals verify
person ID` on one aggregate of {chain:,} events. What the same command takes on an empty journal is taken off
each, and shown by itself. CPU: of all its processes.
"""
APPEND: Final = """\
One aggregate has {chain:,} events. To it, and to one that is new, {commands:,} commands are appended in turns,
{rounds} times in each run; the figure is the worker's CPU per command on the one by that on the other, of one
process that does both.
"""


async def measure_verify(ground: Ground, plan: Plan) -> Part:
    """Verify journals and one long chain, as many times as planned."""
    runs = Runs()
    events, chain = plan.backlog_commands, plan.chain_events
    cores = os.cpu_count() or 1
    ground.say(f"verify: preparing {events:,} events")
    async with ground.site() as site:
        await drain(site, await preload(site, histories(aggregate_ids(plan.drain_aggregates), events)))
        for number in range(plan.runs):
            ground.say(f"verify, run {number + 1} of {plan.runs}")
            start = await verified(site, EMPTY_KIND, 0)
            alone = await verified(site, KIND, events, "--processes", "1")
            every = await verified(site, KIND, events)
            runs.add(
                start=start.seconds,
                alone=alone.per_second(start),
                every=every.per_second(start),
                cpu=MICRO * max(every.cpu_s - start.cpu_s, 0.0) / events,
            )
    ground.say(f"verify: preparing an aggregate of {chain:,} events")
    async with ground.site() as site:
        await drain(site, await preload(site, histories([OLD], chain)))
        for _ in range(plan.runs):
            start = await verified(site, EMPTY_KIND, 0)
            runs.add(chain=(await verified(site, KIND, chain, OLD)).per_second(start))
    values = runs.values
    sizes: dict[str, Any] = {"events": events, "aggregates": plan.drain_aggregates, "chain": chain, "cores": cores}
    return Part(
        name="verify",
        title="Verification",
        method=VERIFY.format(**sizes),
        figures=[
            Figure(name="events per second, one process", unit="/s", values=values["alone"], least=LEAST_PER_S),
            Figure(name=f"events per second, {cores} processes", unit="/s", values=values["every"], least=LEAST_PER_S),
            Figure(name="CPU per event, all processes", unit="µs", values=values["cpu"]),
            Figure(name="events per second, one aggregate", unit="/s", values=values["chain"], least=LEAST_PER_S),
            Figure(name="start and end of the command", unit="s", values=values["start"]),
        ],
    )


class Verified(NamedTuple):
    """What a run of `annals verify` took, its processes' CPU together."""

    events: int
    seconds: float
    cpu_s: float

    def per_second(self, start: Verified) -> float:
        """Return events per second, behind what a run without events takes."""
        return self.events / max(self.seconds - start.seconds, SHORTEST_S)


async def verified(site: Site, kind: str, events: int, *arguments: str) -> Verified:
    """Verify a kind's journals, or an aggregate.

    Raises:
        BenchError: it did not find so many events, and all good.
    """
    settings = site.settings
    connection = ["--bootstrap-servers", settings.bootstrap_servers, "--topic-prefix", settings.topic_prefix]
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), perf_counter()
    command = [*ANNALS, "verify", kind, *arguments, "--json", *connection]
    async with program(site, "verify", command) as process:
        found = await process.result(VERIFY_S)
        await process.until_over(VERIFY_S)
    seconds, after = perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if found["events"] != events or found["broken"]:
        raise BenchError(f"verify found {json.dumps(found)[:500]} instead of {events} good events")
    return Verified(events, seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


async def measure_append(ground: Ground, plan: Plan) -> Part:
    """Append to an aggregate with a long history and to new ones, in turns."""
    ratios, old_us, new_us = [], [], []
    ground.say(f"append: preparing an aggregate of {plan.chain_events:,} events")
    async with ground.site() as site:
        counts: dict[int, int] = {}
        async with worker(site) as process:
            await process.until_ready()
            await _appended(site, process, counts, OLD, plan.chain_events)
            await _appended(site, process, counts, WARM, plan.append_commands)
            for number in range(plan.runs):
                ground.say(f"append, run {number + 1} of {plan.runs}")
                old = new = 0.0
                for turn in range(ROUNDS):
                    old += await _appended(site, process, counts, OLD, plan.append_commands)
                    new += await _appended(site, process, counts, f"new-{number}-{turn}", plan.append_commands)
                done = ROUNDS * plan.append_commands
                old_us.append(MICRO * old / done)
                new_us.append(MICRO * new / done)
                ratios.append(old / new if new else 1.0)
    sizes = {"chain": plan.chain_events, "commands": plan.append_commands, "rounds": ROUNDS}
    return Part(
        name="append",
        title="Appending to a long chain",
        method=APPEND.format(**sizes),
        figures=[
            Figure(name="worker CPU per command, long chain", unit="µs", values=old_us),
            Figure(name="worker CPU per command, new chain", unit="µs", values=new_us),
            Figure(name="long chain to new chain", unit="", values=ratios, most=MOST_TIMES),
        ],
    )


async def _appended(site: Site, process: Worker, counts: dict[int, int], aggregate_id: str, commands: int) -> float:
    """Append to one aggregate, beginning it if it is new; return the worker's CPU seconds."""
    is_new = aggregate_id != OLD or not counts
    before = process.usage()
    some = histories([aggregate_id], commands) if is_new else (rename(aggregate_id) for _ in range(commands))
    _add(counts, await preload(site, some))
    _, last = await until_decided(site, site.names.commands(KIND), counts, [process])
    return last.usages[0].cpu_s - before.cpu_s


def _add(counts: dict[int, int], more: Mapping[int, int]) -> None:
    for partition, count in more.items():
        counts[partition] = counts.get(partition, 0) + count
