"""The fold of a journal: what the records that count make of the state."""

from __future__ import annotations

from collections import Counter
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from annals.agents.deciding.refusals import UnknownEventError
from annals.agents.defects import is_no_defect
from annals.agents.ports import Aggregate, Position, StoppedError, StoreError, command_key
from annals.schemas.cid import cid_of, cid_text
from annals.schemas.journal_reader import Counted, Foreign, Gap, JournalReader
from annals.schemas.json_schemas.json_schema import urn
from annals.topics.group_metadata import EventAt
from annals.topics.keys import keys_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from annals.agents.deciding.decider import Decider
    from annals.agents.folding.working_set import WorkingSet
    from annals.agents.ports import JournalRecord


class Fold:
    """Folds one journal partition into a working set, and counts what it met."""

    def __init__(
        self,
        decider: Decider[Any],
        working_set: WorkingSet,
        partition: int,
        partitions: int,
        releases: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Take the kind's decider, the shard's working set, and which partition of how many this is.

        `releases`: the release that published a version of an event, by the schema's URN, as far as that is known.
        """
        self._decider = decider
        self._working_set = working_set
        self._partition = partition
        self._releases = releases
        self._reader = JournalReader(
            decider.kind, keys_of(partition, partitions), working_set.aggregate, working_set.is_void
        )
        self.counts: Counter[str] = Counter()  # events, void, foreign
        self.last: EventAt | None = None  # of those that count

    def apply(self, records: Sequence[JournalRecord]) -> None:
        """Fold records in the order of the journal, and settle them with the position behind the last one.

        Raises:
            StoppedError: a gap, or an event that this release cannot read; everything before it is settled.
            StoreError: the store cannot be read or written; nothing of these records is settled.
        """
        last: JournalRecord | None = None
        try:
            for record in records:
                self._one(record)
                last = record
        except StoreError:
            last = None
            self._working_set.rollback()
            raise
        finally:
            if last is not None:
                cid = cid_of(last.value) if last.value is not None else b""
                self._working_set.commit(Position(last.offset + 1, last.offset, cid))

    def _one(self, record: JournalRecord) -> None:
        found = self._reader.read(record.offset, record.key, record.value)
        if type(found) is Counted:
            self._counted(found)
        elif type(found) is Foreign:
            self.counts["foreign"] += 1
        elif type(found) is Gap:
            raise StoppedError(self._gap(found))
        else:
            self.counts["void"] += 1
            self._working_set.mark_void(found.cid, found.key, found.event["command_id"].encode())

    def _counted(self, counted: Counted[Aggregate]) -> None:
        decider, working_set, event, current = self._decider, self._working_set, counted.event, counted.last
        version, name, key, cid = event["version"], event["type"], counted.key, counted.cid
        try:
            typed = decider.read_event(name, event["schema_version"], event["data"])
        except UnknownEventError as error:
            raise StoppedError(
                f"{decider.kind} {event['aggregate_id']!r}, partition {self._partition}, offset {counted.offset}, "
                f"{cid_text(cid)}: {error}. {self._way_out(error)}"
            ) from error
        try:
            state = decider.evolve(current.state, typed)
        except BaseException as error:
            if is_no_defect(error):
                raise
            raise StoppedError(
                f"{decider.kind} {event['aggregate_id']!r}, partition {self._partition}, offset {counted.offset}, "
                f"{cid_text(cid)}: {name} cannot be folded, it raises {type(error).__name__}. This is a defect in the "
                f"code of the aggregate: run a release that can fold it. Nothing is skipped."
            ) from error
        recorded_at = event["recorded_at"]
        recorded_at = max(recorded_at, current.recorded_at)  # a stranger's may go back; ours never do
        aggregate = Aggregate(version, cid, recorded_at, state)
        working_set.extend(key, aggregate, command_key(key, event["command_id"].encode()), name)
        self.counts["events"] += 1
        self.last = EventAt(counted.offset, cid)

    def _gap(self, gap: Gap[Aggregate]) -> str:
        kind, aggregate_id, version = self._decider.kind, gap.event["aggregate_id"], gap.event["version"]
        return (
            f"gap in the journal: {kind} {aggregate_id!r}, partition {self._partition}, offset {gap.offset}: "
            f"version {version} ({cid_text(gap.cid)}) follows version {gap.last.version}. Events are missing: restore "
            f"the topic from a copy that has them, or find out with 'annals verify {kind} {aggregate_id}' what "
            f"happened. Nothing is guessed."
        )

    def _way_out(self, error: UnknownEventError) -> str:
        """Which release can read the event, as far as that is known."""
        if not error.is_later:
            return "Its writer was no release of this project: find out what wrote it. Nothing is skipped."
        name = urn(error.kind, error.event_type, error.schema_version)
        release = self._releases.get(name)
        if release is None:
            return (
                f"A later release reads it, or one with another registry of aggregates: the topic schemas names the "
                f"release that published {name}. Run that one. Nothing is skipped."
            )
        return f"Release {release} published {name}: run that one or a later one. Nothing is skipped."
