"""The processes that are measured: started, asked, and ended whatever happens."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import sys
from collections import defaultdict
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from annals.workers import launcher
from annals.workers.tools.bench.usage import usage_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Sequence
    from pathlib import Path

    from annals.workers.tools.bench.ground import Site
    from annals.workers.tools.bench.usage import Usage

ANNALS: Final = ("-c", "from annals.workers.cli import main; main()")
LOOK_S: Final = 0.1
OK: Final = 200
READY_S: Final = 120.0
END_S: Final = 60.0
SHOWN: Final = 3_000  # characters of a log that say why a process failed
_P = TypeVar("_P", bound="Program")
_numbers: Final = itertools.count(1)


class BenchError(Exception):
    """A measurement could not be made; the message says what happened, with the log's end."""


class Program:
    """One process. `log` has its standard error; its standard output is what it has found."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        """Take a started process."""
        self._process = process
        self.log = log

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process.returncode is None

    def usage(self) -> Usage:
        """Return what it has taken so far."""
        self.require_running()
        return usage_of(self._process.pid)

    def require_running(self) -> None:
        """Raise BenchError when it has ended."""
        if not self.is_running:
            raise BenchError(f"{self.log.stem} ended with {self._process.returncode}:\n{self.log.read_text()[-SHOWN:]}")

    async def result(self, within_s: float) -> dict[str, Any]:
        """Wait for the JSON line that it prints when it has done its work.

        Raises:
            BenchError: it ended without one, or was not done in time.
        """
        assert self._process.stdout is not None  # noqa: S101 - `start` asked for it
        try:
            async with asyncio.timeout(within_s):
                line = await self._process.stdout.readline()
        except TimeoutError:
            raise BenchError(f"{self.log.stem} was not done within {within_s:.0f} s") from None
        if not line:
            await self._process.wait()
            self.require_running()
        found: dict[str, Any] = json.loads(line)
        return found

    async def until_over(self, within_s: float) -> None:
        """Wait for its end by itself."""
        async with asyncio.timeout(within_s):
            await self._process.wait()

    def kill(self) -> None:
        """Kill it as a power failure would."""
        self._process.kill()

    async def end(self) -> None:
        """Stop it in order, or kill it when it does not stop."""
        if self.is_running:
            self._process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(END_S):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()


class Worker(Program):
    """A process of `annals worker`."""

    address: str = ""

    def logged(self, event: str) -> list[dict[str, Any]]:
        """Return the log's entries of an event, oldest first."""
        lines = [line for line in self.log.read_text().splitlines() if line.startswith("{")]
        entries: list[dict[str, Any]] = [json.loads(line) for line in lines]
        return [entry for entry in entries if entry.get("event") == event]

    def partitions(self, kind: str) -> set[int]:
        """Return the partitions of a kind that it was assigned last."""
        assigned = self.logged("shards assigned")
        shards = [shard.rpartition("-") for shard in assigned[-1]["shards"]] if assigned else []
        return {int(partition) for of, _, partition in shards if of == kind}

    async def until_ready(self) -> None:
        """Wait until every partition that is assigned to it is open.

        Raises:
            BenchError: it ended, or took too long.
        """
        try:
            async with asyncio.timeout(READY_S):
                while not await self._is_ready():
                    self.require_running()
                    await asyncio.sleep(LOOK_S)
        except TimeoutError:
            raise BenchError(f"not ready within {READY_S:.0f} s:\n{self.log.read_text()[-SHOWN:]}") from None

    async def _is_ready(self) -> bool:
        if not self.address:
            started = self.logged("worker started")
            self.address = started[0]["web"] if started else ""
        if not self.address:
            return False
        try:
            return (await self._ask("/health/ready"))[0] == OK
        except aiohttp.ClientConnectionError:
            return False  # it is ending; why is in its log

    async def metrics(self) -> Samples:
        """Return what `GET /metrics` says now."""
        return Samples((await self._ask("/metrics"))[1])

    async def _ask(self, path: str) -> tuple[int, str]:
        async with aiohttp.ClientSession() as session, session.get(self.address + path) as answer:
            return answer.status, await answer.text()


class Samples:
    """The samples of one `GET /metrics`."""

    def __init__(self, text: str) -> None:
        """Read Prometheus' text format."""
        self._samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]

    def total(self, name: str, **labels: str) -> float:
        """Return the sum of a metric's samples."""
        return sum(each.value for each in self._samples if each.name == name and labels.items() <= each.labels.items())

    def buckets(self, name: str, **labels: str) -> dict[float, float]:
        """Return a histogram's cumulative counts by upper bound."""
        found: dict[float, float] = defaultdict(float)
        for each in self._samples:
            if each.name == f"{name}_bucket" and labels.items() <= each.labels.items():
                found[float(each.labels["le"])] += each.value
        return dict(found)


@asynccontextmanager
async def program(site: Site, name: str, arguments: Sequence[str]) -> AsyncIterator[Program]:
    """Run a Python process with these arguments; it ends with the block."""
    log = site.folder / f"{name}-{next(_numbers)}.log"
    async with _ended(Program(await _start(arguments, log), log)) as process:
        yield process


@asynccontextmanager
async def worker(site: Site, *options: str, data: str = "data") -> AsyncIterator[Worker]:
    """Run a worker of all kinds on the site's topics; it ends with the block. data: the folder of its stores."""
    settings = site.settings
    arguments = [
        *(*ANNALS, "worker", "--bootstrap-servers", settings.bootstrap_servers),
        *("--topic-prefix", settings.topic_prefix, "--data-dir", str(site.folder / data)),
        *("--roles", "write", "--web-port", "0", "--log-format", "json", "--log-level", "info"),
        *options,
    ]
    log = site.folder / f"worker-{next(_numbers)}.log"
    async with _ended(Worker(await _start(arguments, log), log)) as process:
        yield process


@asynccontextmanager
async def _ended(process: _P) -> AsyncIterator[_P]:
    try:
        yield process
    finally:
        await undisturbed(process.end())


async def undisturbed(work: Coroutine[Any, Any, None]) -> None:
    """Do all of it, even if whoever waits for it is cancelled meanwhile: cleaning up is not left half done."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise


async def _start(arguments: Sequence[str], log: Path) -> asyncio.subprocess.Process:
    with log.open("ab") as output:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", launcher.__file__, str(os.getpid())),  # it ends with this process, however
            *(sys.executable, *arguments),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=output,
            start_new_session=True,  # a Ctrl-C is for this process, which then stops them in order
        )
