"""Workers of one consumer group as processes of their own, with what a test needs to know of the group."""

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Self

import psutil
from aiokafka.admin import AIOKafkaAdminClient

from annals.workers.client import CommandClient
from annals.workers.settings import Settings
from processes import (
    ENTRY_POINT,
    WITHIN_S,
    annals,
    answer_of,
    free_port,
    own_environment,
    page_of,
    running,
    until,
    until_over,
)
from whole_topics import records_of

# A worker with other constants or fewer kinds, {"module:name": value}, with lines run first, {"exec": lines}, with
# another session of the process that reads, {"reading_session_ms": milliseconds}, or with that process deciding about
# more parked events than so many in jobs, {"parked_at_once": number}.
LAUNCHER = """
import importlib, json, sys
patches = json.loads(sys.argv.pop(1))
exec(patches.pop("exec", ""))
at_once = patches.pop("parked_at_once", None)
if session_ms := patches.pop("reading_session_ms", 0):
    from annals.workers import reader, reader_process
    reader.READING_SESSION_TIMEOUT_MS = session_ms
    child = "import sys; from annals.workers import reader, reader_child; "
    child += f"reader.READING_SESSION_TIMEOUT_MS = {session_ms}; "
    if at_once is not None:
        child += f"from annals.workers.api.routes import parked; parked.MOST_AT_ONCE = {at_once}; "
    child += "reader_child.main(sys.argv[1:])"
    reader_process.PROGRAM = ("-P", "-c", child)
for name, value in patches.items():
    module, attribute = name.split(":")
    module = importlib.import_module(module)
    if attribute == "REGISTRY":
        value = {kind: module.REGISTRY[kind] for kind in value}
    setattr(module, attribute, value)
from annals.workers.cli import main
main()
"""
AGAIN = (0, 503, 504)  # no answer, not ready, not in time: whoever asked may ask again
ONE_KIND = {"annals.agents.registered:REGISTRY": ["person"]}
SOON_MISSED: dict[str, Any] = {"reading_session_ms": 12_000}
"""For tests that kill a whole worker: its reading process is missed after 12 seconds, not after 30."""


