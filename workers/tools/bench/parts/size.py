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
    from collections.abc import Sequence

    from annals.workers.tools.bench.ground import Ground
    from annals.workers.tools.bench.plan import Plan
    from annals.workers.tools.bench.shard_model import Cost

MOST_TIMES: Final = 1.5

METHOD: Final = """\
In this process, without Kafka: partitions of `person` with RocksDB and the caches of a worker's default settings, one
for each size, are filled by the store's own batches (ids of commands in no order). Then, {rounds} times, they take
turns: each is opened as it was filled, and takes {commands:,} commands to its aggregates in turns to fill its caches,
with which it has its size, and as many that are measured: read, decided, sealed, encoded for Kafka and settled in the
store, all by the classes that a worker runs. A figure is the median of its rounds, times the first size that of the
ratios within each round: the machine's speed varies from one minute to the next.
Command: CPU of the thread. Filling: CPU of all threads, RocksDB's own included, from an empty store up to the size.
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
    method = METHOD.format(commands=plan.seen_sample, rounds=plan.seen_rounds, runs=plan.runs)
    return Part(name="size", title="A command, by what was before it", method=method, figures=figures)


def _measured(ground: Ground, plan: Plan, shape: Shape) -> list[Figure]:
    folder = ground.folder / "size"
    models: list[ShardModel] = []
    filling: list[float] = []
    try:
        for size in shape.sizes:
            ground.say(f"size: {shape.name}, {size:,} commands before")
            (folder / str(size)).mkdir(parents=True)
            models.append(ShardModel(folder / str(size), Settings()))
            before = size - plan.seen_sample  # the rest fills the caches
            filling.append(models[-1].fill(before, shape.aggregates or before))
        costs = [Runs() for _ in models]
        for number in range(plan.runs):
            ground.say(f"size: {shape.name}, run {number + 1} of {plan.runs}: in turns")
            for run, medians in zip(costs, in_turns(models, plan), strict=True):
                run.add(**medians)
        outside = models[-1].store.index_and_filter_bytes() / MIB
    finally:
        for model in models:
            model.store.close()
        shutil.rmtree(folder)
    figures: list[Figure] = []
    for size, run, filled in zip(shape.sizes, costs, filling, strict=True):
        name, values = f"{shape.name}, {size:,} before", run.values
        figures += [
            Figure(name=f"{name}: command", unit="µs", values=values["command"]),
            Figure(name=f"{name}: times the first size", unit="", values=values["times"], most=MOST_TIMES),
            Figure(name=f"{name}: look-up of a new id", unit="µs", values=values["new"]),
            Figure(name=f"{name}: look-up of a known id", unit="µs", values=values["known"]),
            Figure(name=f"{name}: filling, all threads", unit="µs", values=[filled]),
        ]
    return [*figures, Figure(name=f"{shape.name}: index and filters beside the cache", unit="MB", values=[outside])]


def in_turns(models: Sequence[ShardModel], plan: Plan) -> list[dict[str, float]]:
    """Return what a command takes at each size, as medians of rounds in which all have their turn."""
    rounds = [[_cost(model, plan) for model in models] for _ in range(plan.seen_rounds)]
    return [
        {
            "command": median(cost.command_us for cost in costs),
            "times": median(cost.command_us / each[0].command_us for cost, each in zip(costs, rounds, strict=True)),
            "new": median(cost.new_us for cost in costs),
            "known": median(cost.known_us for cost in costs),
        }
        for costs in zip(*rounds, strict=True)
    ]


def _cost(model: ShardModel, plan: Plan) -> Cost:
    model.reopen()  # or the aggregates of a small partition would be in memory after some rounds, those of a large not
    model.cost(plan.seen_sample)  # fills the caches
    return model.cost(plan.seen_sample)
