"""Whom a partition's question is put to: the owner, and where it does not answer, one of the partition's standbys.

Without standbys the owner alone is asked. An owner that has not read what there was when it was opened answers from
behind: a standby that has, or that is further, answers for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from annals.agents.reading.ports import NotReadyError
from annals.agents.waiting import ended

if TYPE_CHECKING:
    from annals.agents.reading.found import ShardStatus

OWNER_S: Final = 1.0  # how long an owner is waited for before a standby is asked as well, and that before another
FIRST_LOOK_S: Final = 0.5  # of a wait: who is asked answers so much before its deadline, which is at once
LOOK_S: Final = 0.1  # between two rounds of a wait
SLICE_S: Final = 3.0  # of a wait: for so long an owner that hangs is waited for


class Told(NamedTuple):
    """Where the shard stood that was asked, before it answered, and its answer."""

    status: ShardStatus
    answer: Any


Ask = Callable[[float], Awaitable[Told]]
"""Puts a question to one shard, until a deadline. Raises NotReadyError where that does not answer."""


async def ask_in_turn(owner: Ask, standbys: Sequence[Ask], deadline: float) -> Told:
    """Return the owner's answer, or that of a standby where the owner has none by a deadline of the event loop's clock.

    An owner that takes long goes on being waited for while standbys are asked: who answers first, answers.

    Raises:
        NotReadyError: nobody answers; the owner's.
    """
    if not standbys:
        return await owner(deadline)
    left = deadline - asyncio.get_running_loop().time()
    asking = asyncio.ensure_future(owner(deadline))
    standing: asyncio.Future[Told] | None = None
    try:
        await asyncio.wait({asking}, timeout=min(OWNER_S, left / 2))
        if asking.done() and _is_whole(asking):
            return asking.result()
        standing = asyncio.ensure_future(_first_of(standbys, deadline))
        await asyncio.wait({asking, standing}, return_when=asyncio.FIRST_COMPLETED)
        if not asking.done() and standing.exception() is None:
            return standing.result()
        if not (asking.done() and _is_whole(asking)):
            await asyncio.wait({asking, standing})
        return _better(asking, standing)
    finally:
        await ended(*([asking] if standing is None else [asking, standing]))


async def until_any(asks: Sequence[Ask], deadline: float) -> tuple[Told | None, int | None]:
    """Put a question that waits to the owner again and again, and to standbys while the owner does not answer.

    asks: the owner, then standbys. Returns what was told last (None: nobody told anything), and which of them says that
    what is waited for has come; None: it has not, by the deadline.
    """
    now = asyncio.get_running_loop().time
    last: Told | None = None
    has_standbys = len(asks) > 1
    slice_s = FIRST_LOOK_S if has_standbys else deadline - now()
    while True:
        for number, ask in enumerate(asks):
            until = min(deadline, now() + slice_s)
            try:
                last = await ask(until)
            except NotReadyError:
                continue
            if last.answer:
                return last, number
            if last.status.reached:  # it has not come: whoever has read all there was would know
                break
        left = deadline - now()
        if left <= 0:
            return last, None
        slice_s = SLICE_S if has_standbys else left
        await asyncio.sleep(min(LOOK_S, left))


async def _first_of(standbys: Sequence[Ask], deadline: float) -> Told:
    """Return the answer of the first standby that is whole, or of the one that is furthest.

    Raises:
        NotReadyError: none answers; of the last one.
    """
    now = asyncio.get_running_loop().time
    best: Told | None = None
    last = NotReadyError("there is no standby")
    for number, ask in enumerate(standbys):
        is_last = number == len(standbys) - 1
        try:
            told = await ask(deadline if is_last else min(deadline, now() + OWNER_S))
        except NotReadyError as error:
            last = error
            continue
        if told.status.reached:
            return told
        if best is None or told.status.offset > best.status.offset:
            best = told
    if best is None:
        raise last
    return best


def _is_whole(asking: asyncio.Future[Told]) -> bool:
    """Whether nobody else is to be asked: an answer that is not from behind, or an error that any shard would have."""
    error = asking.exception()
    return asking.result().status.reached if error is None else not isinstance(error, NotReadyError)


def _better(asking: asyncio.Future[Told], standing: asyncio.Future[Told]) -> Told:
    """Return of two answers the one that rests on more; the owner's, or its error, where the standby has none."""
    if _is_whole(asking) or not standing.done() or standing.exception() is not None:
        return asking.result()
    if asking.exception() is not None:
        return standing.result()
    owners, standbys = asking.result(), standing.result()
    is_further = standbys.status.reached or standbys.status.offset > owners.status.offset
    return standbys if is_further else owners
