"""Something that answers commands as a test says, in the place of a worker."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.structs import TopicPartition

from annals.schemas.outcome import accepted, rejected
from annals.topics.headers import outcome_headers

Reply = Callable[[Any, "ScriptedWorker"], Awaitable[None]]


class ScriptedWorker:
    """Hands each command record to `reply`, in the order of its partition, and keeps it."""

    def __init__(self, producer: AIOKafkaProducer, prefix: str, kind: str) -> None:
        self.seen: list[Any] = []
        self.producer = producer
        self.kind = kind
        self.outcomes = f"{prefix}outcomes.{kind}"

    async def answer(self, record: Any, value: bytes, offset: int | None = None, **how: Any) -> None:
        """Write an outcome of a command; `offset`: as if the command stood there."""
        producer = how.pop("producer", self.producer)
        headers = outcome_headers(command_id(record), record.offset if offset is None else offset)
        await producer.send_and_wait(self.outcomes, value, record.key, record.partition, headers=headers)


def command_id(record: Any) -> str:
    import msgspec

    return str(msgspec.json.decode(record.value)["id"])


def yes(record: Any, version: int = 1) -> bytes:
    return accepted(command_id(record), "person", record.key.decode(), version, None, [])


def no(record: Any) -> bytes:
    details = {"status": "absent", "command": "T"}
    name = record.key.decode()
    return rejected(command_id(record), "person", name, 0, None, "invalid_transition", "not open", details)


async def say_yes(record: Any, worker: ScriptedWorker) -> None:
    await worker.answer(record, yes(record))


@asynccontextmanager
async def answering(
    bootstrap: str, prefix: str, reply: Reply = say_yes, *, kind: str = "person", partitions: int = 2
) -> AsyncIterator[ScriptedWorker]:
    """A scripted worker for the commands of a kind, from now on."""
    topic = f"{prefix}commands.{kind}"
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False, auto_offset_reset="earliest")
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
    await asyncio.gather(consumer.start(), producer.start())
    places = [TopicPartition(topic, number) for number in range(partitions)]
    consumer.assign(places)
    ends = await consumer.end_offsets(places)
    for place, end in ends.items():
        consumer.seek(place, end)
    worker = ScriptedWorker(producer, prefix, kind)

    async def work() -> None:
        async for record in consumer:
            worker.seen.append(record)
            await reply(record, worker)

    working = asyncio.create_task(work())
    try:
        yield worker
    finally:
        working.cancel()
        (ended,) = await asyncio.gather(working, return_exceptions=True)
        await asyncio.gather(consumer.stop(), producer.stop())
        assert isinstance(ended, asyncio.CancelledError), ended
