"""What a partition knows of the producers that wrote to it: epochs, sequence numbers, and transactions under way.

Source: KIP-98 and KIP-890; Kafka's ProducerStateManager and ProducerAppendInfo.
"""

from __future__ import annotations

from typing import Final

from annals.workers.memory.codes import Code

NO_EPOCH: Final = -1
SEQUENCES: Final = 1 << 31
REMEMBERED: Final = 5  # batches of a producer, recognised when they come again


class _Producer:
    """One producer, as a partition has seen it."""

    __slots__ = ("epoch", "first_open", "recent", "sequence")

    def __init__(self) -> None:
        self.epoch = NO_EPOCH
        self.sequence = 0  # the next one
        self.recent: list[tuple[int, int, int]] = []  # first sequence, records, base offset
        self.first_open: int | None = None


class Producers:
    """The producers of one partition."""

    def __init__(self) -> None:
        """Begin without any."""
        self._known: dict[int, _Producer] = {}

    def has_open(self, producer_id: int, epoch: int) -> bool:
        """Whether a producer has a transaction under way here, in this epoch."""
        known = self._known.get(producer_id)
        return known is not None and known.first_open is not None and known.epoch == epoch

    def first_open(self) -> int | None:
        """Return the first offset of the oldest transaction under way; None if there is none."""
        return min((known.first_open for known in self._known.values() if known.first_open is not None), default=None)

    def check(
        self, producer_id: int, epoch: int, sequence: int, count: int, *, begins_at_0: bool
    ) -> tuple[Code, int | None]:
        """Say whether a batch may be appended; with the base offset that it has already, where it comes again.

        begins_at_0: of a producer that was not seen before no batch is taken but its first (transactions of version 2).
        """
        known = self._known.get(producer_id)
        if known is None:
            return (Code.OUT_OF_ORDER_SEQUENCE_NUMBER if begins_at_0 and sequence else Code.NONE), None
        if epoch < known.epoch:
            return Code.INVALID_PRODUCER_EPOCH, None
        if epoch > known.epoch:
            return (Code.NONE if sequence == 0 else Code.OUT_OF_ORDER_SEQUENCE_NUMBER), None
        for first, records, base in known.recent:
            if (first, records) == (sequence, count):
                return Code.NONE, base
        return (Code.NONE if sequence == known.sequence else Code.OUT_OF_ORDER_SEQUENCE_NUMBER), None

    def appended(
        self, producer_id: int, epoch: int, sequence: int, count: int, base: int, *, is_transactional: bool
    ) -> None:
        """Note a batch that was appended."""
        known = self._known.setdefault(producer_id, _Producer())
        if epoch != known.epoch:
            known.epoch, known.recent = epoch, []
        known.sequence = (sequence + count) % SEQUENCES
        known.recent = [*known.recent, (sequence, count, base)][-REMEMBERED:]
        if is_transactional and known.first_open is None:
            known.first_open = base

    def touched(self, producer_id: int, epoch: int, offset: int) -> None:
        """Note that a transaction is under way from an offset on, where no batch was appended."""
        known = self._known.setdefault(producer_id, _Producer())
        known.epoch = epoch
        if known.first_open is None:
            known.first_open = offset

    def is_older(self, producer_id: int, epoch: int) -> bool:
        """Whether a later epoch of the producer was seen."""
        known = self._known.get(producer_id)
        return known is not None and epoch < known.epoch

    def ended(self, producer_id: int, epoch: int) -> None:
        """Note a marker; with another epoch the sequence numbers begin anew."""
        known = self._known.setdefault(producer_id, _Producer())
        if epoch != known.epoch:
            known.epoch, known.sequence, known.recent = epoch, 0, []
        known.first_open = None

    def truncated(self, end: int) -> None:
        """Forget the transactions that began behind the new end of the log."""
        for known in self._known.values():
            if known.first_open is not None and known.first_open >= end:
                known.first_open = None
