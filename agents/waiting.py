"""Waiting for the first of several things."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable


async def first_of(
    *awaited: Coroutine[Any, Any, object], timeout_s: float, tasks: Iterable[asyncio.Task[Any]] = ()
) -> None:
    """Wait until one of several things has come, or the time is over; the others are then waited for no longer.

    tasks: of others, which go on.
    """
    waiting = [asyncio.ensure_future(each) for each in awaited]
    try:
        await asyncio.wait([*waiting, *tasks], timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in waiting:
            each.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
