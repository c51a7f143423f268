"""A worker that lost its data folder decides at once, from a restore point, as if it had folded the whole journal."""

import asyncio
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.structs import TopicPartition

from annals.schemas.canonical import decode, encode
from people import People, statuses
from processes import ENTRY_POINT, annals, free_port, is_ready, own_environment, page_of, running, until
from whole_topics import delete

pytestmark = pytest.mark.broker

PERSONS = 600
EVENTS = 500  # after which a restore point is made


class Deployment(People):
    """One worker at a time on one partition of each kind, and its data folder."""

    def __init__(self, bootstrap: str, prefix: str, folder: Path) -> None:
        self.bootstrap, self.prefix = bootstrap, prefix
        self.port = free_port()
        self.log = folder / "worker.log"
        environment = own_environment(
            ANNALS_BOOTSTRAP_SERVERS=bootstrap,
            ANNALS_TOPIC_PREFIX=prefix,
            ANNALS_PARTITIONS="1",
            ANNALS_CREATE_TOPICS="1",
            ANNALS_DATA_DIR=str(folder / "data"),
            ANNALS_WEB_PORT=str(self.port),
            ANNALS_RESTORE_POINT_EVENTS=str(EVENTS),
        )
        super().__init__(environment, folder, PERSONS, within_s=60)

    @contextmanager
    def worker(self) -> Iterator[subprocess.Popen[bytes]]:
        with running([ENTRY_POINT, "worker"], self.environment, self.log) as process:
            self.process = process
            self.until(lambda: is_ready(self.port), "ready")
            yield process

    def until(self, is_so: Callable[[], Any], what: str) -> Any:
        return until(is_so, self.process, self.log, what)

    def counted(self, metric: str) -> float:
        name = f'annals_{metric}_total{{kind="person"}}'
        metrics = self.until(lambda: page_of(self.port, "/metrics"), "its metrics are answered")
        return sum(float(line.split()[-1]) for line in metrics.splitlines() if line.startswith(name))

    def lose_data(self) -> None:
        shutil.rmtree(self.folder / "data")

    async def forge(self) -> None:
        """Write what others could: an empty list, heads without aggregates, and a snapshot with another state."""
        producer = AIOKafkaProducer(bootstrap_servers=self.bootstrap)
        await producer.start()
        try:
            for topic in ("restore.person", "snapshots.person"):
                for key, value in (await self.records(topic))[-50:]:
                    said = decode(value)
                    said |= {"parts": {}} if "parts" in said else {"heads": [], "ends": []} if "heads" in said else {}
                    if "state" in said:
                        said["state"] = said["state"].replace(b"Ada", b"Eve").replace(b"Bea", b"Eve")
                    await producer.send_and_wait(f"{self.prefix}{topic}", encode(said), key, partition=0)
        finally:
            await producer.stop()

    async def records(self, topic: str) -> list[tuple[bytes, bytes]]:
        where = TopicPartition(f"{self.prefix}{topic}", 0)
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.bootstrap, isolation_level="read_committed", auto_offset_reset="earliest"
        )
        await consumer.start()
        found: list[tuple[bytes, bytes]] = []
        try:
            consumer.assign([where])
            end = (await consumer.end_offsets([where]))[where]
            while await consumer.position(where) < end:
                for records in (await consumer.getmany(where, timeout_ms=500)).values():
                    found += [(record.key, record.value) for record in records]
        finally:
            await consumer.stop()
        return found


@pytest.fixture
def deployment(bootstrap: str, topic_prefix: str, tmp_path: Path) -> Deployment:
    return Deployment(bootstrap, topic_prefix, tmp_path)


def test_a_worker_without_its_data_goes_on_from_a_restore_point(deployment: Deployment) -> None:
    with deployment.worker():
        registered = deployment.send("RegisterPerson", "register", "Ada")
        assert statuses(registered) == {"accepted"}
        deployment.until(lambda: deployment.counted("restore_points") >= 1, "a restore point")
        assert statuses(deployment.send("RenamePerson", "rename", "Bea")) == {"accepted"}

    deployment.lose_data()
    asyncio.run(deployment.forge())
    with deployment.worker():
        again = deployment.send("RegisterPerson", "register", "Eve")
        assert statuses(again) == {"duplicate"}
        assert [outcome["head"] for outcome in again] == [outcome["head"] for outcome in registered]
        assert statuses(deployment.send("RenamePerson", "again", "Cleo")) == {"accepted"}
        deployment.until(lambda: deployment.counted("restores") >= 1, "the whole journal folded")
        assert statuses(deployment.send("RenamePerson", "rename", "Eve")) == {"duplicate"}
    assert "opened from a restore point" in deployment.log.read_text()
    assert deployment.verify()["events"] == 3 * PERSONS


def test_a_worker_that_is_killed_again_and_again_loses_and_doubles_nothing(deployment: Deployment) -> None:
    """Killed while a restore point is made, and while the journal is folded behind one."""
    with deployment.worker() as process:
        assert statuses(deployment.send("RegisterPerson", "register", "Ada")) == {"accepted"}
        deployment.until(lambda: deployment.counted("restore_points") >= 1, "a restore point")
        assert statuses(deployment.send("RenamePerson", "rename", "Bea")) == {"accepted"}
        process.kill()
    deployment.lose_data()
    for turn in range(2):
        with deployment.worker() as process:
            assert statuses(deployment.send("RenamePerson", f"turn-{turn}", f"Turn {turn}")) == {"accepted"}
            process.kill()
    with deployment.worker():
        assert statuses(deployment.send("RegisterPerson", "register", "Eve")) == {"duplicate"}
        assert statuses(deployment.send("RenamePerson", "turn-0", "Eve")) == {"duplicate"}
    assert deployment.verify()["events"] == 4 * PERSONS


def test_without_its_topic_a_worker_decides_and_makes_none(deployment: Deployment) -> None:
    created = annals("topics", "create", environment=deployment.environment)
    assert created.returncode == 0, created.stderr
    asyncio.run(delete(deployment.bootstrap, f"{deployment.prefix}restore.person"))
    deployment.environment["ANNALS_CREATE_TOPICS"] = "0"
    with deployment.worker():
        assert statuses(deployment.send("RegisterPerson", "register", "Ada")) == {"accepted"}
        assert deployment.counted("restore_points") == 0
    assert "no topic for restore points" in deployment.log.read_text()
