"""What the client raises, in the words of the `ShardLog` port."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from aiokafka.errors import KafkaError, MessageSizeTooLargeError, RecordListTooLargeError

from annals.agents.ports import (
    DamagedBatchError,
    RefusedSizeError,
    StaleStateError,
    StoppedError,
    UncertainError,
    UncertainNotPermittedError,
    UnreachableError,
    UnreachableNotPermittedError,
)
from annals.workers.kafka.diagnosis import lacking_right
from annals.workers.kafka.read.ranges import RangeGoneError

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def reaching(what: str) -> Iterator[None]:
    """Turn what the client raises when it gets no answer into the port's own word."""
    try:
        yield
    except DamagedBatchError:
        raise
    except (KafkaError, OSError, TimeoutError, AssertionError) as error:
        lacking = lacking_right(error, "Read")
        if lacking is not None:
            raise UnreachableNotPermittedError(f"{what}: {lacking}") from error
        raise UnreachableError(f"no answer from {what}: {type(error).__name__}: {error}") from error


def uncertain(who: str, error: BaseException) -> UncertainError:
    """Return what to raise where a transaction failed in its midst."""
    lacking = lacking_right(error, "Write")
    if lacking is not None:
        return UncertainNotPermittedError(f"{who}: {lacking}")
    if isinstance(error, MessageSizeTooLargeError | RecordListTooLargeError):
        told = error.args[0] if error.args else ""
        return RefusedSizeError(
            f"{told}: its max.message.bytes or its segment.bytes is too low ('annals topics check' has what is needed)"
        )
    return UncertainError(f"{who}: {type(error).__name__}: {error}")


@contextmanager
def expiring() -> Iterator[None]:
    """Have the shard look again where what it reads expires meanwhile, as all but the journal may."""
    try:
        yield
    except (StoppedError, RangeGoneError) as error:
        raise StaleStateError(f"records expired while they were read: {error}") from error


@contextmanager
def cutting() -> Iterator[None]:
    """Have the shard look again where its journal is cut off or made anew while it is read: opening says which."""
    try:
        yield
    except (StoppedError, RangeGoneError) as error:
        raise StaleStateError("the journal was cut off or made anew while it was read: looking again") from error
