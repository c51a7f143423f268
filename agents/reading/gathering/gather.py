"""Ask all partitions at once: whoever does not answer in time is named, and the others' answers are given."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Generic, NamedTuple, TypeVar

from msgspec import Struct

from annals.agents.reading.found import PHASES, STOPPED
from annals.agents.reading.ports import NotReadyError
from annals.agents.waiting import ended

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from annals.agents.reading.found import ShardStatus
    from annals.agents.reading.ports import Key, ReadingShard

T = TypeVar("T")

STANDBY: Final = "standby"
NO_ANSWER: Final = "no answer in time"


class PartitionReason(Struct, frozen=True):
    """A partition that is missing in an answer or behind in it, and why."""

    kind: str
    partition: int
    reason: str


class Lag(Struct, frozen=True):
    """How far an answer is behind the journal: events that were not read, and the age of the oldest of them."""

    events: int
    seconds: float


class Gathered(NamedTuple, Generic[T]):
    """Answers by kind and partition, and what they rest on.

    positions: kind -> the next offset of each partition, None where it is missing.
    """

    answers: dict[Key, T]
    positions: dict[str, list[int | None]]
    missing: list[PartitionReason]
    stale: list[PartitionReason]
    lag: Lag


async def gather(
    shards: Sequence[ReadingShard],
    ask: Callable[[ReadingShard], Awaitable[T]],
    deadline: float,
    follower: str | None = None,
    is_enough: Callable[[T], bool] | None = None,
) -> Gathered[T]:
    """Ask all shards at once, and wait for their answers until a deadline (of the event loop's clock).

    A shard that is not ready, or has not answered by then, is among `missing`. Any other error of a shard is raised.
    is_enough: whether one answer suffices; the others are then not waited for. follower: the fold whose rows the
    answers come from, beside the event index; where it is behind, the partition is `stale`.

    Raises:
        BrokenChainError: a shard's store does not have what the journal had.
    """
    loop = asyncio.get_running_loop()
    tasks: dict[asyncio.Future[T], ReadingShard] = {asyncio.ensure_future(ask(shard)): shard for shard in shards}
    pending = set(tasks)
    first = asyncio.FIRST_EXCEPTION if is_enough is None else asyncio.FIRST_COMPLETED
    try:
        while pending and (left := deadline - loop.time()) > 0:
            done, pending = await asyncio.wait(pending, timeout=left, return_when=first)
            if any(not isinstance(task.exception(), NotReadyError | None) for task in done):
                break  # `_gathered` raises it; a shard that is only not ready ends nothing
            if is_enough and any(task.exception() is None and is_enough(task.result()) for task in done):
                break
        return _gathered(tasks, follower)
    finally:
        await ended(*pending)


def _gathered(tasks: dict[asyncio.Future[T], ReadingShard], follower: str | None) -> Gathered[T]:
    answers: dict[Key, T] = {}
    missing: list[PartitionReason] = []
    stale: list[PartitionReason] = []
    positions: dict[str, list[int | None]] = {}
    events, seconds = 0, 0.0
    for task, shard in sorted(tasks.items(), key=lambda item: (item[1].kind, item[1].partition)):
        key = shard.kind, shard.partition
        own = positions.setdefault(shard.kind, [])
        own += [None] * (shard.partition + 1 - len(own))
        error = task.exception() if task.done() else NotReadyError(NO_ANSWER)
        if isinstance(error, NotReadyError):
            missing.append(PartitionReason(*key, str(error)))
            continue
        answers[key] = task.result()
        status = shard.status()
        own[shard.partition] = status.offset
        events, seconds = events + status.end - status.offset, max(seconds, status.lag_s)
        reason = why_behind(status, follower)
        if reason is not None:
            stale.append(PartitionReason(*key, reason))
    return Gathered(answers, positions, missing, stale, Lag(events, seconds))


def is_indexing(status: ShardStatus) -> bool:
    """Whether a shard has not come to where the journal ended when it was opened, and goes on to there."""
    return not status.reached and status.phase != STOPPED


def why_behind(status: ShardStatus, follower: str | None) -> str | None:
    """Return why what a shard answers is old, or may be; None if it is not."""
    why = _why_behind(status, follower)
    if status.standby:
        return STANDBY if why is None else f"{STANDBY}: {why}"
    return why


def _why_behind(status: ShardStatus, follower: str | None) -> str | None:
    if status.phase == STOPPED:
        return status.reason
    if is_indexing(status):
        return f"indexing: at offset {status.offset} of {status.end}"
    if status.phase not in PHASES:
        return f"in a phase of a later release: {status.phase}"
    return None if follower is None else status.stale.get(follower)
