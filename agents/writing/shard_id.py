"""Which shard is meant: a kind, and a partition of its commands."""

from __future__ import annotations

from typing import NamedTuple


class ShardId(NamedTuple):
    """Which shard this is."""

    kind: str
    topic: str
    partition: int
    partitions: int
