"""What a disk does to a record batch that it has kept for long."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from annals.workers.memory.cluster import MemoryCluster

VALUE, HEADERS = -2, -1  # bytes from the end of a batch


def rot(model: MemoryCluster, where: tuple[str, int], at: int = VALUE) -> None:
    """Have another byte in the newest batch of a partition: of its last record's value, or of what is behind it."""
    entry = model.logs[where].entries[-1]
    data = bytearray(entry.data)
    data[at] ^= 1
    entry.data = bytes(data)
