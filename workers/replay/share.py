"""A share of the partitions, replayed side by side in one process."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, NamedTuple

from aiokafka.structs import TopicPartition

from annals.agents.waiting import ended
from annals.workers.kafka.connections import connect
from annals.workers.kafka.read.ranges import read_range
from annals.workers.replay.pace import Pace
from annals.workers.replay.partition import PartitionReplay
from annals.workers.replay.targets import sinks
from annals.workers.settings import client_options

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from annals.workers.audit.journals import Journal
    from annals.workers.replay.plan import Plan, Step
    from annals.workers.settings import Settings


class Part(NamedTuple):
    """A journal partition, and from which offset on its events are asked for. behind: the CID of the event before."""

    journal: Journal
    position: int
    behind: str | None = None


async def replay_share(settings: Settings, plan: Plan, parts: Sequence[Part], tell: Callable[[Step], None]) -> None:
    """Replay partitions, each by a task of its own; the first that fails ends them all.

    Raises:
        GapError: events are missing.
        HandlerFailedError: a handler failed for good.
        ReplayError: there is no such target, or a journal is another one than it was.
        KafkaError: the brokers do not give or take what they should.
        RangeGoneError: a journal was cut while it was read.
    """
    client = await connect(client_options(settings), sorted({part.journal.place.topic for part in parts}))
    pace = Pace(plan.rate)
    try:
        async with sinks(settings, plan) as make_sink:

            async def replay(part: Part) -> None:
                place, start, end = part.journal
                one = PartitionReplay(place, part.position, plan.selection, make_sink(), pace, tell, part.behind)
                async with aclosing(
                    read_range(client, TopicPartition(place.topic, place.partition), start, end)
                ) as steps:
                    await one.run(steps, end)

            tasks = [asyncio.create_task(replay(part)) for part in parts]
            try:
                await asyncio.gather(*tasks)
            finally:
                await ended(*tasks)
    finally:
        await client.close()
