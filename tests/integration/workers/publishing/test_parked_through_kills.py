"""Two administrators decide about what is parked, at two workers, while one of these is killed: each decision once.

The subscriber parks the first event of everybody the first time that it comes. Whoever replays by an offset takes what
was parked before it; what is parked meanwhile stays. Then some are given up, and the others replayed.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from annals.schemas.delivery import DISCARDED, PARKED, decode_row
from annals.topics.keys import partition_of
from annals.topics.names import TopicNames
from grouped import AGAIN, SOON_MISSED, Group, GroupWorker, group

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = [pytest.mark.broker, pytest.mark.untraced]

PARTITIONS, PEOPLE, LATE = 2, 10, 4
PATH = "/v1/subscriptions/billing"
POINTS = ("at once", "half are decided", "the first is delivered again")
WHY = "sent twice by mistake"


@pytest.fixture
def crew(bootstrap: str, topic_prefix: str, tmp_path: Path) -> Iterator[Group]:
    with group(bootstrap, topic_prefix, tmp_path, partitions=PARTITIONS) as made:
        yield made


def worker_of(crew: Group, name: str, **patches: Any) -> GroupWorker:
    return crew.worker(name, SOON_MISSED | patches, ROLES="write,read", API_PORT="0").until_ready()


def send(crew: Group, people: list[str]) -> None:
    """Register everybody, and rename everybody: that waits behind what is parked."""
    commands = [
        {"kind": "person", "type": kind, "aggregate_id": person, "data": {"name": f"Ada {number}"}}
        for number, kind in enumerate(("RegisterPerson", "RenamePerson"))
        for person in people
    ]
    sending = crew.annals("send")
    out, problems = sending.communicate("".join(json.dumps(each) + "\n" for each in commands), timeout=600)
    assert sending.returncode == 0, out + problems


class Observer:
    """Takes what comes or parks it, and sees each decision about what is parked, in a thread of its own."""

    def __init__(self, crew: Group) -> None:
        self._names = TopicNames(crew.settings.topic_prefix)
        self._options = {"bootstrap_servers": crew.settings.bootstrap_servers}
        self.seen: dict[str, list[tuple[int, int]]] = defaultdict(list)  # version and attempt, by aggregate
        self.again = 0  # deliveries that were not the first
        self.decided: list[Any] = []  # rows, each as it was written: what is decided about is parked no more
        self._parked: set[tuple[str, int]] = set()
        self._is_over = threading.Event()

    @contextmanager
    def running(self) -> Iterator[None]:
        with ThreadPoolExecutor(1) as pool:
            done = pool.submit(lambda: asyncio.run(self._run()))
            try:
                yield
            finally:
                self._is_over.set()
                done.result()

    async def _run(self) -> None:
        reading = {"group_id": None, "isolation_level": "read_committed", "auto_offset_reset": "earliest"}
        delivered, rows = AIOKafkaConsumer(**self._options, **reading), AIOKafkaConsumer(**self._options, **reading)
        async with delivered, rows, AIOKafkaProducer(**self._options) as producer:
            for consumer, topic in (
                (delivered, self._names.subscribers("billing")),
                (rows, self._names.deliveries("billing")),
            ):
                consumer.assign([TopicPartition(topic, partition) for partition in range(PARTITIONS)])
            while not self._is_over.is_set():
                for record in await _next(delivered):
                    await self._answer(producer, record)
                for record in await _next(rows):
                    self._note(record)

    async def _answer(self, producer: AIOKafkaProducer, record: Any) -> None:
        headers = {name: value.decode() for name, value in record.headers}
        version, attempt = int(headers["ce_sequence"]), int(headers.get("ce_redelivery", "1"))
        self.seen[headers["ce_subject"]].append((version, attempt))
        self.again += attempt > 1
        verdict = "park" if (version, attempt) == (1, 1) else "ack"
        body = {"cid": headers["ce_id"], "attempt": attempt, "verdict": verdict, "reason": "poison"}
        topic, at = self._names.acks("billing"), partition_of(record.key, PARTITIONS)
        await producer.send_and_wait(topic, json.dumps(body).encode(), record.key, partition=at)

    def _note(self, record: Any) -> None:
        if record.value is None:
            return
        row = decode_row(record.key, record.value)
        where = row.cid, row.attempt
        if row.state == PARKED:
            self._parked.add(where)
        elif where in self._parked:
            self._parked.discard(where)
            self.decided.append(row)


async def _next(consumer: AIOKafkaConsumer) -> list[Any]:
    return [record for records in (await consumer.getmany(timeout_ms=20)).values() for record in records]


def parked(worker: GroupWorker) -> list[dict[str, Any]] | None:
    """What is parked; None: it cannot be told yet."""
    status, page = worker.call("GET", f"{PATH}/parked?limit=1000")
    assert status in {200, *AGAIN}, page
    if status != 200:
        return None
    assert page["next"] is None, page
    rows: list[dict[str, Any]] = page["parked"]
    return rows


def ask(worker: GroupWorker, action: str, body: dict[str, Any]) -> int | None:
    """How many a worker says that it decided about; None: it was killed, or says that it may ask again."""
    status, answer = worker.call("POST", f"{PATH}/parked/{action}", body)
    if status == 202:
        accepted: int = answer["accepted"]
        return accepted
    assert status in AGAIN, answer
    return None


def one_of_each(rows: list[dict[str, Any]]) -> int:
    """An offset below which something of each partition is parked, and behind which nothing of before the end is."""
    ends = [max(row["offset"] for row in rows if row["partition"] == each) + 1 for each in range(PARTITIONS)]
    return min(ends)


class Scene:
    """Two workers, one of which is killed and comes again, and what is observed meanwhile."""

    def __init__(self, crew: Group, observer: Observer, pool: ThreadPoolExecutor, **patches: Any) -> None:
        self.crew = crew
        self.observer = observer
        self.pool = pool
        self.workers = [worker_of(crew, name, **patches) for name in ("one", "two")]

    def until(self, is_so: Callable[[], Any], what: str) -> None:
        self.workers[0].until(is_so, what)

    def kill_and_start(self, number: int) -> None:
        self.workers[number].kill()
        self.workers[number] = worker_of(self.crew, ("one", "two")[number])

    def ask(self, number: int, action: str, body: dict[str, Any]) -> int | None:
        return ask(self.workers[number], action, body)

    def until_none_is_left(self, action: str, body: dict[str, Any]) -> None:
        self.until(lambda: self.ask(1, action, body) == 0 == self.ask(0, action, body), f"none is left to {action}")

    def until_seen(self, people: set[str], times: int) -> None:
        seen = self.observer.seen
        self.until(lambda: all(len(seen[each]) == times for each in people), f"each of {people} came {times} times")

    def until_decided(self, people: set[str]) -> None:
        """The observer reads decisions beside deliveries: it may have what came of one before."""
        decided = self.observer.decided
        self.until(lambda: {row.aggregate_id for row in decided} >= people, f"decisions about {people} are seen")

    def until_counted(self, number: int) -> None:
        """The list, the subscription and the metrics say how many are parked."""
        one, two = self.workers

        def is_said() -> bool:
            rows = parked(two)
            return rows is not None and len(rows) == counts(one) == counted((one, two)) == number

        self.until(is_said, f"{number} are counted")

    def parked(self, number: int) -> list[dict[str, Any]]:
        """What a worker says is parked, where some is."""
        rows: list[dict[str, Any]] = self.workers[number].until(lambda: parked(self.workers[number]), "some is parked")
        return rows


@pytest.mark.parametrize("point", POINTS)
def test_what_is_parked_is_decided_about_once_through_a_kill(crew: Group, point: str) -> None:
    observer = Observer(crew)
    with ThreadPoolExecutor(4) as pool:
        scene = Scene(crew, observer, pool)
        retry = {"ack_timeout_ms": 600_000}
        scene.workers[0].subscribe("billing", kinds=["person"], delivery="acknowledged", retry=retry)
        with observer.running():
            left = replayed_up_to_an_offset(scene, point)
            names = given_up(scene, left)
            asking = [pool.submit(scene.ask, number, "replay", {"all": True}) for number in (0, 1)]
            answers = [each.result() for each in asking]
            assert sum(each or 0 for each in answers) == len(left) - len(names) or None in answers
            scene.until_none_is_left("replay", {"all": True})
            scene.until_counted(0)
            scene.until(lambda: settled(scene.workers[0]), "all is settled")
            scene.until_decided({*observer.seen})
    for each in observer.seen:
        assert observer.seen[each] == ([(1, 1), (2, 1)] if each in names else [(1, 1), (1, 2), (2, 1)]), each
    assert len(observer.seen) == len(observer.decided) == PEOPLE + LATE
    discarded = [row for row in observer.decided if row.state == DISCARDED]
    assert {row.aggregate_id for row in discarded} == names
    assert {(row.by, row.reason) for row in discarded} <= {(who, WHY) for who in ("ada", "bob", "anonymous")}
    one, two = scene.workers
    one.until(lambda: oldest((one, two)) == {0.0}, "both say that none waits")
    assert one.end() == two.end() == 0


def test_a_job_that_decides_about_very_many_outlives_its_worker_and_takes_nothing_along(crew: Group) -> None:
    """Two are asked for at once, at both workers, and one of these is killed: each event is delivered again once."""
    observer = Observer(crew)
    with ThreadPoolExecutor(2) as pool:
        scene = Scene(crew, observer, pool, parked_at_once=0)
        scene.workers[0].subscribe(
            "billing", kinds=["person"], delivery="acknowledged", retry={"ack_timeout_ms": 600_000}
        )
        with observer.running():
            people = {f"p-{each}" for each in range(PEOPLE)}
            send(crew, sorted(people))
            scene.until_counted(PEOPLE)
            asking = [pool.submit(scene.ask, number, "replay", {"all": True}) for number in (0, 1)]
            assert max(each.result() or 0 for each in asking) == PEOPLE
            scene.workers[1].kill()
            late = [f"late-{each}" for each in range(LATE)]
            send(crew, late)
            one = scene.workers[0]

            def decided() -> list[int] | None:
                """How many each job has decided about, once all are done."""
                status, page = one.call("GET", "/v1/jobs")
                if status != 200 or any(job["status"] != "done" for job in page["jobs"]):
                    return None
                return [job["result"]["decided"] for job in page["jobs"]]

            counts: list[int] = scene.workers[0].until(decided, "the jobs are done")
            assert sum(counts) <= PEOPLE, "a kill may leave some uncounted, and none is counted twice"
            scene.until_seen(people, 3)
            scene.until(lambda: {row["aggregate_id"] for row in parked(one) or ()} == set(late), "the late ones stay")
    assert {each: observer.seen[each] for each in people} == {each: [(1, 1), (1, 2), (2, 1)] for each in people}
    assert {row.aggregate_id for row in observer.decided} == people
    assert len(observer.decided) == PEOPLE
    assert one.end() == 0


def replayed_up_to_an_offset(scene: Scene, point: str) -> set[str]:
    """Replay at both workers while more is parked and one of them is killed; return who is parked then."""
    observer = scene.observer
    send(scene.crew, [f"p-{each}" for each in range(PEOPLE)])
    scene.until_counted(PEOPLE)
    rows = scene.parked(1)
    assert rows == scene.parked(0), "either worker knows them"
    stop_at = one_of_each(rows)
    meant = {row["aggregate_id"] for row in rows if row["offset"] < stop_at}
    assert meant
    replaying = {"all": True, "stop_at": stop_at}
    asking = [scene.pool.submit(scene.ask, number, "replay", replaying) for number in (1, 0)]
    sending = scene.pool.submit(send, scene.crew, [f"late-{each}" for each in range(LATE)])
    reached: dict[str, Callable[[], bool]] = {
        "at once": lambda: True,
        "half are decided": lambda: len(observer.decided) >= len(meant) // 2,
        "the first is delivered again": lambda: observer.again >= 1,
    }
    scene.until(reached[point], point)
    scene.kill_and_start(1)
    assert sum(each.result() or 0 for each in asking) <= len(meant)
    sending.result()
    scene.until_none_is_left("replay", replaying)
    scene.until_seen(meant, 3)
    scene.until_decided(meant)
    assert {row.aggregate_id for row in observer.decided} == meant, "what was parked meanwhile is not taken along"
    late = {f"late-{each}" for each in range(LATE)}
    left = late | {row["aggregate_id"] for row in rows} - meant
    scene.until_counted(len(left))
    was = [row for row in rows if row["aggregate_id"] not in meant]
    assert [row for row in scene.parked(1) if row["aggregate_id"] not in late] == was
    return left


def given_up(scene: Scene, left: set[str]) -> set[str]:
    """Have two administrators give some up at once, while the other worker is killed; return whose events."""
    rows = scene.parked(0)[:3]
    cids, names = [row["cid"] for row in rows], {row["aggregate_id"] for row in rows}
    discarding = [
        scene.crew.annals("parked", "discard", "billing", *cids, "--reason", WHY, "--by", who) for who in ("ada", "bob")
    ]
    scene.kill_and_start(0)
    for process in discarding:
        process.communicate(timeout=600)
    scene.until_none_is_left("discard", {"cids": cids, "reason": WHY})
    scene.until_seen(names, 2)
    scene.until_counted(len(left) - len(names))
    return names


def counts(worker: GroupWorker) -> int:
    status, shown = worker.call("GET", PATH)
    number: int = shown["deliveries"]["parked"] if status == 200 else -1
    return number


def settled(worker: GroupWorker) -> bool:
    status, shown = worker.call("GET", PATH)
    return status == 200 and shown["deliveries"] == {"unsettled": 0, "in_flight": 0, "parked": 0}


def of_metric(workers: tuple[GroupWorker, ...], *words: str) -> list[float]:
    lines = [line for worker in workers for line in worker.metrics().splitlines()]
    return [float(line.rpartition(" ")[2]) for line in lines if all(word in line for word in words)]


def counted(workers: tuple[GroupWorker, ...]) -> int:
    return int(sum(of_metric(workers, "annals_unsettled{", 'state="parked"')))


def oldest(workers: tuple[GroupWorker, ...]) -> set[float]:
    return set(of_metric(workers, "annals_parked_oldest_timestamp_seconds{"))
