"""A reading process that is held still, as by SIGSTOP, is asked at each probe for as long as that lasts."""

import asyncio
import socket
from typing import Any

import pytest

from annals.workers import channel, reader_process
from annals.workers.process import Stop
from annals.workers.reader_process import ReaderProcess
from annals.workers.settings import Settings
from annals.workers.telemetry import Metrics

PROBES = 5


async def test_questions_that_nobody_answers_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Goes red when each probe leaves something for as long as the process lives."""
    monkeypatch.setattr(reader_process, "ANSWER_WITHIN_S", 0.0)
    own, childs = socket.socketpair()
    process = ReaderProcess(Settings(), Stop(), Metrics().reader_restarts)
    reader, process._writer = await asyncio.open_unix_connection(sock=own)
    for _ in range(PROBES):
        assert await process.answer() == (["the reading process does not answer"], [])
    assert process._waiting == []

    monkeypatch.setattr(reader_process, "ANSWER_WITHIN_S", 60.0)
    hearing = asyncio.create_task(process._hear(reader))
    asked = [asyncio.create_task(process.answer()) for _ in range(2)]
    await asyncio.sleep(0)
    _, writer = await asyncio.open_unix_connection(sock=childs)
    said: Any = channel.Answer(["it reads"], [])
    channel.send(writer, said)
    assert await asyncio.gather(*asked) == [(["it reads"], [])] * 2
    assert process._waiting == []
    writer.close()
    await hearing
    process._writer.close()
