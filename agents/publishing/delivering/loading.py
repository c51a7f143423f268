"""The events of deliveries: the next ones of the journal, the next one of an aggregate, and one that comes again."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from annals.agents.ports import StoppedError
from annals.agents.publishing.delivering.back_off import waiting_now
from annals.agents.publishing.delivering.machine import Wanted
from annals.agents.publishing.delivering.ports import ROWS_A_TURN
from annals.agents.publishing.heavy import OneByOne
from annals.agents.publishing.selection import CANNOT_GO_ON, again
from annals.agents.reading.following.history import run_behind
from annals.agents.reading.ports import RUN_EVENTS, NotIndexedError
from annals.agents.waiting import in_turns
from annals.schemas.cid import cid_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from annals.agents.deciding.decider import Decider
    from annals.agents.pace import Pace
    from annals.agents.publishing.delivering.machine import Deliveries, Settled
    from annals.agents.publishing.delivering.ports import DeliverySource, Poster, Unsettled
    from annals.agents.publishing.records import Outgoing
    from annals.agents.publishing.selection import Subscribed
    from annals.agents.reading.found import JournalEvent, JournalRun
    from annals.schemas.delivery import Row
    from annals.schemas.progress import Progress
    from annals.schemas.subscription import Retry


async def take_up(
    machine: Deliveries, unsettled: Unsettled, retry: Retry, now: int, poster: Poster | None = None
) -> deque[Row]:
    """Give a machine what is not settled, and a poster, no more than ROWS_A_TURN in one turn of the event loop.

    What waits does so under the policy and for the endpoint that hold now. The poster does not see what is parked.
    Returns the rows whose wait begins anew, as they are now: unless that is written, each opening would begin it anew.
    What is due at once, as what was replayed, does not wait.
    """
    anew: deque[Row] = deque()
    endpoint = None if poster is None else poster.endpoint
    async for kept in in_turns(unsettled.rows, ROWS_A_TURN):
        rows = [waiting_now(row, retry, endpoint, now) for row in kept]
        machine.take_up(rows)
        anew += [row for row, was in zip(rows, kept, strict=True) if row.at != was.at and row.due > row.at]
        if poster is not None:
            poster.opened(rows)
    async for keys in in_turns(unsettled.parked.items(), ROWS_A_TURN):
        machine.take_up_parked(keys)
    return anew


class MissingEventError(StoppedError):
    """The event of a row is not where it was in the journal."""


class Loader:
    """Reads events again that a subscription wants. errors: for which it cannot go on."""

    errors = (*CANNOT_GO_ON, MissingEventError)

    def __init__(self, subscribed: Subscribed, source: DeliverySource, decider: Decider[Any]) -> None:
        """Take the subscription and the journal."""
        self._subscribed = subscribed
        self._source = source
        self._decider = decider
        self._judging = OneByOne(subscribed, decider)
        self._made: dict[str, Outgoing] = {}  # by CID: offsets of rows may be of a former journal
        self._read: dict[int, JournalEvent] = {}
        self._offsets: dict[tuple[str, int], int] = {}

    def clear(self) -> None:
        """Forget what was read and made on the way: it is written, or not needed yet."""
        self._made.clear()
        self._read.clear()
        self._offsets.clear()

    async def read_rows(self, rows: Iterable[Row]) -> None:
        """Read the events of rows that are to be delivered next, by one question."""
        await self._read_all([row.offset for row in rows if row.cid not in self._made])

    async def read_following(self, settled: Iterable[Settled], end: int) -> None:
        """Read the first events that may follow what is settled, by one question."""
        offsets = []
        for each in settled:
            offset = each.later
            if offset is None:
                try:
                    offset = await self._offset_of(each.row.aggregate_id, each.row.version + 1)
                except NotIndexedError:
                    continue
            if offset is not None and offset < end:
                offsets.append(offset)
        await self._read_all(offsets)

    async def _read_all(self, offsets: list[int]) -> None:
        wanting = [offset for offset in offsets if offset not in self._read]
        if len(wanting) > 1:
            self._read |= await self._source.events_at(wanting)

    def is_behind(self, position: int) -> bool:
        """Whether more than a run of the journal is left to look at from a position on."""
        return self._source.status().offset - position > RUN_EVENTS

    async def next_run(self, own: Progress, pace: Pace) -> JournalRun:
        """Return the next events of the journal, as many as a transaction may look at, wanted or not.

        Raises:
            as `run_behind` does.
        """
        done = f"{self._subscribed.name}: looked for what to deliver"
        return await run_behind(self._source, done, own, pace.part_of(RUN_EVENTS))

    async def wanted(self, source: JournalEvent) -> Wanted | None:
        """Return an event that the subscription wants, and keep its record until `clear`; None if it does not.

        Raises:
            one of `CANNOT_GO_ON`: the subscription cannot go on; see `reason_of`.
        """
        outgoing = await self._judging.wanted(source)
        if outgoing is None:
            return None
        found = _wanted(source)
        self._made[found.cid] = outgoing
        return found

    async def following(self, settled: Settled, end: int) -> Wanted | None:
        """Return the next event that an aggregate waits with, below the progress.

        Raises:
            NotIndexedError: what may come next is not known yet.
        """
        if settled.later is not None:
            return _wanted(await self._event(settled.later))
        version = settled.row.version + 1
        while (offset := await self._offset_of(settled.row.aggregate_id, version)) is not None and offset < end:
            source = await self._event(offset)
            if await self._judging.wanted(source) is not None:
                return _wanted(source)
            version += 1
        return None

    async def outgoing(self, row: Row) -> Outgoing:
        """Return the record of a row's event.

        Raises:
            one of `errors`: the subscription cannot go on; MissingEventError: this is another journal.
        """
        if (made := self._made.get(row.cid)) is None:
            source = await self._event_of(row)
            made = again(source, self._subscribed, self._decider)
        return made

    async def _event_of(self, row: Row) -> JournalEvent:
        """Return a row's event: where the row says, or elsewhere in a journal that was restored from its records."""
        source = self._read.get(row.offset) or await self._source.event_at(row.offset)
        if source is None or cid_text(source.cid) != row.cid:
            offset = await self._offset_of(row.aggregate_id, row.version)
            source = None if offset is None else await self._event(offset)
        if source is None or cid_text(source.cid) != row.cid:
            raise MissingEventError(f"the event {row.cid} is not in the journal, and was at offset {row.offset}")
        return source

    async def _offset_of(self, aggregate_id: str, version: int) -> int | None:
        """Return where an event is, as the index has it; what was found holds until `clear`."""
        if (offset := self._offsets.get((aggregate_id, version))) is None:
            offset = await self._source.offset_of(aggregate_id, version)
            if offset is not None:
                self._offsets[aggregate_id, version] = offset
        return offset

    async def _event(self, offset: int) -> JournalEvent:
        event = self._read.get(offset) or await self._source.event_at(offset)
        if event is None:
            raise MissingEventError(f"there is no event at offset {offset} of the journal")
        return event


def _wanted(source: JournalEvent) -> Wanted:
    event = source.event
    return Wanted(event["aggregate_id"], event["version"], cid_text(source.cid), event["type"], source.offset)
