"""The subscribers that answer, in Python, JavaScript and Java, with a worker of both roles: killed, refusing, ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from threading import Event
from typing import TYPE_CHECKING, Any

import pytest

from annals.topics.keys import partition_of
from grouped import Group, GroupWorker, group
from languages import JAVASCRIPT, ROOT, compile_java, java_command, node_command
from processes import ENTRY_POINT, free_port, own_environment, running, until, until_over
from whole_topics import records_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

pytestmark = [pytest.mark.broker, pytest.mark.slow]

PARTITIONS = 2
PEOPLE = [f"p-{number}" for number in range(6)]
RENAMES = 10
NAME, LEDGER = "billing", "ledger.jsonl"
RETRY = {"max_attempts": 100, "first_delay_ms": 20, "max_delay_ms": 200, "ack_timeout_ms": 3_000}


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("classes")
    compile_java(folder)
    return folder


@pytest.fixture(params=["python", "javascript", "java"])
def language(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def crew(bootstrap: str, topic_prefix: str, tmp_path: Path) -> Iterator[Group]:
    with group(bootstrap, topic_prefix, tmp_path / "workers", partitions=PARTITIONS) as made:
        yield made


class Scene:
    """A worker with an acknowledged subscription, and the subscriber's ledger."""

    def __init__(self, crew: Group, language: str, classes: Path, folder: Path) -> None:
        self.crew, self.language, self.classes, self.folder = crew, language, classes, folder
        self.servers, self.prefix = crew.settings.bootstrap_servers, crew.settings.topic_prefix
        self.environment = own_environment(ANNALS_BOOTSTRAP_SERVERS=self.servers, ANNALS_TOPIC_PREFIX=self.prefix)
        self.worker: GroupWorker = crew.worker("one", {}, ROLES="write,read", API_PORT=str(free_port())).until_ready()
        self.worker.subscribe(NAME, delivery="acknowledged", retry=RETRY)

    def subscriber(self, log: Path) -> AbstractContextManager[subprocess.Popen[bytes]]:
        return running(self.command(), self.environment, log, cwd=JAVASCRIPT)

    def command(self) -> list[str]:
        ledger = str(self.folder / LEDGER)
        if self.language == "java":
            return java_command("annals.AnsweringSubscriber", NAME, ledger, classes=self.classes)
        if self.language == "javascript":
            return node_command("answering-subscriber.js", NAME, ledger)
        program = str(ROOT / "examples/answering_subscriber.py")
        words = [NAME, ledger, "--servers", self.servers, "--prefix", self.prefix]
        return [sys.executable, "-W", "error", program, *words]

    def killed_between_work_and_answer(self) -> None:
        """Between the two it prints a line: into a full pipe, which holds it there until it is killed."""
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        with suppress(BlockingIOError):
            while os.write(writing, b"x" * 65_536):
                pass
        os.set_blocking(writing, True)
        # JavaScript does not wait for a pipe unless it is told to.
        waiting = {"NODE_OPTIONS": "--import=data:text/javascript,process.stdout._handle.setBlocking(true)"}
        log = self.folder / "killed.log"
        with log.open("wb") as errors:
            subscriber = subprocess.Popen(
                self.command(), env=self.environment | waiting, cwd=JAVASCRIPT, stdout=writing, stderr=errors
            )
        try:
            until(lambda: (self.folder / LEDGER).exists() and self.ledger(), subscriber, log, "work is done")
        finally:
            subscriber.kill()
            subscriber.wait()
            os.close(reading)
            os.close(writing)
        assert log.read_bytes() == b""
        assert self.read("acks") == []

    def ledger(self) -> list[dict[str, Any]]:
        path = self.folder / LEDGER
        return [json.loads(line) for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]

    def done(self) -> Counter[tuple[str, int]]:
        """How often the work was done for each event."""
        return Counter((line["subject"], line["version"]) for line in self.ledger() if line["became"] == "done")

    def send(self, type_name: str, names: Sequence[tuple[str, str]]) -> None:
        said = [
            {"kind": "person", "type": type_name, "aggregate_id": person, "data": {"name": name}}
            for person, name in names
        ]
        sent = subprocess.run(
            [ENTRY_POINT, "send"],
            input="".join(json.dumps(each) + "\n" for each in said),
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert sent.returncode == 0, sent.stdout + sent.stderr

    @contextmanager
    def sending_on(self) -> Iterator[list[tuple[str, str]]]:
        """Rename everybody again and again, and once more at the end; what was sent."""
        over = Event()
        sent: list[tuple[str, str]] = []

        def send() -> None:
            is_over = False
            while not is_over:
                is_over = over.is_set()
                names = [(person, f"Name {len(sent)} {each}") for each in range(RENAMES) for person in PEOPLE]
                self.send("RenamePerson", names)
                sent.extend(names)

        with ThreadPoolExecutor(1) as pool:
            sending = pool.submit(send)
            try:
                yield sent
            finally:
                over.set()
                sending.result()

    def deliveries(self) -> dict[str, int]:
        shown: dict[str, int] = self.worker.asked("GET", f"/v1/subscriptions/{NAME}")[1]["deliveries"]
        return shown

    def is_settled(self, done: int) -> bool:
        """Whether the work is done for so many events, and nothing but the poison is open."""
        return self.done().total() == done and self.deliveries() == {"unsettled": 1, "in_flight": 0, "parked": 1}

    def read(self, role: str) -> list[Any]:
        """All records of a topic of the subscription."""
        return records_of(self.servers, f"{self.prefix}{role}.{NAME}")


def ended(subscriber: subprocess.Popen[bytes], log: Path) -> list[str]:
    """What it said until it ended by SIGTERM."""
    subscriber.send_signal(signal.SIGTERM)
    assert until_over(subscriber, log) == 0, log.read_text()
    return log.read_text().splitlines()


def poison_is_parked(scene: Scene) -> None:
    (parked,) = scene.read("parked")
    headers = {name: value.decode() for name, value in parked.headers()}
    assert (headers["ce_subject"], int(headers["ce_sequence"])) == ("poison", 1)
    assert headers["reason"] == f"{len(parked.value())} bytes, and the ledger has room for 120"
    assert {line["version"] for line in scene.ledger() if line["subject"] == "poison"} == {1}, "the next one waits"


def answers_are_as_the_page_says(scene: Scene) -> None:
    for record in scene.read("acks"):
        answer = json.loads(record.value())
        assert record.partition() == partition_of(record.key(), PARTITIONS)
        assert set(answer) - {"reason"} == {"cid", "kind", "attempt", "verdict"}
    assert scene.worker.asked("GET", "/v1/dead-letters")[1]["dead_letters"] == []


def refused_comes_again(scene: Scene, subscriber: subprocess.Popen[bytes], log: Path) -> None:
    closed = scene.folder / f"{LEDGER}.closed"
    closed.touch()
    scene.send("RenamePerson", [("p-0", "Closed")])
    until(lambda: any(line["became"] == "refused" for line in scene.ledger()), subscriber, log, "refused")
    closed.unlink()
    until(lambda: scene.is_settled(13), subscriber, log, "what was refused is settled")
    (entered,) = [line for line in scene.ledger() if (line["subject"], line["version"]) == ("p-0", 3) and line["data"]]
    assert entered["attempt"] > 1
    assert json.loads(entered["data"]) == {"name": "Closed"}
    assert {json.loads(each.value()).get("reason") for each in scene.read("acks")} >= {None, "the ledger is closed"}


def test_nothing_is_forgotten_or_done_twice(crew: Group, language: str, classes: Path, tmp_path: Path) -> None:
    scene = Scene(crew, language, classes, tmp_path)
    scene.send("RegisterPerson", [*((person, "Ada") for person in PEOPLE), ("poison", "x" * 150)])
    scene.send("RenamePerson", [(person, "Grace") for person in (*PEOPLE, "poison")])

    scene.killed_between_work_and_answer()
    (kept,) = before = scene.ledger()
    assert (kept["became"], kept["attempt"]) == ("done", 1)
    with (tmp_path / LEDGER).open("ab") as torn:
        torn.write(b'{"cid": "bafy')

    log = tmp_path / "subscriber.log"
    with scene.subscriber(log) as subscriber:
        until(lambda: scene.is_settled(12), subscriber, log, "all but the poison is settled")
        assert scene.done() == Counter((person, version) for person in PEOPLE for version in (1, 2))
        assert scene.ledger()[:1] == before
        again = [line for line in scene.ledger() if line["became"] == "done before"]
        assert kept["cid"] in {line["cid"] for line in again}
        assert all(line["attempt"] > 1 for line in again)
        poison_is_parked(scene)
        refused_comes_again(scene, subscriber, log)
        # SIGTERM in the middle of work: the event in hand is answered, and the next process goes on.
        with scene.sending_on() as sent:
            until(lambda: scene.done().total() > 13, subscriber, log, "work has begun")
            said = ended(subscriber, log)
    everything = 13 + len(sent)
    assert scene.done().total() < everything
    met = Counter(line["became"] for line in scene.ledger()[1:])
    assert said[-1] == ", ".join(f"{met[each]} {each}" for each in ("done", "done before", "refused", "parked"))
    assert len(scene.read("acks")) == met.total() == len(said) - 1, "each has its answer"
    assert f"{kept['subject']} version {kept['version']}, delivery {again[0]['attempt']}: done before" in said
    assert any(line.endswith(", first delivery: done") for line in said)

    with scene.subscriber(log) as subscriber:
        until(lambda: scene.is_settled(everything), subscriber, log, "all is settled")
        assert ended(subscriber, log)[-1].endswith(", 0 refused, 0 parked")
    assert set(scene.done().values()) == {1}
    answers_are_as_the_page_says(scene)
    assert scene.worker.end() == 0
