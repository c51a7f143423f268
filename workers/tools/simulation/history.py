"""One history from its plan to its judgement."""

from __future__ import annotations

import gc
import hashlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog

from annals.workers.tools.simulation.checker import Excuses, check
from annals.workers.tools.simulation.world import World

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from annals.workers.tools.simulation.plan import Plan

MUTE = 50  # nothing is logged as critical


class History(NamedTuple):
    """What became of a plan."""

    plan: Plan
    problems: list[str]
    digest: bytes
    counts: Mapping[str, int]
    seconds: float
    trace: list[str]


def run(plan: Plan) -> History:
    """Let a plan happen, and judge what is left."""
    with _alone():
        world = World(plan)
        world.run()
        logs = world.all_logs()
        problems = [*world.problems, *check(logs, plan.snapshot_every, _excuses(world))]
    digest = hashlib.sha256()
    for where in sorted(logs):
        if where[0].startswith("events."):
            for entry in logs[where]:
                digest.update(entry.status.value.encode() + entry.data)
    return History(plan, problems, digest.digest(), world.counts, world.loop.time(), world.log)


def _excuses(world: World) -> Excuses:
    starts = {where: log.start for where, log in world.model.logs.items()}
    cut = world.cut.keys() | world.given_up
    again = cut & (world.lost_offsets.keys() | world.lost_outcomes)
    return Excuses(
        world.strangers,
        world.lost_offsets.keys() | world.set_back,
        world.lost_events,
        world.lost_answers,
        starts,
        again,
    )


@contextmanager
def _alone() -> Iterator[None]:
    """Without the shards' logs, and without a collector that would end generators at a time of its own."""
    before: dict[str, Any] = structlog.get_config()
    was_collecting = gc.isenabled()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(MUTE))
    gc.disable()
    try:
        yield
    finally:
        structlog.configure(**before)
        if was_collecting:
            gc.enable()
