"""Where a shard's commands come from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

Headers = Sequence[tuple[str, bytes | None]]


class CommandRecord(Protocol):
    """A record as the consumer delivers it."""

    @property
    def offset(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Headers: ...
    @property
    def timestamp(self) -> int: ...


class Delivery(NamedTuple):
    """What one fetch brought of one partition, and in which generation of its source.

    No records at all: the offset from which to go on is not in the topic (any more), unless there is `damage`: why what
    is behind these records cannot be read.
    """

    topic: str
    partition: int
    generation: int
    records: Sequence[CommandRecord]
    damage: str = ""


class CommandSource(Protocol):
    """Where a shard's commands come from. What was fetched before the last `deliver_from` is of an older generation.

    decided_until: all commands below `next_offset` are decided; return the offset below which nothing is left to
    decide. It is larger where markers and aborted records follow, as far as they were read.
    is_damaged: a damaged batch was delivered, and has neither been passed since nor is gone.
    """

    @property
    def generation(self) -> int: ...
    @property
    def is_damaged(self) -> bool: ...
    def deliver_from(self, offset: int) -> None: ...
    def decided_until(self, next_offset: int) -> int: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...
