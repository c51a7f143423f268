"""How long the commands of a killed worker's partitions wait for another one."""

from __future__ import annotations

import asyncio
import itertools
from time import perf_counter
from typing import TYPE_CHECKING, Final

from annals.workers.tools.bench.figures import Figure, Part
from annals.workers.tools.bench.ground import KIND
from annals.workers.tools.bench.load import Pacer, aggregate_ids, preload, register
from annals.workers.tools.bench.programs import BenchError, worker
from annals.workers.tools.bench.watching import event_command, tailing

if TYPE_CHECKING:
    from annals.workers.tools.bench.ground import Ground, Site
    from annals.workers.tools.bench.plan import Plan
    from annals.workers.tools.bench.programs import Worker
    from annals.workers.tools.bench.watching import Tail

RATE: Final = 100
AGGREGATES: Final = 200
BEFORE_S: Final = 1.0
LONGEST_S: Final = 60.0
SEEN_S: Final = 30.0
LOOK_S: Final = 0.05
MOST_S: Final = 15.0

METHOD: Final = f"""\
Two workers share 4 partitions of each kind; commands to {AGGREGATES} aggregates come at {RATE}/s. One of the
two is killed with SIGKILL. The time is from the kill until, in the last of its partitions of `person`, the
event of a command that was sent after the kill can be read. Every command that was sent has its event in the
end.
"""


async def measure_takeover(ground: Ground, plan: Plan) -> Part:
    """Kill a worker, as many times as planned."""
    seconds = []
    for number in range(plan.runs):
        ground.say(f"takeover, run {number + 1} of {plan.runs}")
        async with ground.site() as site:
            seconds.append(await _takeover(site))
    figure = Figure(name="kill -9 to the next answer", unit="s", values=seconds, most=MOST_S)
    return Part(name="takeover", title="Takeover after a kill", method=METHOD, figures=[figure])


async def _takeover(site: Site) -> float:
    ids = aggregate_ids(AGGREGATES)
    await preload(site, map(register, ids))
    async with worker(site, data="one") as survivor, worker(site, data="two") as victim:
        await until_shared(site, [survivor, victim])
        lost = victim.partitions(KIND)
        async with tailing(site, site.names.events(KIND), event_command) as tail:
            pacer = Pacer(site, RATE)
            sending = asyncio.create_task(pacer.run(ids, LONGEST_S))
            await asyncio.sleep(BEFORE_S)
            victim.kill()
            killed = perf_counter()
            try:
                answered = await until_answered(tail, pacer, lost, killed)
            finally:
                pacer.stop()
                await sending
            await tail.until_seen(pacer.sent_at, SEEN_S)
    return answered - killed


async def until_shared(site: Site, workers: list[Worker]) -> None:
    """Wait until all are ready, and the kind's partitions are shared out among them.

    Raises:
        BenchError: it took too long.
    """
    try:
        async with asyncio.timeout(LONGEST_S):
            while True:
                for process in workers:
                    await process.until_ready()
                shares = [process.partitions(KIND) for process in workers]
                if all(shares) and sorted(itertools.chain(*shares)) == list(range(site.partitions)):
                    return
                await asyncio.sleep(LOOK_S)
    except TimeoutError:
        raise BenchError("the workers did not share the partitions") from None


async def until_answered(tail: Tail, pacer: Pacer, lost: set[int], killed: float) -> float:
    """Wait for an answer to a command sent after the kill, in each lost partition; return when the last one came."""
    first: dict[int, float] = {}
    looked: set[bytes] = set()
    deadline = killed + LONGEST_S
    while first.keys() < lost:
        if perf_counter() > deadline:
            raise BenchError(f"no answers in partitions {sorted(lost - first.keys())} within {LONGEST_S:.0f} s")
        await asyncio.sleep(LOOK_S)
        for command_id in tail.seen_at.keys() - looked:
            looked.add(command_id)
            partition, seen = tail.seen_at[command_id]
            if partition in lost and pacer.sent_at.get(command_id, 0.0) > killed:
                first[partition] = min(seen, first.get(partition, seen))
    return max(first.values())
