"""The child process of the role `read`, as its parent sees it: started, asked, started again, and ended with it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import structlog

from annals.agents.backoff import Backoff
from annals.agents.waiting import ended
from annals.workers import channel, launcher
from annals.workers.process import FIRST_RETRY_S, LAST_RETRY_S, STEADY_S, CannotStartError

if TYPE_CHECKING:
    from prometheus_client import Counter

    from annals.workers.exposition import Family
    from annals.workers.process import Stop
    from annals.workers.settings import Settings

log = structlog.get_logger(__name__)

ANSWER_WITHIN_S: Final = 1.5  # an orchestrator's probe waits for longer
STOP_WITHIN_S: Final = 10.0
IGNORED: Final = f"{signal.SIGINT:d},{signal.SIGHUP:d}"  # for the whole foreground group: the parent asks the child
PROGRAM: Final = ("-P", "-m", "annals.workers.reader_child")


class ReaderProcess:
    """The process that reads. A child that ends is started again."""

    name: Final = "read"

    def __init__(self, settings: Settings, stop: Stop, restarts: Counter) -> None:
        """Take the settings, the parent's end, and what counts the child's restarts."""
        self._settings = settings
        self._stop = stop
        self._restarts = restarts
        self._reason = "the reading process is starting"
        self._writer: asyncio.StreamWriter | None = None
        self._asked: asyncio.Future[channel.Answer | None] | None = None
        self._was_started = False
        self._former_member: str | None = None
        self.url: str | None = None
        """Where the API of the child is reached."""
        self.is_known = asyncio.Event()
        """Set when the first child has started."""

    async def answer(self) -> tuple[list[str], list[Family]]:
        """Return why the child is not ready, and its metrics."""
        if self._writer is None:
            return [self._reason], []
        if self._asked is None:  # one that is held still would find a question of each probe in its socket
            self._asked = asyncio.get_running_loop().create_future()
            channel.send(self._writer, channel.Ask())
        answer = None
        with suppress(TimeoutError):
            async with asyncio.timeout(ANSWER_WITHIN_S):
                answer = await asyncio.shield(self._asked)
        if answer is None:
            return ["the reading process does not answer"], []
        return answer.reasons, answer.families

    async def run(self) -> None:
        """Keep a child running until the parent is to stop.

        Raises:
            CannotStartError: the first child cannot start as the worker is set up, which ends the parent, too.
        """
        backoff = Backoff(FIRST_RETRY_S, LAST_RETRY_S)
        loop = asyncio.get_running_loop()
        while not self._stop.is_asked():
            began = loop.time()
            try:
                status: int | str = await self._one_child()
            except OSError as error:  # no process could be started: memory or files have run out
                status = error.strerror or str(error)
            if self._stop.is_asked():
                return
            self._reason = f"the reading process ended with status {status}, and is started again"
            log.error("the reading process ended; starting it again", status=status)
            self._restarts.inc()
            if loop.time() - began > STEADY_S:
                backoff.reset()
            waiting = asyncio.create_task(backoff.wait())
            await self._stop.first_of(waiting)
            await ended(waiting)

    async def _one_child(self) -> int:
        """Start a child and wait for its end or the parent's; return its exit status."""
        own, inherited = socket.socketpair()
        with inherited:
            # From the main thread, which lives as long as the process: the kernel ends a child with the thread that
            # started it.
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", launcher.__file__, str(os.getpid()), "--ignore", IGNORED),
                *(sys.executable, *PROGRAM, str(inherited.fileno())),
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=[inherited.fileno()],
            )
        try:
            channel.send_beginning(own, channel.Beginning(self._settings, self._former_member))
            reader, self._writer = await asyncio.open_unix_connection(sock=own)
            hearing = asyncio.create_task(self._hear(reader), name="reading process")
            try:
                if hearing in await self._stop.first_of(hearing):
                    await hearing
                else:
                    with suppress(ProcessLookupError):  # a signal is heard by one that is being loaded, too
                        process.terminate()
                    over = asyncio.create_task(process.wait())
                    if over not in (await asyncio.wait({over}, timeout=STOP_WITHIN_S))[0]:
                        log.error("the reading process did not stop in time, and is killed", seconds=STOP_WITHIN_S)
            finally:
                await ended(hearing)
        except OSError as error:  # it ended before it had read everything
            log.debug("the reading process is gone", error=str(error))
        finally:
            status = await self._kill(process)
        return status

    async def _hear(self, reader: asyncio.StreamReader) -> None:
        """Take what the child says until its end.

        Raises:
            CannotStartError: it cannot start as the worker is set up, and no child ever could.
        """
        while True:
            try:
                message = await channel.receive(reader, channel.FromChild)
            except (EOFError, OSError):
                return
            if isinstance(message, channel.Started):
                self.url, self._was_started = message.url, True
                self.is_known.set()
            elif isinstance(message, channel.Joined):
                self._former_member = message.member_id
            elif isinstance(message, channel.Refused):
                if not self._was_started:
                    raise CannotStartError(message.message)
                log.error("the reading process cannot start", reason=message.message)
                self._reason = message.message
            else:
                self._answer_all(message)

    def _answer_all(self, answer: channel.Answer | None) -> None:
        """Tell whoever waits what the child answered; None: it is gone."""
        if self._asked is not None:
            self._asked.set_result(answer)
            self._asked = None

    async def _kill(self, process: asyncio.subprocess.Process) -> int:
        """Close the channel to a child, answer whoever waits for it, kill it if it runs; return its status."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        self._answer_all(None)
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
        return await process.wait()
