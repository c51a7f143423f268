"""An app that does not stop keeps no process, whatever it does with its cancellation."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from annals.workers import process


async def test_an_app_that_takes_no_cancellation_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "STOP_WITHIN_S", 0.01)
    is_over = asyncio.Event()

    async def stop() -> None:
        while not is_over.is_set():
            try:
                await is_over.wait()
            except asyncio.CancelledError:
                continue

    app: Any = SimpleNamespace(stop=stop)
    stopping = asyncio.create_task(process.stopped(app))
    await asyncio.wait({stopping}, timeout=60)
    has_ended = stopping.done()
    is_over.set()
    await stopping
    assert has_ended


@pytest.mark.parametrize("error", [RuntimeError("a defect"), asyncio.CancelledError()])
async def test_an_app_that_fails_to_stop_has_stopped(error: BaseException) -> None:
    async def stop() -> None:
        raise error

    app: Any = SimpleNamespace(stop=stop)
    await process.stopped(app)
