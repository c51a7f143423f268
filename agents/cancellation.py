"""Whether a task was cancelled, or only what it waits for."""

from __future__ import annotations

import asyncio


def is_task_cancelled() -> bool:
    """Whether the present task was cancelled: then a CancelledError goes on to whoever did it.

    aiokafka cancels futures of its own when a connection breaks: who awaits one gets a CancelledError all the same.
    """
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0  # outside of a task nobody else can be meant
