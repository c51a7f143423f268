"""The fold of a journal: the contract's rule of every reader, and what the records that count make of the state."""

from __future__ import annotations

from collections import Counter
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from annals.agents.deciding.refusals import UnknownEventError
from annals.agents.ports import Aggregate, Position, StoppedError, command_key
from annals.schemas.chain import ForeignError, Verdict, judge, read_block
from annals.schemas.cid import cid_of, cid_text
from annals.schemas.json_schemas.json_schema import urn
from annals.topics.group_metadata import EventAt
from annals.topics.keys import partition_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from annals.agents.deciding.decider import Decider
    from annals.agents.folding.working_set import WorkingSet
    from annals.agents.ports import JournalRecord


class Fold:
    """Folds one journal partition into a ledger, and counts what it met."""

    def __init__(
        self,
        decider: Decider[Any],
        working_set: WorkingSet,
        partition: int,
        partitions: int,
        releases: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Take the kind's decider, the shard's ledger, and which partition of how many this is.

        `releases`: the release that published a version of an event, by the schema's URN, as far as that is known.
        """
        self._decider = decider
        self._working_set = working_set
        self._partition = partition
        self._partitions = partitions
        self._releases = releases
        self.counts: Counter[str] = Counter()  # events, void, foreign
        self.last: EventAt | None = None  # of those that count

    def apply(self, records: Sequence[JournalRecord]) -> None:
        """Fold records in the order of the journal, and settle them with the position behind the last one.

        Raises:
            StoppedError: a gap, or an event that this release cannot read; everything before it is settled.
        """
        last: JournalRecord | None = None
        try:
            for record in records:
                self._one(record)
                last = record
        finally:
            if last is not None:
                cid = cid_of(last.value) if last.value is not None else b""
                self._working_set.commit(Position(last.offset + 1, last.offset, cid))

    def _one(self, record: JournalRecord) -> None:
        kind, working_set = self._decider.kind, self._working_set
        try:
            event = read_block(kind, record.value)
        except ForeignError:
            self.counts["foreign"] += 1
            return
        aggregate_id = event["aggregate_id"]
        key = record.key
        if key is None or key != aggregate_id.encode() or partition_of(key, self._partitions) != self._partition:
            self.counts["foreign"] += 1
            return
        cid = cid_of(record.value or b"")  # a null value was foreign
        current = working_set.aggregate(key)
        version, previous = event["version"], event["previous"]
        if version == current.version + 1 and previous == current.head:
            self._counted(record, key, event, current, cid)
            return
        verdict = judge(
            version, previous, current.version, current.head, previous_is_void=working_set.is_void(previous)
        )
        if verdict is Verdict.GAP:
            raise StoppedError(
                f"gap in the journal: {kind} {aggregate_id!r}, partition {self._partition}, offset {record.offset}: "
                f"version {version} ({cid_text(cid)}) follows version {current.version}. Events are missing: restore "
                f"the topic from a copy that has them, or find out with 'annals verify {kind} {aggregate_id}' what "
                f"happened. Nothing is guessed."
            )
        self.counts["void"] += 1
        working_set.mark_void(cid, key, event["command_id"].encode())

    def _counted(
        self, record: JournalRecord, key: bytes, event: dict[str, Any], current: Aggregate, cid: bytes
    ) -> None:
        decider, working_set = self._decider, self._working_set
        version, name = event["version"], event["type"]
        try:
            typed = decider.read_event(name, event["schema_version"], event["data"])
        except UnknownEventError as error:
            raise StoppedError(
                f"{decider.kind} {event['aggregate_id']!r}, partition {self._partition}, offset {record.offset}, "
                f"{cid_text(cid)}: {error}. {self._way_out(error)}"
            ) from error
        recorded_at = event["recorded_at"]
        recorded_at = max(recorded_at, current.recorded_at)  # a stranger's may go back; ours never do
        aggregate = Aggregate(version, cid, recorded_at, decider.evolve(current.state, typed))
        working_set.extend(key, aggregate, command_key(key, event["command_id"].encode()), name)
        self.counts["events"] += 1
        self.last = EventAt(record.offset, cid)

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
