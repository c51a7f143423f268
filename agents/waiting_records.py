"""Records that were fetched for a shard and wait for it: bounded in bytes by pausing their source."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from annals.agents.record_sizes import bytes_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from annals.agents.ports import CommandRecord, CommandSource

HIGH_BYTES: Final = 6 << 20  # waiting for one shard; its source is paused above
LOW_BYTES: Final = 3 << 20  # below, it goes on


class WaitingRecords:
    """The records of one partition, in its order. sizes: the bytes of each, which are counted once."""

    def __init__(self, source: CommandSource) -> None:
        """Begin empty."""
        self._source = source
        self._bytes = 0
        self._is_paused = False
        self.records: list[CommandRecord] = []
        self.sizes: list[int] = []

    def clear(self) -> None:
        """Forget what waits: the source delivers anew, or nothing more."""
        self.records.clear()
        self.sizes.clear()
        self._bytes, self._is_paused = 0, False

    def put(self, records: Sequence[CommandRecord]) -> None:
        """Take records behind those that wait."""
        sizes = list(map(bytes_of, records))
        self.records += records
        self.sizes += sizes
        self._bytes += sum(sizes)
        if self._bytes > HIGH_BYTES and not self._is_paused:
            self._is_paused = True
            self._source.pause()

    def take(self, length: int) -> list[CommandRecord]:
        """Return the first so many records, which wait no more."""
        taken = self.records[:length]
        self._bytes -= sum(self.sizes[:length])
        del self.records[:length], self.sizes[:length]
        if self._is_paused and self._bytes < LOW_BYTES:
            self._is_paused = False
            self._source.resume()
        return taken
