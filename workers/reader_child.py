"""The child process of a worker that decides: it reads, tells its parent how it is, and ends with it.

Run as a program by `annals.workers.reader_process`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from typing import TYPE_CHECKING, Final

import structlog

from annals.agents.waiting import ended
from annals.workers import channel
from annals.workers.exposition import families_of
from annals.workers.logs import configure_logs
from annals.workers.process import CannotStartError, Stop, tune
from annals.workers.reader import Reader
from annals.workers.settings import READ

if TYPE_CHECKING:
    from collections.abc import Sequence

NICENESS: Final = 5
"""A drain may leave reading behind, and is hardly slowed by it. With 10 it has a tenth of what deciding has, and falls
behind at 1,000 events a second where the processors are full (docs/adr/0051-priority-of-reading.md)."""


async def _run_as_child(beginning: channel.Beginning, own: socket.socket) -> None:
    """Read, and answer the parent, until it says so or is gone."""
    stop = Stop()
    stop.hear(signal.SIGTERM)
    reader = Reader(beginning.settings, stop, is_child=True, former_member=beginning.former_member)
    stream, writer = await asyncio.open_unix_connection(sock=own)
    reader.members.on_joined = lambda member_id: channel.send(writer, channel.Joined(member_id))
    started = asyncio.Event()
    tune()
    running = asyncio.create_task(reader.run(started))
    hearing = asyncio.create_task(_hear(reader, stream, writer))
    starting = asyncio.create_task(started.wait())
    try:
        await asyncio.wait({starting, running}, return_when=asyncio.FIRST_COMPLETED)
        if started.is_set():
            channel.send(writer, channel.Started(reader.url))
        await running
    except CannotStartError as error:
        channel.send(writer, channel.Refused(str(error)))
        await writer.drain()
    finally:
        await ended(starting, hearing)
        stop.over()


async def _hear(reader: Reader, stream: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        try:
            await channel.receive(stream, channel.Ask)
        except (EOFError, OSError):
            # Where the kernel does not end a child with its parent: at once, as a kill would. The stores stand that.
            os._exit(1)
        reasons = reader.reasons()
        reader.metrics.ready.set(not reasons)
        channel.send(writer, channel.Answer(reasons, families_of(reader.metrics.registry, READ)))


def main(arguments: Sequence[str]) -> None:
    """Be the child of a worker: the argument is the number of the socket that it inherits."""
    own = socket.socket(fileno=int(arguments[0]))
    own.set_inheritable(False)
    os.nice(NICENESS)
    try:
        beginning = channel.receive_beginning(own)
    except EOFError:
        return
    configure_logs(beginning.settings)
    structlog.contextvars.bind_contextvars(role=READ)
    asyncio.run(_run_as_child(beginning, own))


if __name__ == "__main__":
    main(sys.argv[1:])
