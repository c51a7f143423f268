"""A subscriber that answers: what it takes it keeps in a file, and what it cannot take it refuses, and then parks.

Everything that it did is known from its file and from Kafka: an interrupted run goes on where it was.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

import msgspec
from aiokafka import AIOKafkaProducer

from annals.topics.names import TopicNames
from annals.workers.client.subscriber import BEGINNING, subscribed
from annals.workers.kafka.connections import creating_nothing
from annals.workers.settings import client_options
from annals.workers.tools.demo.teller import expect

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from annals.workers.client.subscriber import SubscriberRecord
    from annals.workers.settings import Settings

FILE: Final = "subscriber.ndjson"
POISON: Final = "ModelConfigured"
WITHIN_S: Final = 180.0


class Taken(msgspec.Struct, frozen=True):
    """An event that was taken, once. aggregate: as `person/p-1`."""

    cid: str
    aggregate: str
    version: int


class _Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """A line of the file: an event that was taken, or a model that is known from now on."""

    taken: Taken | None = None
    knows: str | None = None


class Books:
    """What the subscriber has taken, in its order, and which models it knows: an event of another is poison to it."""

    def __init__(self, file: Path) -> None:
        """Read what there is; a line that was cut off by a kill was never answered for."""
        self.taken: dict[str, Taken] = {}
        self.models: set[str] = set()
        self._heads: dict[str, Taken] = {}
        self._file = file
        lines = file.read_bytes().splitlines(keepends=True) if file.exists() else []
        whole = [line for line in lines if line.endswith(b"\n")]
        for line in whole:
            self._learn(msgspec.json.decode(line, type=_Line))
        if whole != lines:
            file.write_bytes(b"".join(whole))

    def take(self, event: Taken, previous: str | None) -> None:
        """Keep an event. previous: the CID of the one before it in its chain.

        Raises:
            DifferedError: it is not the next one of its aggregate.
        """
        head = self._heads.get(event.aggregate)
        expect(
            (event.version, previous) == ((1, None) if head is None else (head.version + 1, head.cid)),
            f"version {event.version} of {event.aggregate} came after {head}, to which it does not link",
        )
        self._write(_Line(taken=event))

    def know(self, model: str) -> None:
        """Know a model: its events can be taken."""
        self._write(_Line(knows=model))

    def _write(self, line: _Line) -> None:
        with self._file.open("ab") as file:
            file.write(msgspec.json.encode(line) + b"\n")
        self._learn(line)

    def _learn(self, line: _Line) -> None:
        if line.knows is not None:
            self.models.add(line.knows)
        if line.taken is not None:
            self.taken[line.taken.cid] = self._heads[line.taken.aggregate] = line.taken


class Subscriber:
    """Takes what comes and answers it. attempts: by CID, the last delivery of it that was seen."""

    def __init__(
        self,
        name: str,
        books: Books,
        deliveries: AsyncGenerator[list[SubscriberRecord], None],
        answer: Callable[[SubscriberRecord, dict[str, Any]], Awaitable[None]],
    ) -> None:
        """Take the subscription's name, where it comes from, and who sends the answers."""
        self.name = name
        self.books = books
        self.attempts: dict[str, int] = {}
        self._deliveries = deliveries
        self._answer = answer

    async def until(self, is_so: Callable[[], Awaitable[bool]], otherwise: str) -> None:
        """Take what comes until something is so.

        Raises:
            DifferedError: it is not so in time, or what came was not as it should be.
        """
        deadline = monotonic() + WITHIN_S
        while not await is_so():
            expect(monotonic() < deadline, f"{otherwise} within {WITHIN_S:.0f} s")
            for record in await anext(self._deliveries):
                await self._answer(record, self._verdict(record))

    def _verdict(self, record: SubscriberRecord) -> dict[str, Any]:
        """Return the answer: what was taken before is acknowledged again, since that answer may have been lost."""
        said = record.attributes
        cid, attempt = said["id"], int(said.get("redelivery", "1"))
        self.attempts[cid] = attempt
        answer = {"cid": cid, "attempt": attempt, "verdict": "ack"}
        if cid in self.books.taken:
            return answer
        if said["type"].rpartition(".v")[0].endswith(POISON):
            model = msgspec.json.decode(record.value or b"{}").get("model")
            if model not in self.books.models:
                return answer | {"verdict": "nack" if attempt == 1 else "park", "reason": reason_of(model)}
        aggregate = f"{said['source'].rpartition('/')[2]}/{said['subject']}"
        self.books.take(Taken(cid, aggregate, int(said["sequence"])), said.get("previous"))
        return answer


def reason_of(model: str) -> str:
    """Return why the event of a model that is not known is refused."""
    return f"the model {model} is not known here"


@asynccontextmanager
async def subscriber(settings: Settings, folder: Path, name: str) -> AsyncIterator[Subscriber]:
    """Read the topic of a subscription from its beginning on, and answer on the one for that."""
    acks = TopicNames(settings.topic_prefix).acks(name)
    deliveries = subscribed(settings, name, BEGINNING)
    try:
        async with creating_nothing(AIOKafkaProducer(**client_options(settings), acks="all")) as producer:

            async def answer(record: SubscriberRecord, said: dict[str, Any]) -> None:
                key = record.attributes["subject"].encode()
                # The partitions are those of the journal, whose key is the aggregate's id as well.
                await producer.send_and_wait(acks, msgspec.json.encode(said), key, partition=record.partition)

            yield Subscriber(name, Books(folder / FILE), deliveries, answer)
    finally:
        await deliveries.aclose()
