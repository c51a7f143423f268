"""Where many partitions end for readers of what is committed: asked for together, once a second, by one client."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import structlog
from aiokafka.errors import KafkaError

from annals.agents.cancellation import is_task_cancelled
from annals.agents.waiting import ended
from annals.workers.kafka.connections import connect
from annals.workers.kafka.read.offsets import LAST, LAST_STABLE, list_offsets

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aiokafka.client import AIOKafkaClient
    from aiokafka.structs import TopicPartition


log = structlog.get_logger(__name__)

INTERVAL_S: Final = 1.0  # what was written within it is folded by whoever takes the partition over
FAILURES: Final = (KafkaError, OSError, TimeoutError, AssertionError)


class _Asked(NamedTuple):
    """Where a partition ended, and in the how manieth question that was asked."""

    end: int
    question: int


class StableEnds:
    """The last stable offsets of the partitions that somebody waits for, and the client that asks for them."""

    def __init__(self, options: Mapping[str, Any], topics: Sequence[str], interval_s: float = INTERVAL_S) -> None:
        """Take aiokafka client options, and the topics. Nothing is connected before it is needed."""
        self._options = options
        self._topics = topics
        self._interval_s = interval_s
        self._client: AIOKafkaClient | None = None
        self._connecting = asyncio.Lock()
        self._waiting: dict[TopicPartition, int] = {}
        self._ends: dict[TopicPartition, _Asked] = {}
        self._questions = 0
        self._looked = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None

    async def client(self) -> AIOKafkaClient:
        """Return the client, which is connected and knows the leaders of the topics.

        Raises:
            KafkaError: no broker answers.
        """
        async with self._connecting:
            if self._client is None:
                self._client = await connect(self._options, self._topics)
            return self._client

    def end(self, where: TopicPartition) -> int | None:
        """Return where a partition ended when it was looked at last; None before that."""
        return self._ends[where].end if where in self._ends else None

    async def until_moved(self, where: TopicPartition, offset: int) -> int:
        """Wait until a partition ends elsewhere than at an offset; return where. Failures to ask are waited out.

        It ends lower only if that was asked since: whoever waits may have read beyond an older end.
        """
        if self._looking is None:
            self._looking = asyncio.create_task(self._look(), name="ends of journals")
        self._waiting[where] = self._waiting.get(where, 0) + 1
        questions = self._questions
        try:
            while True:
                await self._looked.wait()
                end, question = self._ends.get(where, _Asked(offset, 0))
                if end > offset or (end < offset and question > questions):
                    return end
        finally:
            self._waiting[where] -= 1
            if not self._waiting[where]:
                del self._waiting[where]

    async def close(self) -> None:
        """Ask no more, and disconnect."""
        if self._looking is not None:
            await ended(self._looking)
        async with self._connecting:
            if self._client is not None:
                await self._client.close()

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(self._interval_s)
            try:
                await self._ask()
            except asyncio.CancelledError:  # aiokafka's own, of a connection that broke
                if is_task_cancelled():
                    raise
            except Exception:  # all standbys would wait for good, and nothing would say so
                log.exception("the ends of journals could not be asked for")
            self._looked.set()
            self._looked = asyncio.Event()

    async def _ask(self) -> None:
        wheres = sorted(self._waiting)
        if not wheres:
            return
        self._questions += 1
        try:
            await self._ask_for(wheres)
        except FAILURES:
            for where in wheres:  # one without a leader holds up no other
                with suppress(*FAILURES):
                    await self._ask_for([where])

    async def _ask_for(self, wheres: Sequence[TopicPartition]) -> None:
        question = self._questions
        ends = await list_offsets(await self.client(), LAST_STABLE, LAST, wheres)
        self._ends |= {where: _Asked(end, question) for where, end in ends.items()}
