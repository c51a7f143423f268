"""Records that were fetched for a shard and wait for it: bounded in bytes by pausing their source."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog

from annals.agents.record_sizes import bytes_of

if TYPE_CHECKING:
    from annals.agents.ports import CommandRecord, CommandSource, Delivery

log = structlog.get_logger(__name__)

HIGH_BYTES: Final = 6 << 20  # waiting for one shard; its source is paused above
LOW_BYTES: Final = 3 << 20  # below, it goes on


class WaitingRecords:
    """The records of one partition, in its order.

    sizes: the bytes of each, which are counted once. damage: why what is behind them cannot be read; empty: it can be.
    """

    def __init__(self, source: CommandSource) -> None:
        """Begin empty."""
        self._source = source
        self._bytes = 0
        self._is_paused = False
        self._next = 0
        self.damage = ""
        self.records: list[CommandRecord] = []
        self.sizes: list[int] = []

    def clear(self) -> None:
        """Forget what waits: the source delivers anew, or nothing more."""
        self.records.clear()
        self.sizes.clear()
        self._bytes, self._is_paused, self.damage = 0, False, ""

    def begin(self, offset: int) -> None:
        """Forget what waits, and take deliveries from an offset on."""
        self.clear()
        self._next = offset
        self._source.deliver_from(offset)

    def look_again(self) -> None:
        """Have what could not be read be fetched again: another replica may lead, or the disk was mended."""
        if not self.damage:
            return
        if self._source.is_damaged:
            self._is_paused = False
            self._source.deliver_from(self._next)
        else:  # what was mended has no record, or was cut off: nothing comes that would say so
            self._note_whole()

    def _note_whole(self) -> None:
        log.info("a record batch is damaged no more", reason=self.damage)
        self.damage = ""
        if not self._is_paused:
            self._source.resume()

    def put(self, delivery: Delivery) -> None:
        """Take records behind those that wait. Behind a damaged batch nothing is fetched before `look_again`."""
        if delivery.damage != self.damage:
            if delivery.damage:
                place = f"{delivery.topic}-{delivery.partition}"
                log.error("a record batch is damaged", partition=place, reason=delivery.damage)
            else:  # both may have been fetched before the damage was taken, and the source paused
                self._note_whole()
        self.damage = delivery.damage
        sizes = list(map(bytes_of, delivery.records))
        self.records += delivery.records
        self.sizes += sizes
        self._bytes += sum(sizes)
        if delivery.records:
            self._next = delivery.records[-1].offset + 1
        if self.damage:
            self._source.pause()
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
            if not self.damage:
                self._source.resume()
        return taken
