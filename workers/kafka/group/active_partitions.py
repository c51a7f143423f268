"""Busy partitions are asked for at each fetch, quiet ones every ten milliseconds (docs/adr/0018-quiet-partitions.md).

A worker of all kinds has dozens of partitions, of which a few are busy at a time. Under load it fetches hundreds of
times a second, and each fetch costs broker and worker something for each partition that it names, with news or without.
Who reads may leave some time between two fetches: what comes meanwhile comes together.
"""

from __future__ import annotations

import asyncio
from math import ceil
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from aiokafka.consumer.fetcher import Fetcher
from aiokafka.structs import TopicPartition

from annals.workers.kafka.group.lone_batches import prove_lone

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from annals.workers.kafka.protocol.fetches import QuickFetchRequest

    Topics = Sequence[tuple[str, Sequence[tuple[int, int, int]]]]  # of each partition its number, offset and most bytes

QUIET_AFTER_S: Final = 1.0
MANY_RECORDS: Final = 8  # with a fetch
QUIET_WAIT_S: Final = 0.01  # so much later than without this a quiet partition's first command may be fetched


class ActivePartitions:
    """Says which partitions a fetch asks for. Times are of one monotonic clock, in seconds."""

    def __init__(self) -> None:
        """Begin with all of them quiet."""
        self._last_records: dict[TopicPartition, float] = {}
        self._due: dict[int, float] = {}

    def note_records(self, partitions: Iterable[TopicPartition], now: float) -> None:
        """Take that these partitions had records."""
        self._last_records.update(dict.fromkeys(partitions, now))

    def narrow(self, node: int, topics: Topics, now: float) -> tuple[Topics, float] | None:
        """Return the busy partitions alone, and for how long a broker may be asked for them; None: ask for all.

        All are asked for where it is their time, or where none is busy: then one question waits for any of them.
        """
        left_s = self._due.get(node, now) - now
        if left_s > 0:
            since, last = now - QUIET_AFTER_S, self._last_records
            busy = [
                (topic, chosen)
                for topic, partitions in topics
                if (chosen := [each for each in partitions if last.get(TopicPartition(topic, each[0]), since) > since])
            ]
            if busy:
                return busy, left_s
        self._due[node] = now + QUIET_WAIT_S
        return None


class FetchInterval:
    """Keeps some time between the beginnings of two fetches from a broker.

    A fetch that waits for news waits at the broker, so that what comes after a quiet time is there at once. At a high
    rate more time is kept: what a fetch costs beside its records is then shared by more of them.
    """

    def __init__(self, seconds: float, busy_s: float | None = None) -> None:
        """Take the seconds; 0: no time at all. busy_s: the same behind a fetch that brought many records."""
        self._seconds = self._quiet_s = seconds
        self._busy_s = seconds if busy_s is None else busy_s
        self._due: dict[int, float] = {}

    def note_records(self, count: int) -> None:
        """Take how many records came with a fetch."""
        self._seconds = self._busy_s if count >= MANY_RECORDS else self._quiet_s

    def left_s(self, node: int, now: float) -> float:
        """Return the seconds for which the next fetch, which is ready now, has to wait."""
        begin = max(now, self._due.get(node, now))
        self._due[node] = begin + self._seconds
        return begin - now

    async def until_due(self, node: int) -> None:
        """Wait until the next fetch may begin."""
        if left_s := self.left_s(node, monotonic()):
            await asyncio.sleep(left_s)


class AttentiveFetcher(Fetcher):
    """aiokafka's fetcher, which asks for all partitions alike and at once until it is told otherwise."""

    active_partitions: ActivePartitions | None = None
    interval: FetchInterval | None = None

    def _get_actions_per_node(self, assignment: Any) -> tuple[Any, ...]:
        requests, *others = super()._get_actions_per_node(assignment)
        if self.active_partitions is not None:
            now = monotonic()
            requests = [(node, _narrowed(request, self.active_partitions, node, now)) for node, request in requests]
        return requests, *others

    async def _proc_fetch_request(self, assignment: Any, node_id: int, request: QuickFetchRequest) -> Any:
        if self.interval is not None:
            try:
                await self.interval.until_due(node_id)
            except asyncio.CancelledError:  # as aiokafka does: whoever cancels a fetch waits for its answer
                return False
            if not assignment.active:
                return False
        has_news = await super()._proc_fetch_request(assignment, node_id, request)
        if has_news and self.active_partitions is not None:
            self.active_partitions.note_records(self._records, monotonic())
        if has_news:
            try:
                await prove_lone(self._client, node_id, assignment, self._records)
            except asyncio.CancelledError:  # as aiokafka does, here too
                return False
        return has_news


def _narrowed(
    request: QuickFetchRequest, active_partitions: ActivePartitions, node: int, now: float
) -> QuickFetchRequest:
    found = active_partitions.narrow(node, request.topics, now)
    if found is None:
        return request
    busy, wait_s = found
    return request.narrowed(busy, ceil(wait_s * 1000))
