"""The measures of publishers, each taken out: what a mutation changes, for a test that must go red with it."""

from collections.abc import Callable
from typing import Any

import pytest
from aiokafka.structs import TopicPartition

from annals.agents.ports import UncertainError
from annals.agents.publishing import restored
from annals.agents.publishing.delivering.machine import Deliveries
from annals.agents.publishing.delivering.ports import DeliveryWrites
from annals.agents.publishing.ports import Writes
from annals.agents.reading.following import history
from annals.workers.kafka.read.ranges import bounds
from annals.workers.publishing import log
from annals.workers.publishing.delivery_log import KafkaDeliveryLog
from annals.workers.publishing.log import KafkaPublishLog
from annals.workers.publishing.reached import Reached

Patch = Callable[[pytest.MonkeyPatch], None]


async def yes(*_: Any) -> bool:
    return True


async def nothing(*_: Any) -> None:
    return None


def fence_before_progress(patch: pytest.MonkeyPatch) -> None:
    """A publisher reads where it goes on before it fences the one before it."""
    fence, commit = KafkaPublishLog.fence, KafkaPublishLog.commit
    late: set[KafkaPublishLog] = set()

    async def later(self: Any) -> None:
        if self._name is None:
            late.add(self)
        else:
            await fence(self)

    async def fencing(self: Any, writes: Writes) -> None:
        if self in late:
            late.discard(self)
            await fence(self)
        await commit(self, writes)

    patch.setattr(KafkaPublishLog, "fence", later)
    patch.setattr(KafkaPublishLog, "commit", fencing)


def event_of_the_progress(patch: pytest.MonkeyPatch) -> None:
    """The event that the progress names is not compared with the journal's."""
    patch.setattr(history, "is_in_place", yes)
    patch.setattr(restored, "is_in_place", yes)


def uncertain_read_again(patch: pytest.MonkeyPatch) -> None:
    """What is uncertain is taken for not committed, and written again."""
    commit = KafkaPublishLog.commit

    async def twice(self: Any, writes: Writes) -> None:
        try:
            await commit(self, writes)
        except UncertainError:
            await self.fence()
            await commit(self, writes)

    patch.setattr(KafkaPublishLog, "commit", twice)


def progress_with_the_records(patch: pytest.MonkeyPatch) -> None:
    """Progress is written behind the records that it is of."""
    commit = KafkaPublishLog.commit

    async def in_two(self: Any, writes: Writes) -> None:
        if writes.records:
            await commit(self, writes._replace(progress={}))
        await commit(self, writes._replace(records={}))

    patch.setattr(KafkaPublishLog, "commit", in_two)


def settled_progress(patch: pytest.MonkeyPatch) -> None:
    """Progress is read while transactions are open."""

    async def stable_end(client: Any, where: TopicPartition) -> int:
        return (await bounds(client, [where]))[where][1]

    patch.setattr(log, "settled_end", stable_end)


def reached_progress(patch: pytest.MonkeyPatch) -> None:
    """A new owner does not compare the topic of progress with what the group's offset says of it."""
    patch.setattr(Reached, "require", nothing)


def order_of_an_aggregate(patch: pytest.MonkeyPatch) -> None:
    """The next event of an aggregate is delivered before the one before it is acknowledged."""
    begin = Deliveries.__init__

    def unordered(self: Any, *asked: Any, **more: Any) -> None:
        begin(self, *asked, **more | {"ordered": False})

    patch.setattr(Deliveries, "__init__", unordered)


def rows_with_the_progress(patch: pytest.MonkeyPatch) -> None:
    """What is not acknowledged yet is written behind the progress that passes it."""
    deliver = KafkaDeliveryLog.deliver

    async def in_two(self: Any, writes: DeliveryWrites) -> None:
        await deliver(self, writes._replace(rows={}))
        await deliver(self, writes._replace(records=(), moved=(), dead=(), parked=()))

    patch.setattr(KafkaDeliveryLog, "deliver", in_two)


MEASURES: list[Patch] = [
    fence_before_progress,
    event_of_the_progress,
    uncertain_read_again,
    progress_with_the_records,
    settled_progress,
    reached_progress,
]
OF_DELIVERY: list[Patch] = [order_of_an_aggregate, rows_with_the_progress]
