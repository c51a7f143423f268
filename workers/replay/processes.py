"""A replay by several processes: each has a share of the partitions, and tells its steps to the one that began it.

What crosses between processes is names and positions, and the lines for a file, which only one may write. A handler is
loaded by its name in each process. A process ends with its pipe, so that none is left however the parent ends.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import threading
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Final

from aiokafka.errors import KafkaError

from annals.schemas.journal_reader import GapError
from annals.workers.ctrl_c import left_to_this_process
from annals.workers.kafka.connections import words_of
from annals.workers.kafka.protocol.record_batches import FormatError
from annals.workers.kafka.read.ranges import RangeGoneError
from annals.workers.replay.plan import HandlerFailedError, ReplayError, Step
from annals.workers.replay.share import replay_share

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from annals.workers.replay.plan import Plan
    from annals.workers.replay.share import Part
    from annals.workers.settings import Settings

LOOK_S: Final = 0.2  # whether it is cancelled
END_S: Final = 5.0  # for what is on its way to a target; then a process is ended


def replay_in_processes(
    settings: Settings,
    plan: Plan,
    shares: Sequence[Sequence[Part]],
    tell: Callable[[Step], None],
    is_cancelled: Callable[[], bool] | None = None,
) -> None:
    """Replay each share in a process of its own.

    Raises:
        GapError, HandlerFailedError, ReplayError: as a share has it, a process ended by itself, or it is cancelled.
    """
    context = multiprocessing.get_context("spawn")  # a fork would share the connections of whoever calls
    working = {}
    try:
        for share in shares:
            ours, theirs = context.Pipe()
            process = context.Process(target=_replay_in_child, args=(theirs, settings, plan, share), daemon=True)
            with left_to_this_process():
                process.start()
            theirs.close()
            working[ours] = process
        _listen(list(working), tell, is_cancelled)
    finally:
        for pipe in working:
            pipe.close()
        for process in working.values():
            process.join(END_S)
            process.terminate()
            process.join()


def _listen(pipes: list[Connection], tell: Callable[[Step], None], is_cancelled: Callable[[], bool] | None) -> None:
    """Pass on each share's steps until all have ended; raise the first failure, or that of a cancelled replay."""
    while pipes:
        if is_cancelled is not None and is_cancelled():
            raise ReplayError("the replay is cancelled")
        for pipe in wait(pipes, None if is_cancelled is None else LOOK_S):
            assert isinstance(pipe, Connection)  # noqa: S101 - what went in comes out
            try:
                said = pipe.recv()
            except (EOFError, OSError):
                raise ReplayError("a process of the replay ended by itself: is there enough memory?") from None
            if isinstance(said, Step):
                tell(said)
            elif said is None:
                pipes.remove(pipe)
            else:
                raise said


def _replay_in_child(pipe: Connection, settings: Settings, plan: Plan, share: Sequence[Part]) -> None:
    """Replay a share in a child process. Sends each step, then the exception that ended it, or None for success."""
    logging.getLogger().addHandler(logging.NullHandler())  # what is wrong is told to the parent
    threading.Thread(target=_end_with, args=(pipe,), daemon=True).start()
    try:
        asyncio.run(replay_share(settings, plan, share, pipe.send))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
    except (GapError, HandlerFailedError, ReplayError) as error:
        pipe.send(error)
    except (FormatError, KafkaError, OSError, RangeGoneError) as error:
        pipe.send(ReplayError(f"{type(error).__name__}: {words_of(error)}"))
    else:
        pipe.send(None)


def _end_with(pipe: Connection) -> None:
    """End this process when the parent is gone: nothing is replayed that nobody keeps the position of."""
    try:
        pipe.recv()
    except (EOFError, OSError):
        os._exit(1)
