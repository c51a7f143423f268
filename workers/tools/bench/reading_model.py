"""Reading without Kafka: journals made of typical commands, folded into RocksDB by what a worker reads them with."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar

from annals.agents.ports import JournalRecord
from annals.agents.reading.following.answers import Answers
from annals.agents.reading.following.fold import ReadingFold
from annals.agents.reading.found import READING, ShardStatus
from annals.agents.reading.keeping.row_memory import RowMemory
from annals.agents.reading.keeping.states import States
from annals.agents.reading.projecting.rows import ProjectionFollower
from annals.agents.reading.queries.events import Place
from annals.schemas.chain import seal
from annals.schemas.values.moments import recorded_at
from annals.workers.clock import SystemClock, new_id
from annals.workers.reading.shards import WRITE_BUFFER_BYTES
from annals.workers.registry import deciders, projections
from annals.workers.settings import load_settings
from annals.workers.stores.reading import RocksReadingStore
from annals.workers.stores.rocks import StoreBudget
from annals.workers.tools.bench.load import ACTOR
from annals.workers.tools.bench.programs import BenchError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from annals.agents.deciding.decider import Decider
    from annals.agents.reading.ports import Follower, ReadView

T = TypeVar("T")

BATCH: Final = 500
BEGAN: Final = datetime(2026, 1, 1, tzinfo=UTC)
STEP: Final = timedelta(milliseconds=1)  # between two events


def moment_of(offset: int) -> datetime:
    """Return when the event at an offset was recorded."""
    return BEGAN + offset * STEP


@dataclass(slots=True)
class _Aggregate:
    state: Any
    version: int = 0
    head: bytes | None = None


class JournalMaker:
    """Decides and seals commands of one kind, as records of a journal partition."""

    def __init__(self, kind: str) -> None:
        """Begin an empty journal."""
        self._decider: Decider[Any] = deciders()[kind]
        self._aggregates: dict[str, _Aggregate] = {}
        self.end = 0

    def decide(self, aggregate_id: str, name: str, data: dict[str, Any]) -> list[JournalRecord]:
        """Return the events of a command.

        Raises:
            BenchError: the command is malformed.
        """
        decider = self._decider
        aggregate = self._aggregates.setdefault(aggregate_id, _Aggregate(decider.initial))
        now, command_id = moment_of(self.end), new_id()
        command = decider.parse(name, data)
        if isinstance(command, list):
            raise BenchError(f"{name} is malformed: {command}")
        events: Any = decider.decide(command, aggregate.state, now, aggregate_id)
        records = []
        for event in events:
            aggregate.version += 1
            block, aggregate.head = seal(
                kind=decider.kind,
                aggregate_id=aggregate_id,
                version=aggregate.version,
                previous=aggregate.head,
                type=decider.event_name(event),
                schema_version=decider.schema_version(event),
                recorded_at=recorded_at(now),
                command_id=command_id,
                correlation_id=command_id,
                causation_id=None,
                actor=ACTOR,
                data=decider.event_data(event),
            )
            aggregate.state = decider.evolve(aggregate.state, event)
            records.append(JournalRecord(self.end, aggregate_id.encode(), block))
            self.end += 1
        return records

    def decide_all(self, commands: Iterable[tuple[str, str, dict[str, Any]]]) -> Iterator[JournalRecord]:
        """Yield the events of commands: aggregate id, name, data."""
        for command in commands:
            yield from self.decide(*command)


class ReadingModel(Answers):
    """The library's answers from one reading shard's store, which this process folds by itself."""

    def __init__(self, folder: Path, kind: str, *, with_projections: bool = False) -> None:
        """Open the store with a reading worker's options; projections: those that want events of the kind."""
        self._decider = deciders()[kind]
        states = States(self._decider)
        super().__init__(Place(kind, 0), states, None, SystemClock())
        followers: Sequence[Follower] = (states, *(_projections_of(kind) if with_projections else ()))
        settings = load_settings({})
        budget = StoreBudget(settings.read_cache_bytes, WRITE_BUFFER_BYTES)
        self.store = RowMemory(RocksReadingStore(folder, budget.options(settings.store_compression)))
        self.fold = ReadingFold(kind, 0, 1, self.store, followers)

    def read(self, records: Sequence[JournalRecord]) -> None:
        """Fold records, in batches as a fetch brings them.

        Raises:
            BenchError: not all of them count, or a follower failed.
        """
        before = self.fold.counts["events"]
        for at in range(0, len(records), BATCH):
            self.fold.apply(records[at : at + BATCH])
        if self.fold.counts["events"] - before != len(records) or self.fold.failed:
            raise BenchError(f"not all of {len(records)} events were folded: {self.fold.counts} {self.fold.stale}")

    def status(self) -> ShardStatus:
        """Return where it stands: it is never behind."""
        offset = self._offset()
        return ShardStatus(
            kind=self.kind,
            partition=self.partition,
            phase=READING,
            reason="",
            offset=offset,
            end=offset,
            reached=True,
            lag_s=0.0,
            stale={},
        )

    def close(self) -> None:
        """Close the store."""
        self.store.close()

    def _offset(self) -> int:
        return self.fold.position.offset

    def _write(self, rows: Mapping[bytes, bytes | None]) -> None:
        self.store.apply(rows)

    async def _ask(self, question: Callable[[ReadView], T], *, in_thread: bool = True) -> T:
        with self.store.view() if in_thread else self.store.held() as view:  # a thread is the API's, and measured there
            return question(view)


def _projections_of(kind: str) -> list[Follower]:
    every = [versions[-1] for versions in projections().values()]
    return [ProjectionFollower(projection, deciders()) for projection in every if kind in projection.places]


def forget_files(folder: Path) -> None:
    """Have the kernel drop what it keeps of a closed store's files in memory."""
    for file in folder.iterdir():
        if file.is_file():
            descriptor = os.open(file, os.O_RDONLY)
            try:
                os.fsync(descriptor)
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)
