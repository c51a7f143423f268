"""Whether a command costs the same whatever its partition has seen before."""

from __future__ import annotations

import asyncio
import shutil
from statistics import median
from typing import TYPE_CHECKING, Final, NamedTuple

from annals.workers.settings import Settings
from annals.workers.tools.bench.figures import Figure, Part, Runs
from annals.workers.tools.bench.shard_model import ShardModel
from annals.workers.tools.bench.usage import MIB

if TYPE_CHECKING:
    from annals.workers.tools.bench.ground import Ground
    from annals.workers.tools.bench.plan import Plan

MOST_TIMES: Final = 1.2

METHOD: Final = """\
In this process, without Kafka: one partition of `person` with RocksDB and the caches of a worker's default settings
is filled by the store's own batches (ids of commands in no order), closed and opened again. Then {commands:,} commands
to its aggregates in turns are read, decided, sealed, encoded for Kafka and settled in the store, all by the classes
that a worker runs.
Command: CPU of the thread. Filling: CPU of all threads, RocksDB's own included, from the size before up to this one.
{runs} times at each size.
"""


class Shape(NamedTuple):
    """What the partition has seen: at each size so many commands, to as many aggregates; None: one each."""

    name: str
    aggregates: int | None
    sizes: tuple[int, ...]


async def measure_size(ground: Ground, plan: Plan) -> Part:
    """Measure the same commands at each size."""
    ends = plan.seen_commands[0], plan.seen_commands[-1]
    shapes = [
        Shape("200 aggregates", 200, plan.seen_commands),
        Shape("10 aggregates", 10, ends),
        Shape("an event each", None, plan.seen_aggregates),
    ]
    figures = []
    for shape in shapes:
        figures += await asyncio.to_thread(_measured, ground, plan, shape)
    method = METHOD.format(commands=plan.seen_sample, runs=plan.runs)
    return Part(name="size", title="A command, by what was before it", method=method, figures=figures)


def _measured(ground: Ground, plan: Plan, shape: Shape) -> list[Figure]:
    folder = ground.folder / "size"
    model = ShardModel(folder, Settings())
    figures: list[Figure] = []
    base = 0.0
    try:
        for size in shape.sizes:
            ground.say(f"size: {shape.name}, {size:,} commands before")
            filling = model.fill(size, shape.aggregates or size)
            model.reopen()
            values = _costs(model, plan)
            base = base or median(values["command"])
            name = f"{shape.name}, {size:,} before"
            figures += [
                Figure(name=f"{name}: command", unit="µs", values=values["command"]),
                Figure(name=f"{name}: times the first size", unit="", values=_times(values, base), most=MOST_TIMES),
                Figure(name=f"{name}: look-up of a new id", unit="µs", values=values["new"]),
                Figure(name=f"{name}: look-up of a known id", unit="µs", values=values["known"]),
                Figure(name=f"{name}: filling, all threads", unit="µs", values=[filling]),
            ]
        outside = model.store.index_and_filter_bytes() / MIB
        figures.append(Figure(name=f"{shape.name}: index and filters beside the cache", unit="MB", values=[outside]))
    finally:
        model.store.close()
        shutil.rmtree(folder)
    return figures


def _costs(model: ShardModel, plan: Plan) -> dict[str, list[float]]:
    runs = Runs()
    model.cost(plan.seen_sample)  # brings back what filling has thrown out of the caches
    for _ in range(plan.runs):
        cost = model.cost(plan.seen_sample)
        runs.add(command=cost.command_us, new=cost.new_us, known=cost.known_us)
    return runs.values


def _times(values: dict[str, list[float]], base: float) -> list[float]:
    return [value / base for value in values["command"]]
