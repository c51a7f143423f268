"""What a worker takes in memory with very many aggregates, and its stores and journals on disk by codec."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from annals.workers.tools.bench.figures import Figure, Part, Runs
from annals.workers.tools.bench.ground import KIND
from annals.workers.tools.bench.load import aggregate_ids, histories, preload, register
from annals.workers.tools.bench.parts.chains import verified
from annals.workers.tools.bench.parts.drain import MOST_MB, drain, drained
from annals.workers.tools.bench.programs import worker
from annals.workers.tools.bench.usage import MIB

if TYPE_CHECKING:
    from pathlib import Path

    from annals.workers.tools.bench.ground import Ground, Site
    from annals.workers.tools.bench.plan import Plan

STORE_FILES: Final = {".sst", ".log"}  # tables, and the write-ahead log of what is in none yet

MEMORY: Final = """\
One worker with all registered kinds, 4 partitions of each assigned, begins {aggregates:,} aggregates of
`person` from a backlog; then it ends, and starts again on its stores. At most: the kernel's high-water mark
(VmHWM). Once is enough: memory does not vary as time does.
"""
SIZES: Final = """\
{events:,} events of {aggregates:,} aggregates with random command ids, written with each codec for Kafka and
for RocksDB alike. The journal: bytes of the partitions' log files, headers and markers included. The store:
bytes of RocksDB's files after the worker has ended; state, last CID and the index of command ids. `annals
verify` finds the same under each: blocks and CIDs do not depend on it.
"""


async def measure_memory(ground: Ground, plan: Plan) -> Part:
    """Fill a store with aggregates, and open it again."""
    runs = Runs()
    count = plan.store_aggregates
    ground.say(f"memory: {count:,} aggregates")
    async with ground.site() as site:
        counts = await preload(site, map(register, aggregate_ids(count)))
        async with worker(site) as process:
            filled = await drained(site, counts, [process])
        async with worker(site) as process:
            await process.until_ready()
            usage = process.usage()
            runs.add(filled=filled.peak_mb, rate=filled.per_second, again=usage.peak_bytes / MIB)
        store = store_bytes(site.folder / "data") / count
    values = runs.values
    return Part(
        name="memory",
        title="Memory with many aggregates",
        method=MEMORY.format(aggregates=count),
        figures=[
            Figure(name="worker memory at most, while they begin", unit="MB", values=values["filled"], most=MOST_MB),
            Figure(name="worker memory at most, started again", unit="MB", values=values["again"], most=MOST_MB),
            Figure(name="new aggregates per second", unit="/s", values=values["rate"]),
            Figure(name="store, bytes per aggregate", unit="B", values=[store]),
        ],
    )


async def measure_sizes(ground: Ground, plan: Plan) -> Part:
    """Write the same with each codec."""
    runs = Runs()
    for number in range(plan.runs):
        for codec in plan.codecs:
            ground.say(f"sizes, run {number + 1} of {plan.runs}: {codec}")
            async with ground.site() as site:
                counts = await preload(site, histories(aggregate_ids(plan.drain_aggregates), plan.size_commands))
                took = await drain(site, counts, "--compression", codec, "--store-compression", codec)
                await verified(site, KIND, plan.size_commands)
                runs.add(
                    **{
                        f"{codec} journal": journal_bytes(ground, site) / plan.size_commands,
                        f"{codec} store": store_bytes(site.folder / "data") / plan.size_commands,
                        f"{codec} cpu": took.cpu_us,
                        f"{codec} rate": took.per_second,
                    }
                )
    rows = (
        ("journal", "journal, bytes per event", "B"),
        ("store", "store, bytes per event", "B"),
        ("cpu", "worker CPU per command", "µs"),
        ("rate", "commands per second", "/s"),
    )
    figures = [
        Figure(name=f"{codec}: {said}", unit=unit, values=runs.values[f"{codec} {what}"])
        for what, said, unit in rows
        for codec in plan.codecs
        if any(runs.values[f"{codec} {what}"])
    ]
    method = SIZES.format(events=plan.size_commands, aggregates=plan.drain_aggregates)
    notes = [] if ground.broker_folder else ["The broker is not ours: the size of its files is not known."]
    return Part(name="sizes", title="Bytes per event by codec", method=method, figures=figures, notes=notes)


def journal_bytes(ground: Ground, site: Site) -> int:
    """Return the bytes of the kind's journal in the broker's log files; 0 where the broker is not ours."""
    if ground.broker_folder is None:
        return 0
    folders = ground.broker_folder.glob(f"{site.names.events(KIND)}-*")
    return sum(file.stat().st_size for folder in folders for file in folder.glob("*.log"))


def store_bytes(folder: Path) -> int:
    """Return the bytes of all stores' data files below a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.suffix in STORE_FILES and file.is_file())
