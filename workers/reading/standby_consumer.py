"""Reads the journals of a process's standbys, by a consumer outside of the group.

Nobody assigns these partitions. They are fetched whole, as the group's are; the consumer is there while standbys are.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import structlog
from aiokafka.errors import KafkaError

from annals.agents.backoff import Backoff
from annals.agents.cancellation import is_task_cancelled
from annals.agents.waiting import ended
from annals.workers.kafka.connections import stop_consumer
from annals.workers.kafka.group.header_names import reading_consumer
from annals.workers.kafka.group.sources import Sources
from annals.workers.kafka.group.transport import IDLE_POLL_S, JOURNALS, deliveries_of, fetched_by

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from aiokafka import AIOKafkaConsumer
    from aiokafka.structs import TopicPartition

    from annals.agents.ports import Delivery

log = structlog.get_logger(__name__)

FIRST_RETRY_S: Final = 0.5
LAST_RETRY_S: Final = 10.0


class StandbyConsumer:
    """Fetches the partitions of standbys, and delivers what it fetched."""

    def __init__(
        self, options: Mapping[str, Any], deliver: Callable[[Delivery], None], go_on: Callable[[], None]
    ) -> None:
        """Take aiokafka client options.

        deliver: takes what a fetch brought; go_on: has every standby say from where it is to be delivered to.
        """
        self._options = options
        self._deliver = deliver
        self._go_on = go_on
        self._wanted: frozenset[TopicPartition] = frozenset()
        self._task: asyncio.Task[None] | None = None
        self.sources: Final = Sources(of_journals=True)

    def follow(self, partitions: Iterable[TopicPartition]) -> None:
        """Fetch these partitions from now on, and no others."""
        self._wanted = frozenset(partitions)
        self.sources.changed.set()
        if self._wanted and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._run(), name="standby consumer")

    async def close(self) -> None:
        """Fetch nothing more, and disconnect."""
        self._wanted = frozenset()
        if self._task is not None:
            await ended(self._task)

    async def _run(self) -> None:
        backoff = Backoff(FIRST_RETRY_S, LAST_RETRY_S)
        while self._wanted:
            consumer = reading_consumer(**self._options, **JOURNALS, group_id=None)
            try:
                await consumer.start()
                self.sources.attach(consumer)
                await self._fetch(consumer, backoff)
            except (KafkaError, OSError, TimeoutError, RuntimeError, asyncio.CancelledError) as error:
                if is_task_cancelled():
                    raise
                log.warning("standbys are not read at present", error=f"{type(error).__name__}: {error}")
            finally:
                self.sources.detach()
                with suppress(KafkaError, OSError, TimeoutError):
                    await stop_consumer(consumer)
            if self._wanted:
                await backoff.wait()

    async def _fetch(self, consumer: AIOKafkaConsumer, backoff: Backoff) -> None:
        """Fetch and deliver until no partition is wanted.

        Raises:
            RuntimeError: a task of aiokafka has ended.
        """
        assigned: frozenset[TopicPartition] = frozenset()
        while wanted := self._wanted:
            if wanted != assigned:
                consumer.assign(sorted(wanted))
                self.sources.reassign()  # before anything is awaited: no position is looked up or made up
                assigned = wanted
                self._go_on()
            if not self.sources.open:
                self.sources.changed.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(IDLE_POLL_S):
                        await self.sources.changed.wait()
                continue
            fetched = await fetched_by(consumer, self.sources.open)
            # no await between the fetch and this: a seek cannot come between records and their generation
            for delivery in deliveries_of(fetched, self.sources):
                self._deliver(delivery)
            backoff.reset()
