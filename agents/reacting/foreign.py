"""A partition of another deployment's journal, judged as it comes: what a reaction to its events reads.

Nothing is kept of it but in memory: each time that it is opened it is read from its beginning, since an event counts by
those before it. What lies below the position that is asked for is judged and not handed out.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

import structlog

from annals.agents.reading.found import JournalEvent
from annals.agents.reading.streams.ranged import RangedSource
from annals.schemas.journal_reader import Counted, Foreign, Gap, RememberingReader, Void
from annals.topics.keys import keys_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from annals.agents.ports import Clock
    from annals.agents.reacting.ports import ForeignTelemetry
    from annals.agents.reading.ports import FollowedRecord, RangedJournal

COUNTED, VOID, FOREIGN, GAP = "counted", "void", "foreign", "gap"
STATUS: Final = {Counted: COUNTED, Void: VOID, Foreign: FOREIGN, Gap: GAP}


class ForeignJournal(RangedSource):
    """One partition of it, judged by the rule of every reader."""

    def __init__(
        self,
        deployment: str,
        kind: str,
        partition: int,
        partitions: int,
        journal: RangedJournal,
        clock: Clock,
        telemetry: ForeignTelemetry,
    ) -> None:
        """Take whose journal it is, which partition of how many, what reads it, and what counts."""
        self._partitions = partitions
        self._telemetry = telemetry
        self._log = structlog.get_logger(__name__).bind(deployment=deployment, kind=kind, partition=partition)
        super().__init__(f"{kind}-{partition} of {deployment}", kind, partition, journal, clock)

    def _begin_anew(self) -> None:
        super()._begin_anew()
        self._reader = RememberingReader(self.kind, keys_of(self.partition, self._partitions))

    def _judge(self, records: Sequence[FollowedRecord]) -> None:
        found: Counter[str] = Counter()
        for followed in records:
            record = self._reader.read(followed.offset, followed.key, followed.value)
            if followed.offset >= self._from:
                found[STATUS[type(record)]] += 1
            if isinstance(record, Gap):
                self._problem = f"{self._name}: {record}. Restore that journal, then resume the reaction"
                break
            self._next = followed.offset + 1
            if not isinstance(record, Counted):
                continue
            if followed.offset < self._from:
                self._last = record.cid
            else:
                block = followed.value or b""
                self._events.append(JournalEvent(followed.offset, record.event, block, record.cid, followed.carried))
                self._bytes += len(block)
        for status, count in found.items():
            self._telemetry.judged(status, count)
        if found[VOID] or found[FOREIGN]:
            self._log.warning(
                "records of another deployment are passed over",
                void=found[VOID],
                foreign=found[FOREIGN],
                read_to=self._next,
            )
