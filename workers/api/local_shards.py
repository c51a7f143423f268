"""The reading shards of this process alone (the `Shards` port): what others have is not answered here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from annals.agents.reading.ports import NotReadyError
from annals.topics.keys import partition_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from annals.agents.reading.ports import Reading, ReadingShard


class LocalShards:
    """Finds the shard of an aggregate among those of this process."""

    def __init__(self, reading: Reading) -> None:
        """Take the process's reading shards."""
        self._reading = reading

    def of(self, kind: str, aggregate_id: str) -> ReadingShard:
        """Return the shard that an aggregate is in.

        Raises:
            NotReadyError: it is not here.
        """
        partition = partition_of(aggregate_id.encode(), self._reading.partitions(kind))
        shard = self._reading.shard(kind, partition)
        if shard is None:
            raise NotReadyError(f"{kind}-{partition} is not read by this process")
        return shard

    def all(self) -> Sequence[ReadingShard]:
        """Return the shards that are here."""
        return self._reading.all()
