"""The role `read` as a process of its own: started, asked, started again and ended by the worker, or alone."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from aiokafka.admin import AIOKafkaAdminClient

from grouped import Group, GroupWorker, group

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.broker

PARTITIONS = 2
KINDS = 7
ALL_ROLES = {"ROLES": "write,read", "API_PORT": "0"}
ALL_KINDS: dict[str, Any] = {}


@pytest.fixture
def crew(bootstrap: str, topic_prefix: str, tmp_path: Path) -> Iterator[Group]:
    with group(bootstrap, topic_prefix, tmp_path, PARTITIONS) as made:
        yield made


def child_of(worker: GroupWorker) -> psutil.Process:
    (child,) = psutil.Process(worker.process.pid).children()
    return child


def reasons(worker: GroupWorker, role: str) -> list[str] | None:
    """Why a role is not ready; None while the worker cannot be asked."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{worker.port}/health/ready?role={role}", timeout=5):
            return []
    except urllib.error.HTTPError as error:
        with error:
            told: list[str] = json.loads(error.read())["reasons"]
            return told
    except OSError:
        return None


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
    worker = crew.worker("one", ALL_KINDS, **ALL_ROLES).until_ready()
    child = child_of(worker)
    assert child.nice() == psutil.Process(worker.process.pid).nice() + 10
    (started,) = worker.logged("worker started")
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+", started["api"])

    assert set(crew.answers()) == {"accepted"}
    worker.until(lambda: has_read_all(worker, 8), "what was written is read")
    worker.until(lambda: committed(crew) >= 8, "the group's offsets hint at it")
    families = re.findall(r"^# TYPE (\S+) ", worker.metrics(), re.MULTILINE)
    assert len(families) == len(set(families))
    own, of_child = re.findall(r"^process_start_time_seconds(\S*) ", worker.metrics(), re.MULTILINE)
    assert (own, of_child) == ("", '{role="read"}')
    assert re.findall(r"^annals_ready(\S*) 1.0$", worker.metrics(), re.MULTILINE) == ["", '{role="read"}']

    # Its end is no end of deciding; another takes its place, and goes on where the stores stand.
    child.kill()
    (reason,) = worker.until(lambda: reasons(worker, "read"), "not ready to read")
    assert reason.startswith("read: the reading process ")
    assert reasons(worker, "write") == []
    assert set(crew.answers()) == {"accepted"}
    worker.until(lambda: reasons(worker, "read") == [], "ready to read again")
    worker.until(lambda: has_read_all(worker, 16), "what was written meanwhile is read")
    assert "annals_reader_restarts_total 1.0\n" in worker.metrics()

    # A second one in its folder is refused, in a folder of its own it shares the partitions.
    second = crew.worker("two", ALL_KINDS, ROLES="read", DATA_DIR=str(crew.folder / "one"), API_PORT="0")
    assert second.until_over() == 2
    assert "is in use by another worker" in second.log.read_text()
    third = crew.worker("three", ALL_KINDS, ROLES="read", API_PORT="0").until_ready()
    worker.until(lambda: reasons(worker, "read") == [], "ready with a part of the partitions")
    ours, theirs = (
        {
            (kind, partition)
            for kind in ("person", "workflow")
            for partition in gauge(each.metrics(), "annals_reading_shard_open", kind)
        }
        for each in (worker, third)
    )
    assert (len(ours), len(theirs), len(ours | theirs)) == (2, 2, 4)
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
    child = child_of(first)
    for number in (signal.SIGINT, signal.SIGHUP):
        os.kill(child.pid, number)
    assert child.is_running()
    first.process.kill()
    killed = time.monotonic()
    psutil.wait_procs([child], timeout=30)
    assert not child.is_running()
    assert time.monotonic() - killed < 5  # within one on a machine that is not busy
    first.process.wait()
    again = crew.worker("one", **ALL_ROLES)  # its folder and its address are free
    again.until(lambda: again.logged("worker started"), "it has started in the same folder")
    assert again.end() == 0


def test_what_keeps_the_first_child_from_starting_ends_the_worker(crew: Group) -> None:
    reader = crew.worker("reader", ROLES="read", API_PORT="0", DATA_DIR=str(crew.folder / "one"))
    reader.until(lambda: reader.logged("worker started"), "it has started")
    worker = crew.worker("one", **ALL_ROLES)
    assert worker.until_over() == 2
    assert f"is in use by another worker (process {reader.process.pid})" in worker.log.read_text()