class GroupWorker:
    """One worker process."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.process = process
        self.port = port
        self.log = log

    def until(self, is_so: Callable[[], Any], what: str) -> Any:
        return until(is_so, self.process, self.log, what)

    def until_ready(self) -> Self:
        self.until(lambda: self.health() == [], "ready")
        return self

    def until_told(self, words: str) -> str:
        """The first reason of readiness that has these words, once there is one."""
        return str(
            self.until(lambda: next((each for each in self.health() or [] if words in each), None), f"told: {words}")
        )

    def until_over(self) -> int:
        return until_over(self.process, self.log)

    def health(self) -> list[str] | None:
        """Why it is not ready; None while it cannot be asked."""
        status, body = answer_of(f"http://127.0.0.1:{self.port}/health/ready")
        return list(json.loads(body)["reasons"]) if status else None

    def metrics(self) -> str:
        return str(self.until(lambda: page_of(self.port, "/metrics"), "its metrics are answered"))

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """Ask the API; status and body, status 0 where no answer came whole."""
        url = self.logged("worker started")[0]["api"] + path
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            url, data, {"content-type": "application/json", **headers} if data else headers, method=method
        )
        status, answer = answer_of(request, timeout_s=90)
        return status, json.loads(answer or b"{}")

    def asked(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """The same, asked again as long as that is the answer: for what may be done twice."""

        def answered() -> tuple[int, Any] | None:
            status, answer = self.call(method, path, body, **headers)
            return None if status in AGAIN else (status, answer)

        found: tuple[int, Any] = self.until(answered, f"{method} {path} is answered")
        return found

    def subscribe(self, name: str, **definition: Any) -> Any:
        """Put a new subscription, and return it."""
        path, put = f"/v1/subscriptions/{name}", {"name": name, **definition}
        status, made = self.call("PUT", path, put)
        if status in AGAIN:
            status, made = self.asked("PUT", path, put)
            if status == 412:  # it was made, though not in time
                status, made = self.asked("GET", path)
                assert status == 200, made
                return made
        assert status == 201, made
        return made

    def kill(self) -> None:
        """End it and its reading process, as a machine that loses its power does."""
        for child in psutil.Process(self.process.pid).children():
            child.kill()
        self.process.kill()
        self.process.wait()

    def reader(self) -> psutil.Process:
        """Its process that reads, once one lives: behind a kill there is none for a moment."""

        def living() -> list[psutil.Process]:
            with contextlib.suppress(psutil.NoSuchProcess):
                children = psutil.Process(self.process.pid).children()
                return [each for each in children if each.status() != psutil.STATUS_ZOMBIE]
            return []

        (child,) = self.until(living, "it has a process that reads")
        assert isinstance(child, psutil.Process)
        return child

    def kill_reader(self) -> None:
        """End its process that reads, as the kernel does where memory runs out; return when it is gone."""
        child = self.reader()
        child.kill()
        child.wait(WITHIN_S)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.until_over()

    def logged(self, words: str) -> list[dict[str, Any]]:
        lines = (line for line in self.log.read_text().splitlines() if words in line)
        return [json.loads(line) for line in lines if line.startswith("{")]


class Group:
    """The workers of one prefix, and the broker's view of their group."""

    def __init__(self, settings: Settings, folder: Path, partitions: int) -> None:
        folder.mkdir(exist_ok=True)
        self.settings = settings
        self.folder = folder
        self.partitions = partitions
        self._stack = contextlib.ExitStack()
        self._sent = 0

    @property
    def name(self) -> str:
        return f"{self.settings.topic_prefix}{self.settings.app_id}"

    def worker(self, name: str, patches: dict[str, Any] = ONE_KIND, **settings: str) -> GroupWorker:
        """Start a worker; `settings` without their prefix."""
        port = free_port()
        given = {
            "BOOTSTRAP_SERVERS": self.settings.bootstrap_servers,
            "TOPIC_PREFIX": self.settings.topic_prefix,
            "APP_ID": self.settings.app_id,
            "DATA_DIR": str(self.folder / name),
            "PARTITIONS": str(self.partitions),
            "CREATE_TOPICS": "1",
            "WEB_PORT": str(port),
            "LOG_FORMAT": "json",
            **settings,
        }
        environment = own_environment(**{f"ANNALS_{key}": value for key, value in given.items()})
        command = (
            [sys.executable, "-c", LAUNCHER, json.dumps(patches), "worker"] if patches else [ENTRY_POINT, "worker"]
        )
        log = self.folder / f"{name}.log"
        process = self._stack.enter_context(running(command, environment, log))
        return GroupWorker(process, port, log)

    @property
    def environment(self) -> dict[str, str]:
        """What leads a command to these topics."""
        return own_environment(
            ANNALS_BOOTSTRAP_SERVERS=self.settings.bootstrap_servers,
            ANNALS_TOPIC_PREFIX=self.settings.topic_prefix,
            ANNALS_APP_ID=self.settings.app_id,
        )

    def annals(self, *arguments: str) -> subprocess.Popen[str]:
        """Begin a command, with pipes."""
        pipe = subprocess.PIPE
        return subprocess.Popen(
            [ENTRY_POINT, *arguments], env=self.environment, stdin=pipe, stdout=pipe, stderr=pipe, text=True
        )

    def run(self, *arguments: str, said: str = "", **settings: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end; said: its standard input. `settings` without their prefix."""
        given = {f"ANNALS_{name}": value for name, value in settings.items()}
        return annals(*arguments, environment=self.environment | given, said=said)

    def said(self, *arguments: str, said: str = "", **settings: str) -> str:
        """Run a command that succeeds, and return what it prints."""
        done = self.run(*arguments, said=said, **settings)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def send(self, commands: Iterable[dict[str, Any]]) -> None:
        """Send commands by `annals send`."""
        self.said("send", said="".join(f"{json.dumps(command)}\n" for command in commands))

    def records(self, topic: str) -> list[Any]:
        """All committed records of a topic, named without the prefix."""
        return records_of(self.settings.bootstrap_servers, f"{self.settings.topic_prefix}{topic}")

    def members(self, group: str | None = None) -> int:
        """How many members the broker counts in a group; None: in that of those who decide."""

        async def ask() -> int:
            admin = AIOKafkaAdminClient(bootstrap_servers=self.settings.bootstrap_servers)
            await admin.start()
            try:
                (answer,) = await admin.describe_consumer_groups([group or self.name])
                ((_, _, _, _, _, members, *_),) = answer.groups
                return len(members)
            finally:
                await admin.close()

        return asyncio.run(ask())

    def answers(self, number: int = 8) -> list[str]:
        """Send so many commands; the status of each answer."""
        self._sent += 1
        people = [f"p-{self._sent}-{each}" for each in range(number)]

        async def send() -> list[str]:
            async with CommandClient(self.settings, timeout_s=60) as client:
                outcomes = await asyncio.gather(*(client.send("person", self._command(each)) for each in people))
                return [outcome.status for outcome in outcomes]

        return asyncio.run(send())

    def _command(self, aggregate_id: str) -> dict[str, Any]:
        return {"type": "RegisterPerson", "aggregate_id": aggregate_id, "data": {"name": "Ada Lovelace"}}

    def close(self) -> None:
        self._stack.close()


@contextlib.contextmanager
def group(bootstrap: str, prefix: str, folder: Path, partitions: int = 2, app_id: str = "annals") -> Iterator[Group]:
    """A group without workers yet; those that it gets end with it."""
    made = Group(Settings(bootstrap_servers=bootstrap, topic_prefix=prefix, app_id=app_id), folder, partitions)
    try:
        yield made
    finally:
        made.close()


def within(seconds: float) -> Iterator[None]:
    """Go round for so long: for what must *not* happen meanwhile."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        yield
