"""Whoever looks at the brokers and is cancelled ends, also where that meets it while it disconnects after a failure."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from annals.workers.watch import Watch
from slow_closing import OPTIONS, SlowClosing


async def test_a_watch_that_is_cancelled_while_it_disconnects_ends_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(self: Watch, client: Any) -> None:
        raise OSError("a connection broke")

    monkeypatch.setattr(Watch, "_count", away)
    slow = SlowClosing(monkeypatch)
    shards = SimpleNamespace(all=list, partitions=SimpleNamespace(announce=lambda: None))
    up = SimpleNamespace(set=lambda value: None)
    watch = Watch(OPTIONS, {}, {}, shards, SimpleNamespace(broker_up=up), None)
    assert await slow.cancelled_while_closing(asyncio.create_task(watch.run()))
