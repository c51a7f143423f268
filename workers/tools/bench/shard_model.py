"""One shard without Kafka: commands are decided by `Batch` and settled in RocksDB, and what that takes is measured.

What its partition has seen before is written with the store's own batches: to decide ten million commands takes
minutes.
"""

from __future__ import annotations

import os
import random
import shutil
from time import process_time, thread_time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson

from annals.agents.folding.working_set import AggregateCache, WorkingSet
from annals.agents.ports import Changes, Position, Stored, command_key
from annals.agents.writing.batches.batch import Batch, Limits
from annals.agents.writing.shard_id import ShardId
from annals.schemas.cid import cid_of
from annals.schemas.values.moments import recorded_at
from annals.topics.catalog import EVENT_TOPIC_BYTES
from annals.topics.names import TopicNames
from annals.workers.clock import SystemClock
from annals.workers.kafka.write.journal import KafkaWrites, ShardTopics
from annals.workers.registry import deciders
from annals.workers.stores.rocks import RocksStore, StoreBudget
from annals.workers.tools.bench.ground import KIND
from annals.workers.tools.bench.load import ACTOR
from annals.workers.writing.shard_stores import LIMITS
from annals.workers.writing.shards import WRITE_BUFFER_BYTES

if TYPE_CHECKING:
    from pathlib import Path

    from annals.workers.settings import Settings

MICRO: Final = 1e6
BATCH: Final = 1_000  # commands of a transaction under load
SNAPSHOT_EVERY: Final = 100
STRIDE: Final = 7_919  # a prime: all aggregates are met before one is met again, and neighbours are far apart
ODD: Final = 0x9E3779B97F4A7C15  # times a number, modulo 2^64: another one each time, in no order
WORD: Final = (1 << 64) - 1


class Record(NamedTuple):
    """A command as the consumer delivers it."""

    offset: int
    key: bytes
    value: bytes
    headers: tuple[()]
    timestamp: int


class Cost(NamedTuple):
    """What a command took, in µs of CPU: in all, looking up an id that is new, and one that was seen."""

    command_us: float
    new_us: float
    known_us: float


class ShardModel:
    """A shard whose aggregates have seen any number of commands."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        """Open an empty store with a worker's options."""
        self._decider = deciders()[KIND]
        self._codec = settings.compression
        self._place = ShardId(KIND, TopicNames("").commands(KIND), 0, 1)
        self._limits = Limits(settings.max_command_bytes, EVENT_TOPIC_BYTES, 0, SNAPSHOT_EVERY)
        self._topics = ShardTopics(kind=KIND, partition=0, names=TopicNames(""), limits=LIMITS, dead_partitions=1)
        self._filled, self._round = folder / "filled", folder / "round"
        self._settings = settings
        self._open(self._filled)
        self._state = self._encoded_state()
        self._end = 0
        self._random = random.Random(1)  # noqa: S311 - the same each time
        self._turn = 0
        self.aggregates = 0
        self.commands = 0
        """How many it was filled with, one event each: the aggregates took them in turns."""

    def fill(self, commands: int, aggregates: int) -> float:
        """Go on until so many commands were seen by so many aggregates; return the CPU of all threads, in µs each."""
        began, first, now = process_time(), self.commands, recorded_at(SystemClock().now())
        self.aggregates = aggregates
        while self.commands < commands:
            numbers = range(self.commands, min(commands, self.commands + BATCH))
            # the newest of each aggregate, and the events of all
            stored = {
                _key(number % aggregates): Stored(1 + number // aggregates, _cid(number), now, self._state)
                for number in numbers
            }
            events = {
                self._seen(number): (1 + number // aggregates, ((_cid(number), "PersonRenamed"),)) for number in numbers
            }
            self._end += len(numbers)
            self.store.apply(Changes(stored, events, {}, Position(self._end, self._end - 1, _cid(numbers[-1]))))
            self.commands = numbers.stop
        return MICRO * (process_time() - began) / max(1, self.commands - first)

    def reopen(self) -> None:
        """Open what was filled, without what was decided since, with empty caches, as a worker does that was restarted.

        Else each round would measure behind the commands of all rounds before: of a small partition some times its own.
        """
        self.store.close()
        shutil.rmtree(self._round, ignore_errors=True)
        shutil.copytree(self._filled, self._round, copy_function=_linked)
        self._open(self._round)
        self._end = self.commands

    def cost(self, commands: int) -> Cost:
        """Decide commands to all aggregates in turns, then look ids up; CPU of this thread, compaction is not in it."""
        draw = self._random.randrange
        records = [self._command((self._turn + number) * STRIDE % self.aggregates) for number in range(commands)]
        self._turn += commands
        taken = 0.0
        for at in range(0, commands, BATCH):
            taken += self._decided(records[at : at + BATCH])
        new = [command_key(_key(draw(self.aggregates)), _id(draw(WORD))) for _ in range(commands)]
        known = [self._seen(draw(self.commands)) for _ in range(commands)]
        return Cost(MICRO * taken / commands, self._looked_up(new), self._looked_up(known))

    def _open(self, folder: Path) -> None:
        budget = StoreBudget(self._settings.store_cache_bytes, WRITE_BUFFER_BYTES)
        self.store = RocksStore(folder, budget.options(self._settings.store_compression))
        self._working_set = WorkingSet(self._decider, self.store, AggregateCache(self._settings.state_cache_bytes))

    def _decided(self, records: list[Record]) -> float:
        began = thread_time()
        writes = KafkaWrites(self._topics, self._codec)
        now = SystemClock().now()
        batch = Batch(self._decider, self._working_set, writes, self._place, self._limits, now, self._end)
        batch.decide(records)
        position = batch.position()
        if position is None or batch.tally.events != len(records):
            raise AssertionError(f"{len(records)} commands caused {batch.tally.events} events")
        self._working_set.commit(position)
        self._end = position.offset + 1
        return thread_time() - began

    def _looked_up(self, keys: list[bytes]) -> float:
        look_up, began = self.store.command, thread_time()
        for key in keys:
            look_up(key)
        return MICRO * (thread_time() - began) / len(keys)

    def _command(self, aggregate: int) -> Record:
        key, command_id = _key(aggregate), _id(self._random.randrange(WORD))
        data = {"name": f"Ada King {command_id.decode()}", "reason": "married once more"}
        said = {"id": command_id.decode(), "type": "RenamePerson", "aggregate_id": key.decode(), "data": data}
        return Record(0, key, orjson.dumps({**said, "actor": ACTOR}), (), 0)

    def _seen(self, number: int) -> bytes:
        return command_key(_key(number % self.aggregates), _id(number * ODD & WORD))

    def _encoded_state(self) -> bytes:
        decider: Any = self._decider
        command = decider.parse("RegisterPerson", {"name": "Ada Lovelace", "time_zone": "UTC"})
        state = decider.initial
        for event in decider.decide(command, state, SystemClock().now(), "person-0"):
            state = decider.evolve(state, event)
        encoded: bytes = decider.encode_state(state)
        return encoded


def _linked(source: str, target: str) -> None:
    """Have a table of RocksDB, which is never changed, in two stores; what is written on is copied."""
    (os.link if source.endswith(".sst") else shutil.copy2)(source, target)


def _key(aggregate: int) -> bytes:
    return b"person-%07d" % aggregate


def _id(number: int) -> bytes:
    return b"%016x" % number


def _cid(number: int) -> bytes:
    return cid_of(number.to_bytes(8, "big"))
