"""Surveys by several processes: chunks go out to whoever is free, surveys come back in the chunks' order.

Each process reads its chunks from Kafka by itself; what crosses between processes is a chunk's name and its survey. A
process ends with its pipe, so that none is left however the parent ends.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
from collections import deque
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Final

import msgspec
from aiokafka.errors import KafkaError

from annals.workers.audit.chunks import Chunk, surveyor
from annals.workers.audit.scan import Survey
from annals.workers.ctrl_c import left_to_this_process
from annals.workers.kafka.protocol.record_batches import FormatError
from annals.workers.kafka.read.ranges import RangeGoneError
from annals.workers.settings import client_options

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from annals.workers.settings import Settings

QUEUED: Final = 2  # chunks that a process has, so that it never waits for the next one
AHEAD: Final = 4  # chunks per process that may be surveyed before the one that is due: bounds what waits in memory
END_S: Final = 1.0  # a chunk takes a fifth of that; who waits for a broker is not waited for

_FAILED: Final = b"!"
_SURVEYED: Final = b"."
_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Survey).decode


class SurveyError(Exception):
    """A process could not survey its chunk; the message is the process's."""


def survey_in_processes(
    settings: Settings, topics: Sequence[str], chunks: Iterator[Chunk], processes: int
) -> Iterator[tuple[Chunk, Survey]]:
    """Yield each chunk with its survey, in the order of the chunks, surveyed by so many processes at once.

    Raises:
        SurveyError: Kafka did not give a chunk.
    """
    # Not forked: a fork would share the connections and threads of whoever calls.
    context = multiprocessing.get_context("spawn")
    workers = {}
    try:
        for _ in range(processes):
            ours, theirs = context.Pipe()
            process = context.Process(target=_survey_for, args=(theirs, settings, topics), daemon=True)
            with left_to_this_process():
                process.start()
            theirs.close()
            workers[ours] = process
        yield from _in_order(list(workers), chunks)
    finally:
        for pipe in workers:
            pipe.close()
        for process in workers.values():
            process.join(END_S)
            process.terminate()
            process.join()


def _in_order(pipes: Sequence[Connection], chunks: Iterator[Chunk]) -> Iterator[tuple[Chunk, Survey]]:
    sent: dict[Connection, deque[int]] = {pipe: deque() for pipe in pipes}
    named: dict[int, Chunk] = {}
    ready: dict[int, Survey] = {}
    number, due, is_more = 0, 0, True
    while True:
        for pipe in sorted(pipes, key=lambda pipe: len(sent[pipe])) * QUEUED:
            if is_more and len(sent[pipe]) < QUEUED and number - due < AHEAD * len(pipes):
                chunk = next(chunks, None)
                is_more = chunk is not None
                if chunk is not None:
                    pipe.send(chunk)
                    named[number] = chunk
                    sent[pipe].append(number)
                    number += 1
        if due == number:
            return
        for answered in wait([pipe for pipe in pipes if sent[pipe]]):
            assert isinstance(answered, Connection)  # noqa: S101 - what went in comes out
            ready[sent[answered].popleft()] = _received(answered)
        while due in ready:
            yield named.pop(due), ready.pop(due)
            due += 1


def _received(pipe: Connection) -> Survey:
    try:
        answer = pipe.recv_bytes()
    except (EOFError, OSError):
        raise SurveyError("a process of the verification ended by itself: is there enough memory?") from None
    if answer[:1] == _FAILED:
        raise SurveyError(answer[1:].decode())
    return _decode(memoryview(answer)[1:])


def _survey_for(pipe: Connection, settings: Settings, topics: Sequence[str]) -> None:
    logging.getLogger().addHandler(logging.NullHandler())  # what is wrong is told to the parent
    try:
        asyncio.run(_serve(pipe, settings, topics))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return


async def _serve(pipe: Connection, settings: Settings, topics: Sequence[str]) -> None:
    try:
        async with surveyor(client_options(settings), topics) as look:
            while True:
                # Nothing else is to be done in this loop meanwhile, so that it may stand still.
                chunk = pipe.recv()
                pipe.send_bytes(_SURVEYED + _encode(await look(chunk)))
    except (KafkaError, FormatError, RangeGoneError, OSError) as error:
        if isinstance(error, BrokenPipeError | ConnectionResetError):
            raise
        pipe.send_bytes(_FAILED + f"{type(error).__name__}: {error}".encode(errors="backslashreplace"))
