"""A client that is closed by a task which is cancelled in there: the cancellation is that of the task."""

import asyncio

import pytest

from slow_closing import SlowClosing


async def test_who_is_cancelled_while_it_closes_a_client_ends_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = SlowClosing(monkeypatch)
    client = await slow.client()

    async def close_and_go_on() -> None:
        await client.close()
        await asyncio.Event().wait()

    task = asyncio.create_task(close_and_go_on())
    assert await slow.cancelled_while_closing(task)
    assert client._sync_task is None, "it is closed all the same"


async def test_who_is_not_cancelled_goes_on_behind_it(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = SlowClosing(monkeypatch)
    client = await slow.client()
    slow._goes_on.set()
    await client.close()
