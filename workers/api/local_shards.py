"""The reading shards of this process alone (the `Shards` port): what others have is not answered here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from annals.agents.reading.ports import NotReadyError
from annals.topics.keys import partition_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from annals.agents.reading.ports import Reading, ReadingShard


class LocalShards:
    """Finds the shard of an aggregate among those of this process."""

    def __init__(self, reading: Reading) -> None:
        """Take the process's reading shards."""
        self._reading = reading

    def of_aggregate(self, kind: str, aggregate_id: str) -> ReadingShard:
        """Return the shard that an aggregate is in.

        Raises:
            NotReadyError: it is not here.
        """
        partition = partition_of(aggregate_id.encode(), self._reading.partitions(kind))
        shard = self._reading.shard(kind, partition)
        if shard is None:
            raise NotReadyError(f"{kind}-{partition} is not read by this process")
        return shard

    def of_kinds(self, kinds: Iterable[str]) -> Sequence[ReadingShard]:
        """Return the shards of some kinds that are here."""
        wanted = set(kinds)
        return [shard for shard in self._reading.all() if shard.kind in wanted]
