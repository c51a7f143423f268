"""Commands to measure with, written ahead in large batches or sent one by one at an even pace."""

from __future__ import annotations

import asyncio
import itertools
import json
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from aiokafka import AIOKafkaProducer

from annals.schemas.values.moments import unix_ms
from annals.topics.keys import partition_of
from annals.workers.clock import SystemClock, new_id
from annals.workers.kafka.connections import creating_nothing
from annals.workers.settings import client_options
from annals.workers.tools.bench.ground import KIND

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from annals.workers.tools.bench.ground import Site

    Command = tuple[bytes, bytes]  # key and value

BATCH_BYTES: Final = 1 << 20
IN_FLIGHT: Final = 16  # batches that wait for their answer, so that a million commands do not wait in memory
ACTOR: Final = "hr-service"
_names: Final = itertools.count(1)


def register(aggregate_id: str) -> Command:
    """Return the command that begins an aggregate: some 240 bytes."""
    return _command("RegisterPerson", aggregate_id, {"name": f"Ada Lovelace of {aggregate_id}", "time_zone": "UTC"})


def register_with_email(aggregate_id: str) -> Command:
    """Return the same with an e-mail address by which the person is found."""
    return _command(
        "RegisterPerson", aggregate_id, {"name": f"Ada Lovelace of {aggregate_id}", "email": email_of(aggregate_id)}
    )


def email_of(aggregate_id: str) -> str:
    """Return the e-mail address of a person."""
    return f"{aggregate_id}@example.org"


def rename(aggregate_id: str) -> Command:
    """Return a command that changes an aggregate, to a name that none had before: some 240 bytes, one event."""
    return _command("RenamePerson", aggregate_id, {"name": f"Ada King {next(_names)}", "reason": "married once more"})


def _command(type_name: str, aggregate_id: str, data: dict[str, Any]) -> Command:
    said = {"id": new_id(), "type": type_name, "aggregate_id": aggregate_id, "data": data, "actor": ACTOR}
    return aggregate_id.encode(), json.dumps(said, separators=(",", ":")).encode()


def _id(value: bytes) -> bytes:
    command_id: str = json.loads(value)["id"]
    return command_id.encode()


def aggregate_ids(count: int, name: str = "person") -> list[str]:
    """Return ids of aggregates."""
    return [f"{name}-{number:07}" for number in range(count)]


def histories(ids: list[str], commands: int) -> Iterator[Command]:
    """Yield commands to these aggregates in turns: the first begins each, every other one causes one event."""
    for number in range(commands):
        turn, index = divmod(number, len(ids))
        yield rename(ids[index]) if turn else register(ids[index])


async def preload(site: Site, commands: Iterable[Command]) -> dict[int, int]:
    """Write commands in large batches; return how many there are by partition, when all of them are written."""
    topic, partitions = site.names.commands(KIND), site.partitions
    now_ms = unix_ms(SystemClock().now())
    producer = creating_nothing(
        AIOKafkaProducer(**client_options(site.settings), max_batch_size=BATCH_BYTES, acks="all")
    )
    await producer.start()
    try:
        batches = {partition: producer.create_batch() for partition in range(partitions)}
        counts = dict.fromkeys(range(partitions), 0)
        waiting: list[asyncio.Future[Any]] = []
        for key, value in commands:
            partition = partition_of(key, partitions)
            counts[partition] += 1
            if batches[partition].append(key=key, value=value, timestamp=now_ms) is None:
                waiting.append(await producer.send_batch(batches[partition], topic, partition=partition))
                batches[partition] = producer.create_batch()
                batches[partition].append(key=key, value=value, timestamp=now_ms)
                if len(waiting) >= IN_FLIGHT:
                    await asyncio.gather(*waiting)
                    waiting.clear()
        for partition, batch in batches.items():
            if batch.record_count():
                waiting.append(await producer.send_batch(batch, topic, partition=partition))
        await asyncio.gather(*waiting)
        return counts
    finally:
        await producer.stop()


class Pacer:
    """Sends commands one by one, evenly spaced, and keeps when each was sent."""

    def __init__(self, site: Site, rate: int) -> None:
        """Take the commands per second."""
        self._site = site
        self._rate = rate
        self.sent_at: dict[bytes, float] = {}
        """By command id: `perf_counter` at its send."""
        self.late_s: list[float] = []
        """How much later than planned each was sent: above some milliseconds the load was not even."""
        self._is_over = False

    def stop(self) -> None:
        """Send no more."""
        self._is_over = True

    async def run(self, ids: list[str], seconds: float) -> None:
        """Send for so long or until stopped, to these aggregates in turns, and return when all are acknowledged."""
        topic, partitions = self._site.names.commands(KIND), self._site.partitions
        count = int(self._rate * seconds)
        # made before, so that nothing but the send is left while it is measured
        commands = [rename(ids[number % len(ids)]) for number in range(count)]
        planned = [(_id(value), key, value, partition_of(key, partitions)) for key, value in commands]
        producer = creating_nothing(AIOKafkaProducer(**client_options(self._site.settings), acks="all", linger_ms=0))
        await producer.start()
        try:
            await producer.partitions_for(topic)
            began, answers = perf_counter(), []
            for number, (command_id, key, value, partition) in enumerate(planned):
                due = began + number / self._rate
                if (wait := due - perf_counter()) > 0:
                    await asyncio.sleep(wait)
                if self._is_over:
                    break
                self.sent_at[command_id] = now = perf_counter()
                self.late_s.append(now - due)
                answers.append(await producer.send(topic, value, key, partition))
            await asyncio.gather(*answers)
        finally:
            await producer.stop()
