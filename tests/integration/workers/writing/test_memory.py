"""What a stranger can write into the topics of a worker takes a bounded part of its memory, on a real broker.

Each of these inputs took hundreds of megabytes, two of them over a gigabyte, before each buffer was bounded in bytes of
all that it holds.
"""

import os
import re
import secrets
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from aiokafka.structs import TopicPartition

from annals.topics.keys import partition_of
from annals.topics.wire import encode_headers, varint
from annals.workers.kafka.write.batches import PartitionBatches
from annals.workers.kafka.write.transaction import Offsets, TransactionalWriter
from chained import sealed
from processes import ENTRY_POINT, WITHIN_S, free_port, own_environment, page_of, running, until

pytestmark = pytest.mark.broker

PARTITIONS = 2
MOST_GROWTH_BYTES = 200 << 20
Record = tuple[bytes | None, bytes | None, bytes]  # key, value, headers as they stand


class Worker:
    """A worker that runs, and what it says of itself."""

    def __init__(self, bootstrap: str, prefix: str, folder: Path) -> None:
        self.bootstrap = bootstrap
        self.prefix = prefix
        self.port = free_port()
        self.log = folder / "log"
        self.environment = own_environment(
            ANNALS_BOOTSTRAP_SERVERS=bootstrap,
            ANNALS_TOPIC_PREFIX=prefix,
            ANNALS_DATA_DIR=str(folder / "data"),
            ANNALS_WEB_PORT=str(self.port),
            ANNALS_CREATE_TOPICS="1",
            ANNALS_PARTITIONS=str(PARTITIONS),
        )

    def ask(self, path: str) -> str:
        return page_of(self.port, path)

    def metric(self, name: str) -> float:
        """The sum over all labels."""
        return sum(
            float(value) for value in re.findall(rf"^{name}\{{[^}}]*\}} (\S+)$", self.ask("/metrics"), re.MULTILINE)
        )

    async def write(
        self, topic: str, partition: int, records: Sequence[Record], *, codec: str = "zstd", in_batch: int = 1
    ) -> None:
        """Write what no client here lets one write: batches of so many records, each in a transaction of its own."""
        where = TopicPartition(f"{self.prefix}{topic}", partition)
        name = f"raw-{secrets.token_hex(4)}"
        writer = TransactionalWriter({"bootstrap_servers": self.bootstrap}, name, [where.topic])
        await writer.fence()
        try:
            for start in range(0, len(records), in_batch):
                batches = PartitionBatches(1 << 31, codec)
                for key, value, headers in records[start : start + in_batch]:
                    batches.add(key, value, int(time.time() * 1000), headers)
                await writer.commit({where: batches.batches}, Offsets(name, *where, 0, ""), {})
        finally:
            await writer.close()


@pytest.fixture
def worker(bootstrap: str, topic_prefix: str, tmp_path: Path) -> Iterator[tuple[Worker, "Peak"]]:
    worker = Worker(bootstrap, topic_prefix, tmp_path)
    with running([ENTRY_POINT, "worker"], worker.environment, worker.log) as process:
        peak = Peak(process.pid)
        until(lambda: worker.ask("/health/ready"), process, worker.log, "the worker is ready")
        peak.begin()
        yield worker, peak
        assert process.poll() is None, f"the worker did not live through it\n{worker.log.read_text()[-4000:]}"


class Peak:
    """The most memory that a process had at once, since a moment."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._began = 0

    def begin(self) -> None:
        self._began = self._highest()

    def grown(self) -> int:
        return self._highest() - self._began

    def _highest(self) -> int:
        (found,) = re.findall(r"^VmHWM:\s+(\d+) kB$", Path(f"/proc/{self._pid}/status").read_text(), re.MULTILINE)
        return int(found) << 10


async def until_metric(worker: Worker, name: str, value: float) -> None:
    deadline = time.monotonic() + WITHIN_S
    while (found := worker.metric(name)) < value:
        assert time.monotonic() < deadline, f"{name} is {found}, not {value}\n{worker.log.read_text()[-4000:]}"


async def until_ready(worker: Worker) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not worker.ask("/health/ready"):
        assert time.monotonic() < deadline, worker.log.read_text()[-4000:]


async def test_records_that_unpack_to_gigabytes_are_foreign(worker: tuple[Worker, Peak]) -> None:
    shard, peak = worker
    bomb = bytes(250 << 20)
    await shard.write("events.person", 0, [(b"p", bomb, b"\0"), (b"p", bomb, b"\0")])
    await until_metric(shard, "annals_foreign_records_total", 2)
    await until_ready(shard)
    assert peak.grown() < MOST_GROWTH_BYTES


async def test_events_with_ids_of_a_megabyte(worker: tuple[Worker, Peak]) -> None:
    shard, peak = worker
    events = [_of_id(f"{number}{'x' * 1_000_000}") for number in range(100)]
    for partition in range(PARTITIONS):
        own = [event for event in events if partition_of(event[0] or b"", PARTITIONS) == partition]
        await shard.write("events.person", partition, own, in_batch=20)
    await until_metric(shard, "annals_restore_offset", len(events))
    await until_ready(shard)
    assert peak.grown() < MOST_GROWTH_BYTES


def _of_id(aggregate_id: str) -> Record:
    event = sealed(aggregate_id, 1, None)
    return event.key, event.value, encode_headers(event.headers)


async def test_a_record_with_millions_of_headers_is_a_dead_letter(worker: tuple[Worker, Peak]) -> None:
    shard, peak = worker
    headers = varint(2_000_000) + b"\0\1" * 2_000_000
    await shard.write("commands.person", 0, [(b"p-1", b"{}", headers)], codec="none")
    await until_metric(shard, "annals_dead_letters_total", 1)
    assert peak.grown() < MOST_GROWTH_BYTES // 2


def test_a_process_can_be_measured() -> None:
    assert Peak(os.getpid()).grown() > 0
