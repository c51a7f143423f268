"""One journal partition, verified from its beginning by the rule of every reader, and handed on from a position."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct

from annals.agents.reading.found import JournalEvent
from annals.schemas.cid import cid_text
from annals.schemas.journal_reader import Counted, Foreign, Gap, GapError, RememberingReader, Void
from annals.topics.keys import keys_of
from annals.workers.clock import SystemClock
from annals.workers.kafka.read.carried import carried_of
from annals.workers.replay.plan import HandlerFailedError, ReplayError, Selection, Step
from annals.workers.replay.targets import NOTHING

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Callable, Sequence

    from annals.topics.headers import Header
    from annals.workers.audit.chains import JournalId
    from annals.workers.kafka.protocol.record_batches import Record
    from annals.workers.replay.pace import Pace
    from annals.workers.replay.targets import Sink, Taken

STEP_S: Final = 0.5  # of work that a kill can take back at most, where a handler is called


class Counts(Struct):
    """What a partition met since its last step."""

    events: int = 0
    passed_over: int = 0
    void: int = 0
    foreign: int = 0
    failures: int = 0


class PartitionReplay:
    """Replays one partition, and tells each step that is done.

    What lies before the position is read, too: the chains are verified from their beginnings, and nothing that was kept
    of them has to be believed.
    """

    def __init__(
        self,
        place: JournalId,
        position: int,
        selection: Selection,
        sink: Sink,
        pace: Pace,
        tell: Callable[[Step], None],
        behind: str | None = None,
    ) -> None:
        """Take the partition and from which offset on events are handed to the sink.

        behind: the CID of the last event that counts before that, where it is known.
        """
        self._place = place
        self._position = position
        self._selection = selection
        self._sink = sink
        self._carried_of = carried_of if sink.takes_headers else _nothing_carried
        self._pace = pace
        self._tell = tell
        self._key = None if selection.aggregate_id is None else selection.aggregate_id.encode()
        self._wants_all = selection._replace(kinds=()) == Selection(())
        self._reader = RememberingReader(place.kind, keys_of(place.partition, place.partitions))
        self._next_offset = position
        self._behind = behind
        self._is_checked = False
        self._last = self._last_done = b""  # CIDs
        self._counts = Counts()
        self._lines: list[bytes] = []
        self._clock = SystemClock()
        self._told = self._clock.monotonic()

    async def run(self, steps: AsyncIterable[Sequence[Record]], end: int) -> None:
        """Replay records up to an end.

        Raises:
            GapError: events are missing.
            HandlerFailedError: an event cannot be taken.
            ReplayError: the position is not behind the event that it was behind.
            KafkaError: the brokers do not take one.
        """
        # Each look-up that is made once here is a hundredth of the time that an event takes.
        monotonic, take, is_limited = self._clock.monotonic, self._sink.take, self._pace.is_limited
        partition = self._place.partition
        async for records in steps:
            for record in records:
                if not self._is_checked and record[0] >= self._position:
                    self._check()
                try:
                    event = self._read(record)
                    if event is not None:
                        if is_limited:
                            await self._pace.wait()
                        taken = await take(event, partition)
                        self._counts.events += 1
                        if taken is not NOTHING:
                            self._note(taken)
                    if record[0] >= self._position:
                        self._next_offset = record[0] + 1
                    self._last_done = self._last
                except BaseException as error:
                    if isinstance(error, HandlerFailedError):
                        self._counts.failures += error.failures
                    if self._sink.is_settled:  # else what is on its way may not arrive: it goes out once more
                        self._tell_step()
                    raise
                if monotonic() - self._told >= STEP_S:
                    await self._settle()
            await self._settle()
        if not self._is_checked:
            self._check()
        self._next_offset = end
        await self._settle()

    def _check(self) -> None:
        """See that the position is behind the event that it was behind: in another journal it is another place."""
        last = cid_text(self._last_done) if self._last_done else None
        if self._behind not in {None, last}:
            raise ReplayError(
                f"{self._place.topic}-{self._place.partition}: the event before offset {self._position} is not "
                f"{self._behind}, as it was: it is another journal, or was restored from a copy of its records; begin "
                f"anew, with another --state"
            )
        self._is_checked = True

    def _read(self, record: Record) -> JournalEvent | None:
        """Verify the next record; return its event if that is to be handed on."""
        offset, key, value, raw = record
        if self._key is not None and key != self._key:
            return None
        read = self._reader.read(offset, key, value)
        if type(read) is Counted:
            self._last = read.cid
        elif type(read) is Gap:
            raise GapError(read.describe(f"{self._place.topic}-{self._place.partition} offset {offset}"))
        if offset < self._position:
            return None
        if type(read) is Counted and (self._wants_all or self._selection.wants(read.event)):
            assert value is not None  # noqa: S101 - it counts
            return JournalEvent(offset, read.event, value, read.cid, self._carried_of(raw))
        self._counts.passed_over += type(read) is Counted
        self._counts.void += type(read) is Void
        self._counts.foreign += type(read) is Foreign
        return None

    def _note(self, taken: Taken) -> None:
        if taken.lines:
            self._lines.append(taken.lines)
        self._counts.failures += taken.failures

    async def _settle(self) -> None:
        await self._sink.settle()
        self._tell_step()

    def _tell_step(self) -> None:
        counts = self._counts
        self._tell(
            Step(
                self._place.kind,
                self._place.partition,
                self._next_offset,
                counts.events,
                counts.passed_over,
                counts.void,
                counts.foreign,
                counts.failures,
                b"".join(self._lines),
                cid_text(self._last_done) if self._is_checked and self._last_done else self._behind,
            )
        )
        self._counts, self._lines = Counts(), []
        self._told = self._clock.monotonic()


def _nothing_carried(raw: bytes) -> Sequence[Header]:  # noqa: ARG001 - in the place of `carried_of`
    return ()
