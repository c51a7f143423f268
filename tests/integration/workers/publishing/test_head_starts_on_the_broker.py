"""A reading worker without its data publishes from a restore point before it has read the journal, whenever it dies."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from annals.topics.names import TopicNames
from grouped import Group, GroupWorker, group
from processes import ENTRY_POINT, free_port, own_environment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.broker

WITHIN_S = 300
PERSONS = 40
RESTORE_EVENTS = 400

# Its shards index nothing before a file is there.
HELD = """
import asyncio, pathlib
from annals.agents.reading.following import shard

class Held:
    async def __aenter__(self):
        while not pathlib.Path({path!r}).exists():
            await asyncio.sleep(0.05)

    async def __aexit__(self, *error):
        pass

shard.Shard._turn = lambda self: Held()
"""


@pytest.fixture
def crew(bootstrap: str, topic_prefix: str, tmp_path: Path) -> Iterator[Group]:
    with group(bootstrap, topic_prefix, tmp_path, partitions=1) as made:
        yield made


class Readers:
    """The reading worker of a crew: one at a time, each without the data of the one before."""

    def __init__(self, crew: Group) -> None:
        self.crew = crew
        self.release = crew.folder / "release"
        self.count = 0
        self.port = free_port()

    def begin(self, *, held: bool) -> GroupWorker:
        self.count += 1
        shutil.rmtree(self.crew.folder / "reader", ignore_errors=True)
        patches = {"exec": HELD.format(path=str(self.release))} if held else {"exec": ""}
        settings = {"ROLES": "read", "API_PORT": str(self.port), "INSTANCE_ID": "reader"}
        settings["DATA_DIR"] = str(self.crew.folder / "reader")
        settings["RESTORE_POINT_EVENTS"] = str(RESTORE_EVENTS)
        return self.crew.worker(f"reader-{self.count}", patches, **settings)

    @staticmethod
    def kill(worker: GroupWorker) -> None:
        worker.process.kill()
        worker.process.wait()


class Sent:
    """Commands that were sent, by number; each is an event."""

    def __init__(self, crew: Group) -> None:
        self.crew = crew
        self.events = 0

    def send(self, count: int) -> None:
        lines = []
        for number in range(self.events, self.events + count):
            person = {"kind": "person", "aggregate_id": f"p-{number % PERSONS}", "id": f"c-{number}"}
            type_name = "RegisterPerson" if number < PERSONS else "RenamePerson"
            lines.append(json.dumps({**person, "type": type_name, "data": {"name": f"Ada {number}"}}) + "\n")
        environment = own_environment(
            ANNALS_BOOTSTRAP_SERVERS=self.crew.settings.bootstrap_servers,
            ANNALS_TOPIC_PREFIX=self.crew.settings.topic_prefix,
        )
        sent = subprocess.run(
            [ENTRY_POINT, "send"], input="".join(lines), env=environment, capture_output=True, text=True, timeout=600,
            check=False,
        )  # fmt: skip
        assert sent.returncode == 0, sent.stdout + sent.stderr
        self.events += count


async def received(crew: Group, count: int) -> list[dict[str, str]]:
    """The headers of what the subscriber has, once it has so many."""
    where = TopicPartition(TopicNames(crew.settings.topic_prefix).subscribers("all"), 0)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=crew.settings.bootstrap_servers, group_id=None, isolation_level="read_committed",
        enable_auto_commit=False, auto_offset_reset="earliest",
    )  # fmt: skip
    found: list[dict[str, str]] = []
    async with consumer, asyncio.timeout(WITHIN_S):
        consumer.assign([where])
        while len(found) < count:
            records = (await consumer.getmany(where, timeout_ms=200)).get(where, ())
            found += [{key: value.decode() for key, value in record.headers} for record in records]
    return found


def counted(worker: GroupWorker, metric: str) -> float:
    lines = (line for line in worker.metrics().splitlines() if line.startswith(f'{metric}{{kind="person"'))
    return sum(float(line.split()[-1]) for line in lines)


def require_once_and_in_order(found: list[dict[str, str]]) -> None:
    """Each event behind the one before it of its aggregate, and none twice."""
    heads: dict[str, str] = {}
    for each in found:
        assert each.get("ce_previous") == heads.get(each["ce_subject"]), each
        heads[each["ce_subject"]] = each["ce_id"]
    assert len({each["ce_id"] for each in found}) == len(found)


def test_what_is_published_goes_on_before_the_journal_is_read(crew: Group) -> None:
    writer = crew.worker("writer", {}, ROLES="write", RESTORE_POINT_EVENTS=str(RESTORE_EVENTS)).until_ready()
    readers, sent = Readers(crew), Sent(crew)
    first = readers.begin(held=False).until_ready()
    first.subscribe("all", start="beginning")
    sent.send(3_000)
    asyncio.run(received(crew, 3_000))
    writer.until(lambda: counted(writer, "annals_restore_points_total") >= 1, "a restore point")
    sent.send(200)
    asyncio.run(received(crew, 3_200))
    readers.kill(first)

    sent.send(500)
    held = readers.begin(held=True)
    assert len(asyncio.run(received(crew, 3_700))) == 3_700
    assert counted(held, "annals_reading_offset") == 0
    assert counted(held, "annals_reading_head_starts_total") == 1
    status, page = held.asked("GET", "/v1/events?kind=person&limit=10")
    assert status == 200
    assert page["events"] == []
    assert page["stale"][0]["reason"].startswith("indexing: at offset 0 of ")
    assert held.until_ready()
    readers.kill(held)

    for number in range(5):  # later each time: while it opens, begins, and publishes
        before = sent.events
        sending = threading.Thread(target=sent.send, args=(300,))
        sending.start()
        another = readers.begin(held=True)
        words = ("worker started", "head start", "head start")[number % 3]
        another.until(lambda another=another, words=words: another.logged(words), words)
        if number % 3 == 2:
            asyncio.run(received(crew, before + 50))
        readers.kill(another)
        sending.join()

    last = readers.begin(held=True)
    sent.send(100)
    found = asyncio.run(received(crew, sent.events))
    readers.release.touch()
    last.until(lambda: last.logged("the shard has come as far as the head start"), "all of the journal is read")
    sent.send(100)
    found = asyncio.run(received(crew, sent.events))
    assert len(found) == sent.events
    require_once_and_in_order(found)
    assert counted(last, "annals_reading_head_start_differences_total") == 0
    assert last.end() == writer.end() == 0
