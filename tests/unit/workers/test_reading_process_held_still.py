"""A reading process that is held still, as by SIGSTOP, is asked at each probe for as long as that lasts."""

import asyncio
import socket
from typing import Any

import msgspec
import pytest

from annals.workers import channel, reader_process
from annals.workers.process import Stop
from annals.workers.reader_process import ReaderProcess
from annals.workers.settings import Settings
from annals.workers.telemetry import Metrics

PROBES = 5
QUESTION = channel.LENGTH.pack(len(ASK := msgspec.msgpack.encode(channel.Ask()))) + ASK


async def test_it_finds_one_question_however_often_it_was_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Goes red when each probe leaves something, here or in the socket, for as long as the process lives."""
    monkeypatch.setattr(reader_process, "ANSWER_WITHIN_S", 0.0)
    own, childs = socket.socketpair()
    process = ReaderProcess(Settings(), Stop(), Metrics().reader_restarts)
    reader, process._writer = await asyncio.open_unix_connection(sock=own)
    for _ in range(PROBES):
        assert await process.answer() == (["the reading process does not answer"], [])
    assert childs.recv(1 << 16) == QUESTION

    monkeypatch.setattr(reader_process, "ANSWER_WITHIN_S", 60.0)
    hearing = asyncio.create_task(process._hear(reader))
    asked = [asyncio.create_task(process.answer()) for _ in range(2)]
    await asyncio.sleep(0)
    readable, writer = await asyncio.open_unix_connection(sock=childs)
    said: Any = channel.Answer(["it reads"], [])
    channel.send(writer, said)
    assert await asyncio.gather(*asked) == [(["it reads"], [])] * 2

    asked = [asyncio.create_task(process.answer())]
    await asyncio.sleep(0)
    channel.send(writer, said)
    assert await asyncio.gather(*asked) == [(["it reads"], [])]
    assert await readable.read(len(QUESTION)) == QUESTION
    writer.close()
    await hearing
    process._writer.close()
