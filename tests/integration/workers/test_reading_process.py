"""The role `read` as a process of its own: started, asked, started again and ended by the worker, or alone."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from annals.topics.keys import partition_of
from chained import Sealed, sealed
from grouped import Group, GroupWorker, group
from processes import answer_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.broker

PARTITIONS = 2
ALL_ROLES = {"ROLES": "write,read", "API_PORT": "0"}
ALL_KINDS: dict[str, Any] = {}
KINDS = ("person", "workflow")


@pytest.fixture
def crew(bootstrap: str, topic_prefix: str, tmp_path: Path) -> Iterator[Group]:
    with group(bootstrap, topic_prefix, tmp_path, PARTITIONS) as made:
        yield made


def reasons(worker: GroupWorker, role: str) -> list[str] | None:
    """Why a role is not ready; None while the worker cannot be asked."""
    status, body = answer_of(f"http://127.0.0.1:{worker.port}/health/ready?role={role}")
    return list(json.loads(body)["reasons"]) if status else None


def gauge(metrics: str, name: str, kind: str = "person") -> dict[int, float]:
    """A gauge of the reading shards of a kind, by partition."""
    found = re.findall(rf'^{name}{{kind="{kind}",partition="(\d+)",role="read"}} (\S+)$', metrics, re.MULTILINE)
    return {int(partition): float(value) for partition, value in found}


def has_read_all(worker: GroupWorker, events: int) -> bool:
    """Whether its reading shards are at the ends of their journals, which have so many events at the least."""
    metrics = worker.metrics()
    offsets, ends = gauge(metrics, "annals_reading_offset"), gauge(metrics, "annals_reading_end_offset")
    return offsets == ends and sum(offsets.values()) >= events


def test_a_worker_decides_and_its_child_reads(crew: Group) -> None:
    # Another child is started a minute later, so that one sees that there is none.
    worker = crew.worker("one", {"annals.workers.reader_process:FIRST_RETRY_S": 60.0}, **ALL_ROLES).until_ready()
    child = worker.reader()
    assert child.nice() == psutil.Process(worker.process.pid).nice() + 5
    (started,) = worker.logged("worker started")
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+", started["api"])

    assert set(crew.answers()) == {"accepted"}
    worker.until(lambda: has_read_all(worker, 8), "what was written is read")
    worker.until(lambda: committed(crew) >= 8, "the group's offsets hint at it")
    families = re.findall(r"^# TYPE (\S+) ", worker.metrics(), re.MULTILINE)
    assert len(families) == len(set(families))
    both = ["", '{role="read"}']
    for series in (r"^process_start_time_seconds(\S*) ", r"^annals_ready(\S*) 1.0$"):
        worker.until(lambda series=series: re.findall(series, worker.metrics(), re.MULTILINE) == both, series)

    # Its end is no end of deciding; another takes its place, and goes on where the stores stand.
    child.kill()
    (reason,) = worker.until(lambda: reasons(worker, "read"), "not ready to read")
    assert reason.startswith("read: the reading process ")
    worker.until(lambda: reasons(worker, "write") == [], "ready to decide")
    assert set(crew.answers()) == {"accepted"}
    worker.until(lambda: reasons(worker, "read") == [], "ready to read again")
    worker.until(lambda: has_read_all(worker, 16), "what was written meanwhile is read")
    assert "annals_reader_restarts_total 1.0\n" in worker.metrics()

    # One that reads alone, in a folder of its own, shares the partitions.
    third = crew.worker("three", ALL_KINDS, ROLES="read", API_PORT="0").until_ready()
    worker.until(lambda: reasons(worker, "read") == [], "ready with a part of the partitions")

    def partitions_of(reader: GroupWorker) -> set[tuple[str, int]]:
        metrics = reader.metrics()
        return {(kind, number) for kind in KINDS for number in gauge(metrics, "annals_reading_shard_open", kind)}

    third.until(lambda: len(partitions_of(third)) == 2, "its half of the partitions is in the metrics")
    worker.until(lambda: len(partitions_of(worker)) == 2, "the other half is left to the first")
    assert len(partitions_of(worker) | partitions_of(third)) == 4
    assert not (crew.folder / "three" / "write.lock").exists()
    assert reasons(third, "write") == ["write: this worker does not have the role (ANNALS_ROLES)"]
    assert set(crew.answers()) == {"accepted"}
    worker.until(lambda: has_read_all(worker, 0) and has_read_all(third, 0), "both read on")
    assert third.end() == 0
    assert worker.end() == 0
    assert not child.is_running()


def committed(crew: Group) -> int:
    """The sum of the offsets that the group that reads has committed for persons."""

    async def ask() -> int:
        admin = AIOKafkaAdminClient(bootstrap_servers=crew.settings.bootstrap_servers)
        await admin.start()
        try:
            offsets = await admin.list_consumer_group_offsets(f"{crew.name}.read")
            return sum(meta.offset for where, meta in offsets.items() if where.topic.endswith("events.person"))
        finally:
            await admin.close()

    return asyncio.run(ask())


def test_a_child_ends_with_its_parent_and_hears_no_signal_of_the_terminal(crew: Group) -> None:
    first = crew.worker("one", **ALL_ROLES)
    first.until(lambda: first.logged("worker started"), "it has started")
    child = first.reader()
    for number in (signal.SIGINT, signal.SIGHUP):
        os.kill(child.pid, number)
    assert child.is_running()
    first.process.kill()
    psutil.wait_procs([child], timeout=30)
    assert not child.is_running()
    first.process.wait()
    again = crew.worker("one", **ALL_ROLES)  # its folder and its address are free
    again.until(lambda: again.logged("worker started"), "it has started in the same folder")
    assert again.end() == 0


def test_a_folder_that_somebody_reads_in_refuses_another_reader_alone_or_as_a_child(crew: Group) -> None:
    reader = crew.worker("reader", ROLES="read", API_PORT="0", DATA_DIR=str(crew.folder / "one"))
    reader.until(lambda: reader.logged("worker started"), "it has started")
    refused = [
        crew.worker(name, DATA_DIR=str(crew.folder / "one"), **{**ALL_ROLES, "ROLES": roles})
        for name, roles in (("all", "write,read"), ("second", "read"))
    ]
    for worker in refused:
        assert worker.until_over() == 2
        assert f"is in use by another worker (process {reader.process.pid})" in worker.log.read_text()


def test_a_gap_stops_reading_and_is_named(crew: Group) -> None:
    worker = crew.worker("one", ALL_KINDS, ROLES="read", API_PORT="0").until_ready()
    first = sealed("p-1", 1, None)
    partition = partition_of(b"p-1", PARTITIONS)

    async def write(event: Sealed) -> int:
        async with AIOKafkaProducer(bootstrap_servers=crew.settings.bootstrap_servers) as producer:
            topic = f"{crew.settings.topic_prefix}events.person"
            record = await producer.send_and_wait(topic, event.value, event.key, partition, headers=event.headers)
            return int(record.offset)

    asyncio.run(write(first))
    worker.until(lambda: has_read_all(worker, 1), "the first event is read")
    offset = asyncio.run(write(sealed("p-1", 3, sealed("p-1", 2, first.cid).cid)))
    reason = worker.until_told(f"read: person-{partition} is stopped: ")
    assert f"offset {offset}" in reason
    assert worker.end() == 0
