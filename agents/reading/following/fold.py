"""The fold of a reading shard: the reader's rule once, its events to all followers, one write for each batch."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from annals.agents.folding.turns import TURN_BYTES, TURN_RECORDS
from annals.agents.ports import Position
from annals.agents.reading.following.followers import FollowersFold
from annals.agents.reading.following.guarded import fold_guarded
from annals.agents.reading.keeping.blocks import event_in, event_rows
from annals.agents.reading.keeping.event_index import EventIndex
from annals.agents.reading.keeping.layout import (
    ABSENT,
    AGGREGATES,
    CARRIED,
    EVENTS,
    OFFSETS,
    VOIDS,
    after,
    decode_aggregate,
    event_key,
    follower_key,
    number,
    offset_key,
)
from annals.agents.reading.keeping.layout import (
    number as numbered,
)
from annals.agents.reading.keeping.overlay import Overlay
from annals.agents.reading.keeping.recent_events import RecentEvent, RecentEvents
from annals.agents.reading.ports import FollowedRecord
from annals.agents.reading.projecting.rows import (
    aggregates_name,
    remove_rows_of,
)
from annals.agents.reading.queries.run import encode_carried
from annals.schemas.cid import cid_of
from annals.schemas.journal_reader import Counted, Gap, GapError, JournalReader, KeptEnd, Void
from annals.topics.keys import keys_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from annals.agents.ports import JournalRecord
    from annals.agents.reading.ports import (
        Follower,
        ReadingStore,
    )
    from annals.agents.reading.projecting.builds import Builds
    from annals.agents.reading.snapshots.keeper import SnapshotKeeper
    from annals.schemas.journal_reader import ChainEnd

CATCH_UP_EVENTS: Final = 500


class ReadingFold(FollowersFold):
    """Folds one journal partition into a reading store.

    counts: events, void and foreign records. Followers that are behind catch up from the event index, and join where
    the shard stands.
    """

    def __init__(
        self,
        kind: str,
        partition: int,
        partitions: int,
        store: ReadingStore,
        followers: Sequence[Follower],
        keeper: SnapshotKeeper | None = None,
        builds: Builds | None = None,
    ) -> None:
        """Go on where the store stands. A follower that is not of the version in the store begins anew.

        keeper: keeps snapshots; None: none are kept. builds: of a store of several partitions, whose owner turns to
        rows that were built beside; None: the store is this partition's.
        """
        self._keeper = keeper
        self._kind = kind
        self._index = EventIndex()
        self._ends: dict[bytes, ChainEnd] = {}
        self._voids: set[bytes] = set()
        self._reader = JournalReader(kind, keys_of(partition, partitions), self._end_of, self._is_void)
        self.counts: Counter[str] = Counter()
        self._passed = 0
        super().__init__(partition, f"partition {partition}", store, followers, builds)
        self.recent: RecentEvents | None = None

    def keep_recent(self) -> RecentEvents:
        """Keep the last events that are folded from now on, and return them; the caller closes what keeps them."""
        self.recent = RecentEvents(self.position.offset)
        return self.recent

    def read_until(self, passed: int) -> int:
        """Return the offset below which everything is read: it never shrinks.

        Whoever went on from behind a marker would else be refused while the next record is fetched and not folded.
        passed: the offset up to which there are markers alone behind the last record, as far as is known now.
        """
        self._passed = max(self._passed, passed, self.position.offset)
        return self._passed

    def apply(self, records: Sequence[JournalRecord | FollowedRecord]) -> None:
        """Fold records in the order of the journal; those that were folded already are passed over.

        Raises:
            GapError: events are missing before a record; everything before it is written.
            StoreError: the store cannot be read or written; nothing of these records is.
        """
        rows = Overlay(self._store)
        voids = foreign = 0
        counted: list[Counted[Any]] = []
        blocks: list[bytes] = []
        folded: list[RecentEvent] = []
        last, gap = None, None
        try:
            self._look_up(records)
            for record in records:
                if record.offset < self.position.offset:
                    continue
                found = self._reader.read(record.offset, record.key, record.value)
                if type(found) is Counted:
                    counted.append(found)
                    block = record.value or b""  # it counts: its value is its canonical block
                    blocks.append(block)
                    carried = record.carried if type(record) is FollowedRecord else ()
                    if carried:
                        rows.put(CARRIED + number(record.offset), encode_carried(carried))
                    folded.append(RecentEvent(record.offset, block, found.cid, carried))
                    self._ends[found.key] = KeptEnd(found.event["version"], found.cid)
                elif type(found) is Void:
                    self._voids.add(found.cid)
                    rows.put(VOIDS + found.cid, b"")
                    voids += 1
                elif type(found) is Gap:
                    gap = found
                    break
                else:
                    foreign += 1
                last = record
            if last is not None:
                self._index.fold(counted, blocks, rows)
                self._write(rows, counted, _behind(last))
                if self.recent is not None:
                    self.recent.add(folded)
                for name, count in (("events", len(counted)), ("void", voids), ("foreign", foreign)):
                    if count:
                        self.counts[name] += count
        finally:
            self._ends.clear()
            self._voids.clear()
        if gap is not None:
            raise GapError(gap.describe(f"{self._kind}, partition {self._partition}, offset {gap.offset}"))

    def catch_up(self, most: int = TURN_RECORDS) -> bool:
        """Do the next of what is left to do; False when nothing is.

        Hand events to a follower that is behind, or turn to rows that were built beside, or sweep some that are gone.
        most: events that are handed.
        """
        return self.turn() or self._catch_up(min(most, CATCH_UP_EVENTS)) or self.sweep()

    def _catch_up(self, most: int) -> bool:
        found = self.behind()
        if found is None:
            return False
        events, is_all = self._events_from(found.offset, most)
        self.catch_up_with(found.name, events, self.position.offset if is_all else events[-1].offset + 1)
        return True

    def refold(self, name: str, aggregate_id: str, number: int) -> None:
        """Build one aggregate's rows of a projection's version anew, from its events up to the version's position.

        They are changed in one write batch. Where an event cannot be folded they stay as they are, and `stale` has the
        reason. number: of the rebuild; what has this number or a lower one was done before.
        """
        key, done = aggregate_id.encode(), follower_key(aggregates_name(name))
        follower = next((each for each in self._followers.values() if self._answers_for(each, name)), None)
        tried, _ = self._not_refolded.get(name, (0, ""))
        if follower is None or max(tried, int.from_bytes(self._store.get(done) or b"", "big")) >= number:
            return
        rows = Overlay(self._store)
        remove_rows_of(aggregate_id, follower.spaces, rows)
        with self._store.view() as view:
            found = list(view.range(event_key(key, 0), event_key(key, 2**63)))
        counted = [self._counted(place[len(EVENTS) :], value) for place, value in found]
        folded = [event for event in counted if event.offset < self._offsets[follower.name]]
        rows.put(done, numbered(number))
        own, failure = fold_guarded(follower, folded, self._partition, rows)
        if failure is not None:
            self._not_refolded[name] = number, failure.reason
            return
        rows.changes.update(own.changes)
        self._store.apply(rows.changes)
        self._not_refolded.pop(name, None)

    def _complete(self, rows: Overlay, counted: Sequence[Counted[Any]]) -> None:
        if self._keeper is not None:
            self._keeper.fold(counted, rows)

    def _events_from(self, offset: int, most: int) -> tuple[list[Counted[Any]], bool]:
        """Return the next events that count, from the rows of the index, as many as are folded in one turn.

        And whether they are all.
        """
        found: list[Counted[Any]] = []
        size = 0
        with self._store.view() as view:
            places = [place for _, place in islice(view.range(offset_key(offset), after(OFFSETS)), most)]
            for place, value in zip(places, event_rows(view, places), strict=True):
                size += len(value or b"")
                if found and size > TURN_BYTES:
                    return found, False
                found.append(self._counted(place, value))
        return found, len(found) < most

    def _counted(self, place: bytes, value: bytes | None) -> Counted[Any]:
        row, event = event_in(self._kind, place, value)
        end = KeptEnd(event["version"] - 1, event["previous"])
        return Counted(row.offset, event["aggregate_id"].encode(), event, row.cid, end)

    def _look_up(self, records: Sequence[JournalRecord | FollowedRecord]) -> None:
        """Read where the chains of all records end, at once: one by one takes a fifth of the whole fold."""
        keys = list({record.key for record in records if record.key is not None})
        rows = self._store.get_many([AGGREGATES + key for key in keys])
        self._ends = {
            key: ABSENT if row is None else decode_aggregate(row) for key, row in zip(keys, rows, strict=True)
        }

    def _end_of(self, key: bytes) -> ChainEnd:
        return self._ends[key]

    def _is_void(self, cid: bytes | None) -> bool:
        return cid is not None and (cid in self._voids or self._store.get(VOIDS + cid) is not None)


def _behind(record: JournalRecord | FollowedRecord) -> Position:
    cid = cid_of(record.value) if record.value is not None else b""
    return Position(record.offset + 1, record.offset, cid)
