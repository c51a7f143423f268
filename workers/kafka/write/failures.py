"""What the client raises, in the words of the `ShardLog` port."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from aiokafka.errors import KafkaError

from annals.agents.ports import StaleStateError, StoppedError, UnreachableError
from annals.workers.kafka.read.ranges import RangeGoneError

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def reaching(what: str) -> Iterator[None]:
    """Turn what the client raises when it gets no answer into the port's own word."""
    try:
        yield
    except (KafkaError, OSError, TimeoutError, AssertionError) as error:
        raise UnreachableError(f"no answer from {what}: {type(error).__name__}: {error}") from error


@contextmanager
def expiring() -> Iterator[None]:
    """Have the shard look again where what it reads expires meanwhile, as all but the journal may."""
    try:
        yield
    except (StoppedError, RangeGoneError) as error:
        raise StaleStateError(f"records expired while they were read: {error}") from error
