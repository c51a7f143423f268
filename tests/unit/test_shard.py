"""A shard over a log in memory: it opens in order, proves itself, survives what goes wrong, and stops where it must."""

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, NamedTuple

import orjson
import pytest
from structlog.testing import capture_logs

from annals.agents.aggregates import REGISTRY
from annals.agents.folding.working_set import AggregateCache, WorkingSet
from annals.agents.ports import (
    CopyRecord,
    Delivery,
    Ends,
    FencedError,
    JournalRecord,
    LogState,
    OutcomeRecord,
    OutlastedError,
    StaleStateError,
    StoppedError,
    StoreDamagedError,
    StoreUnavailableError,
    UncertainError,
    UnreachableError,
)
from annals.agents.writing.batch import Limits, Place
from annals.agents.writing.command_queue import HEADER_BYTES, HIGH_BYTES, CommandQueue
from annals.agents.writing.concurrency_limit import ConcurrencyLimit
from annals.agents.writing.shard import Phase, Shard
from annals.schemas.chain import read_block, seal
from annals.schemas.cid import cid_of, cid_text
from annals.topics.encoded_headers import EncodedHeaders
from annals.topics.group_metadata import NOTHING_KNOWN, digest_of
from annals.workers.stores.memory import MemoryStore

PERSON = REGISTRY["person"]
NOW = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)
TOPIC = "commands.person"


class Record(NamedTuple):
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple = ()
    timestamp: int = 0


class Writes:
    def __init__(self) -> None:
        self.events: list[tuple[bytes, bytes]] = []
        self.outcomes: list[dict[str, Any]] = []
        self.forwards: list[bytes | None] = []
        self.dead_lettered: list[bytes | None] = []

    def add_events(self, records):
        self.events += [(key, block) for key, block, _, _ in records]

    def add_outcomes(self, records):
        self.outcomes += [orjson.loads(value) for _, value, _, _ in records]

    def add_forward(self, partition, key, value, timestamp_ms, headers):
        self.forwards.append(value)
        return True

    def add_dead_letter(self, key, value, timestamp_ms, headers):
        self.dead_lettered.append(value)

    def add_snapshot(self, key, value, timestamp_ms):
        """Not looked at."""


class MemoryLog:
    """A shard's topics as lists. `failures` are raised by the next commits, before or after they are carried out."""

    def __init__(self) -> None:
        self.journal: list[JournalRecord] = []
        self.outcomes: list[dict[str, Any]] = []
        self.hints: list[OutcomeRecord] = []
        self.commands: list[Record] = []
        self.committed: int | None = None
        self.metadata = NOTHING_KNOWN
        self.remembers = False  # whether the group's offset is told with its metadata
        self.more: dict[str, Any] = {}
        self.failures: list[tuple[str, Exception]] = []
        self.throttled: list[float] = []
        self.calls: list[str] = []
        self.stable_after = 0
        self.promises: list[OutcomeRecord] = []
        self.copied: list[CopyRecord] = []
        self.letters: list[Any] = []
        self.held_up = 0
        self.released = asyncio.Event()
        self.released.set()
        self.forwards: list[bytes | None] = []
        self.dead_lettered: list[bytes | None] = []
        self.changed = asyncio.Condition()

    @property
    def end(self) -> int:
        return self.journal[-1].offset + 2 if self.journal else 0

    async def fence(self):
        self.calls.append("fence")

    async def look(self):
        self.calls.append("look")
        self.stable_after -= 1
        state = LogState(self.committed, None, 0, 1_000, 1_000, 0, 0, 0, 0, self.end, self.end)
        if self.stable_after > 0:
            state = state._replace(journal_stable=self.end - 1, journal_end=self.end)
        if self.remembers:
            end, *more = self.metadata
            state = LogState(*state[:1], end, *state[2:11], *more)
        return state._replace(**self.more)

    async def read(self, start, end):
        self.calls.append("read")
        records = [record for record in self.journal if start <= record.offset < end]
        if records:
            yield records

    async def event_at(self, offset):
        return next((record for record in self.journal if record.offset == offset), None)

    async def command_digest(self, offset):
        return digest_of(self.commands[offset].value) if offset < len(self.commands) else None

    async def outcome_digest(self, offset):
        return None

    async def newest_outcomes(self, seen):
        for hint in reversed(self.hints):  # a step each
            yield [hint]

    async def command_at(self, offset):
        return self.commands[offset] if offset < len(self.commands) else None

    async def outcomes_of(self, commands):
        for promise in self.promises:
            yield promise

    async def read_commands(self, start, stop):
        yield [record for record in self.commands if start <= record.offset < stop]

    async def copies(self, tell):
        self.calls.append("copies")
        for _ in range(self.held_up):
            tell("a transaction is open")
            await asyncio.sleep(0)
        await self.released.wait()
        yield self.copied

    async def dead_letters(self):
        self.calls.append("dead_letters")
        yield self.letters

    def writes(self):
        return Writes()

    async def commit(self, writes, next_offset, expected_base, known):
        self.calls.append("commit")
        when, failure = self.failures.pop(0) if self.failures else ("", None)
        if when == "before":
            raise failure
        assert expected_base == self.end
        for number, (key, block) in enumerate(writes.events):
            self.journal.append(JournalRecord(expected_base + number, key, block))
        self.outcomes += writes.outcomes
        self.forwards += writes.forwards
        self.dead_lettered += writes.dead_lettered
        self.committed, self.metadata = next_offset, known
        async with self.changed:
            self.changed.notify_all()
        if when == "after":
            raise failure
        return known

    def throttled_s(self):
        return self.throttled.pop(0) if self.throttled else 0.0

    async def close(self):
        self.calls.append("close")

    def append(
        self,
        *,
        aggregate_id="p-1",
        version=1,
        previous=None,
        name="Ada",
        command_id="c",
        offset=None,
        type_="PersonRegistered",
    ):
        block, cid = seal(
            "person", aggregate_id, version, previous, type_, 1, "2026-11-21T09:30:00.000000Z", command_id, command_id,
            None, None, {"name": name},
        )  # fmt: skip
        self.journal.append(JournalRecord(self.end if offset is None else offset, aggregate_id.encode(), block))
        return cid


class MemoryStores:
    """Opens stores in memory; where `damages` were given, a look-up in one raises the next of them."""

    def __init__(self) -> None:
        self.damages: list[StoreDamagedError] = []
        self.lacking: list[StoreUnavailableError] = []
        self.set_asides: list[StoreDamagedError] = []
        self.store = MemoryStore()
        self.renewed = self.closed = 0

    async def open(self):
        if self.lacking:
            raise self.lacking.pop(0)
        return self.damaged(self.damages[0]) if self.damages else self.store

    @staticmethod
    def damaged(error: StoreDamagedError) -> MemoryStore:
        class DamagedStore(MemoryStore):
            def aggregate(self, key):
                raise error

        return DamagedStore()

    async def set_aside(self, damage):
        if self.lacking:
            raise self.lacking.pop(0)
        self.damages = self.damages[1:]
        self.set_asides.append(damage)
        self.store = MemoryStore()

    async def renew(self, store):
        self.renewed += 1
        self.store = MemoryStore()
        return self.store

    async def close(self, store):
        """It stays as it is, like one on disk."""
        self.closed += 1


class Source:
    """Delivers the commands it has, from the offset that the shard asks for."""

    def __init__(self) -> None:
        self.generation = 0
        self.commands: list[Record] = []
        self.paused = 0
        self.shard: Shard | None = None
        self.begins: list[int] = []
        self.read_until = 0

    def deliver_from(self, offset):
        self.generation += 1
        self.begins.append(offset)
        asyncio.get_running_loop().call_soon(self.deliver, offset)

    def deliver(self, offset=0):
        records = [record for record in self.commands if record.offset >= offset]
        if records:
            self.shard.offer(Delivery(TOPIC, 0, self.generation, records))

    def decided_until(self, next_offset):
        return max(next_offset, self.read_until)

    def pause(self):
        self.paused += 1

    def resume(self):
        self.paused -= 1


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self):
        return NOW

    def monotonic(self):
        return self.seconds


class Telemetry:
    def __init__(self) -> None:
        self.fences = self.aborts = self.damages = 0

    def committed(self, *_):
        """Not looked at."""

    folded = cached = committed

    def aborted(self):
        self.aborts += 1

    def fenced(self):
        self.fences += 1

    def damaged(self):
        self.damages += 1


class Scene:
    def __init__(
        self,
        *,
        partitions: int = 1,
        concurrency_limit: ConcurrencyLimit | None = None,
        log: MemoryLog | None = None,
        **more: Any,
    ) -> None:
        self.log, self.stores, self.source, self.clock, self.told = (
            log or MemoryLog(),
            MemoryStores(),
            Source(),
            Clock(),
            Telemetry(),
        )
        self.shard = Shard(
            PERSON,
            Place("person", TOPIC, 0, partitions),
            Limits(1_000_000, 4 << 20, 0, 0),
            self.log,
            self.stores,
            self.source,
            self.clock,
            self.told,
            aggregate_cache=AggregateCache(1 << 20),
            folding=asyncio.Semaphore(1),
            concurrency_limit=concurrency_limit or ConcurrencyLimit(),
            **more,
        )
        self.source.shard = self.shard
        self.log.commands = self.source.commands

    def command(self, name, command_id=None, type_="RegisterPerson", aggregate_id="p-1", offset=None):
        offset = len(self.source.commands) if offset is None else offset
        value = orjson.dumps(
            {"id": command_id or f"c-{offset}", "type": type_, "aggregate_id": aggregate_id, "data": {"name": name}}
        )
        self.source.commands.append(Record(offset, aggregate_id.encode(), value))

    async def answered(self, count):
        async with self.log.changed:
            await asyncio.wait_for(self.log.changed.wait_for(lambda: len(self.log.outcomes) >= count), 10)
        return [outcome["status"] for outcome in self.log.outcomes]

    async def until(self, phase):
        await self.until_it(lambda: self.shard.phase is phase)

    async def until_it(self, is_so):
        async def look():
            while not is_so():  # noqa: ASYNC110 - a turn of the loop, not a wait
                await asyncio.sleep(0)

        await asyncio.wait_for(look(), 10)


@asynccontextmanager
async def running(scene):
    task = asyncio.create_task(scene.shard.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await scene.shard.close()


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    """Waits for the outside world are as short as they can be: nothing is outside."""
    monkeypatch.setattr("annals.agents.writing.shard.FIRST_RETRY_S", 0.0)
    monkeypatch.setattr("annals.agents.writing.shard.LAST_RETRY_S", 0.0)
    monkeypatch.setattr("annals.agents.folding.damage.RETRY_S", 0.0)
    monkeypatch.setattr("annals.agents.writing.opening.STABLE_POLL_S", 0.0)
    monkeypatch.setattr("annals.agents.writing.shard.FENCED_PATIENCE_S", 0.0)
    monkeypatch.setattr("annals.agents.writing.shard.SUSPEND_PATIENCE_S", 0.05)


async def test_it_fences_before_it_looks_and_folds_before_it_takes_commands():
    scene = Scene()
    scene.log.append()
    scene.command("Bea", type_="RenamePerson")
    async with running(scene):
        assert await scene.answered(1) == ["accepted"]
    assert scene.log.calls[:4] == ["fence", "look", "read", "commit"]
    assert read_block("person", scene.log.journal[1].value)["version"] == 2


async def test_after_an_uncertain_end_that_was_a_commit_nothing_is_decided_twice():
    scene = Scene()
    scene.log.failures = [("after", UncertainError("no answer"))]
    scene.command("Ada")
    scene.command("Bea", type_="RenamePerson")
    async with running(scene):
        await scene.answered(2)
        await scene.until(Phase.OPEN)
        scene.command("Cleo", type_="RenamePerson")
        scene.source.deliver(2)
        assert await scene.answered(3) == ["accepted"] * 3
    assert len(scene.log.journal) == 3
    assert scene.told.aborts == 1
    assert scene.log.calls.count("fence") == 2


async def test_after_an_uncertain_end_that_was_none_all_is_decided_again():
    scene = Scene()
    scene.log.failures = [("before", UncertainError("refused"))]
    scene.command("Ada")
    async with running(scene):
        assert await scene.answered(1) == ["accepted"]
    assert len(scene.log.journal) == 1
    assert scene.source.begins == [0, 0]


async def sizes(scene, monkeypatch):
    """How many commands each commit had, as they come."""
    commit, found = scene.log.commit, []

    async def counting(writes, next_offset, expected_base, known):
        found.append(len(writes.outcomes))
        return await commit(writes, next_offset, expected_base, known)

    monkeypatch.setattr(scene.log, "commit", counting)
    return found


async def test_a_batch_that_outlasts_its_transaction_is_halved_down_to_one_command_and_doubled_again(monkeypatch):
    scene = Scene()
    scene.log.failures = [("before", OutlastedError("too slow"))] * 4
    for number in range(20):
        scene.command("Ada", aggregate_id=f"p-{number}")
    found = await sizes(scene, monkeypatch)
    async with running(scene):
        await scene.answered(20)
    assert found == [20, 10, 5, 2, 1, 2, 4, 8, 5]
    assert [outcome["command_id"] for outcome in scene.log.outcomes] == [f"c-{number}" for number in range(20)]


async def test_one_command_that_outlasts_its_transaction_is_tried_again(monkeypatch):
    scene = Scene()
    scene.log.failures = [("before", OutlastedError("too slow"))] * 3
    scene.command("Ada")
    found = await sizes(scene, monkeypatch)
    async with running(scene):
        await scene.answered(1)
    assert found == [1, 1, 1, 1]


async def test_a_fence_by_the_broker_after_its_own_timeout_is_no_other_deployment(monkeypatch):
    scene = Scene()
    scene.log.failures = [("before", FencedError("fenced", outlasted=True))] * 3
    for name in ("Ada", "Bea"):
        scene.command(name, aggregate_id=f"p-{name}")
    found = await sizes(scene, monkeypatch)
    async with running(scene):
        assert await scene.answered(2) == ["accepted", "accepted"]
    assert found == [2, 1, 1, 1, 1]


async def test_while_batches_are_halved_and_commands_wait_a_shard_says_so(monkeypatch):
    scene = Scene()
    scene.log.failures = [("before", OutlastedError("too slow"))]
    for name in ("Ada", "Bea"):
        scene.command(name, aggregate_id=f"p-{name}")
    commit, said = scene.log.commit, []

    async def asking(writes, next_offset, expected_base, known):
        said.append(scene.shard.trouble)
        return await commit(writes, next_offset, expected_base, known)

    monkeypatch.setattr(scene.log, "commit", asking)
    async with running(scene):
        await scene.answered(2)
    assert [each[:63] for each in said] == ["", "a batch of 2 commands took longer than a transaction may; batch", ""]
    assert said[1].endswith("halved to 1 until commits are quick again: too slow")
    assert scene.shard.trouble == ""


async def test_what_the_brokers_ask_to_wait_is_waited_before_a_batch_and_said(monkeypatch):
    monkeypatch.setattr("annals.agents.writing.pace.SAID_FROM_S", 0.0)
    scene = Scene()
    scene.log.throttled = [0.1]
    scene.command("Ada")
    async with running(scene):
        await scene.until_it(lambda: "the brokers throttle this worker's writes" in scene.shard.trouble)
        assert "commit" not in scene.log.calls
        await scene.answered(1)
    assert scene.shard.trouble == ""


async def test_batches_stay_halved_while_a_quota_is_felt(monkeypatch):
    scene = Scene()
    scene.log.failures = [("before", OutlastedError("too slow"))]
    for number in range(8):
        scene.command("Ada", aggregate_id=f"p-{number}")
    scene.log.throttled = [0, 0, 0, 0.001, 0, 0.001]  # before a batch, after its failure, before and after the next
    found = await sizes(scene, monkeypatch)
    async with running(scene):
        await scene.answered(8)
    assert found == [8, 4, 4]


async def test_brokers_that_do_not_answer_are_asked_again(monkeypatch):
    scene = Scene()
    fence, tries = scene.log.fence, []

    async def unreachable():
        tries.append(1)
        if len(tries) < 4:
            raise UnreachableError("no answer from the transaction coordinator")
        await fence()

    monkeypatch.setattr(scene.log, "fence", unreachable)
    scene.command("Ada")
    async with running(scene):
        assert await scene.answered(1) == ["accepted"]


async def test_fenced_once_it_opens_again_when_no_rebalance_explains_it():
    scene = Scene()
    scene.log.failures = [("before", FencedError("another worker writes this journal now"))]
    scene.command("Ada")
    async with running(scene):
        assert await scene.answered(1) == ["accepted"]
    assert scene.told.fences == 1


async def test_fenced_twice_within_a_minute_it_stops_and_names_the_other_deployment():
    scene = Scene()
    scene.log.failures = [("before", FencedError("fenced"))] * 2
    scene.command("Ada")
    async with running(scene):
        await scene.until(Phase.STOPPED)
    assert "another deployment" in scene.shard.reason
    assert scene.log.outcomes == []


async def test_fenced_twice_over_a_minute_apart_it_goes_on(monkeypatch):
    scene = Scene()
    scene.log.failures = [("before", FencedError("fenced"))] * 2
    fenced = scene.told.fenced

    def later():
        scene.clock.seconds += 61
        fenced()

    monkeypatch.setattr(scene.told, "fenced", later)
    scene.command("Ada")
    async with running(scene):
        assert await scene.answered(1) == ["accepted"]


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        ({"journal_start": 3}, "begins at offset 3 instead of 0"),
        ({"committed_journal_end": 9}, "ends at offset 2, and it reached 9 before"),
        ({"commands_start": 5}, "5 offsets of commands from 0 on expired"),
    ],
)
async def test_it_stops_where_going_on_would_be_guessing(seen, words):
    scene = Scene()
    scene.log.append()
    scene.log.more = seen
    async with running(scene):
        await scene.until(Phase.STOPPED)
    assert words in scene.shard.reason


async def test_it_goes_on_without_expired_commands_only_when_told_to():
    scene = Scene(accept_expired=True)
    scene.log.more = {"commands_start": 5}
    async with running(scene):
        await scene.until(Phase.OPEN)
    assert scene.source.begins == [5]


async def test_it_goes_on_from_the_newest_outcome_when_the_groups_offset_is_lost():
    scene = Scene()
    for name in ("Ada", "Bea"):
        scene.command(name)
    scene.log.hints = [hint("c-1", 0, None, offset=1)]
    async with running(scene):
        await scene.until(Phase.OPEN)
    assert scene.source.begins == [2]


async def test_an_outcome_that_the_journal_does_not_bear_out_passes_no_command_over():
    scene = Scene()
    for name in ("Ada", "Bea"):
        scene.command(name, type_="RegisterPerson" if name == "Ada" else "RenamePerson")
    scene.log.hints = [hint("c-1", 2, cid_text(cid_of(b"nobody's")), status="accepted", offset=1, journal_end=99)]
    async with running(scene):
        assert await scene.answered(2) == ["accepted", "accepted"]
    assert scene.source.begins == [0]


async def test_an_end_that_only_an_outcome_knows_stops_nothing_and_is_told():
    scene = Scene()
    head = cid_text(scene.log.append())
    scene.command("Ada")
    scene.log.hints = [hint("c-0", 1, head, offset=0, journal_end=9)]
    with capture_logs() as said:
        async with running(scene):
            await scene.until(Phase.OPEN)
    assert scene.source.begins == [1]
    (told,) = [each for each in said if each["event"] == "an outcome says that the journal reached further"]
    assert (told["log_level"], told["said"], told["journal_end"]) == ("error", 9, 2)


async def test_it_waits_for_a_strangers_transaction_on_the_journal():
    scene = Scene()
    scene.log.append()
    scene.log.stable_after = 3
    async with running(scene):
        await scene.until(Phase.OPEN)
    assert scene.log.calls.count("look") == 3


async def test_a_gap_stops_it_at_the_place():
    scene = Scene()
    scene.log.append(version=3, previous=scene.log.append())
    async with running(scene):
        await scene.until(Phase.STOPPED)
    assert "gap in the journal: person 'p-1', partition 0, offset 2: version 3" in scene.shard.reason


async def test_an_unknown_event_stops_it_with_its_place():
    scene = Scene()
    scene.log.append(type_="PersonTeleported")
    async with running(scene):
        await scene.until(Phase.STOPPED)
    assert "offset 0, " in scene.shard.reason
    assert ": person event PersonTeleported" in scene.shard.reason


async def test_commands_whose_events_are_void_are_decided_again():
    scene = Scene()
    first = scene.log.append(command_id="c-0")
    scene.log.append(version=2, previous=first, name="Bea", command_id="c-1", type_="PersonRenamed")
    scene.log.append(version=2, previous=first, name="Cleo", command_id="c-2", type_="PersonRenamed")
    for name in ("Ada", "Bea", "Cleo"):
        scene.command(name, type_="RegisterPerson" if name == "Ada" else "RenamePerson")
    promised = {"version": 2, "type": "PersonRenamed", "cid": cid_text(cid_of(scene.log.journal[2].value))}
    answer = hint("c-2", 2, promised["cid"], offset=2, status="accepted", events=[promised])
    elsewhere = answer._replace(command_offset=0)  # a stranger's: that is another command
    garbage = hint("c-2", 2, cid_text(cid_of(b"nobody's")), offset=2)  # so is this: no chain ever stood there
    scene.log.committed, scene.log.promises = 3, [answer, elsewhere, garbage, answer._replace(value=b"?")]
    async with running(scene):
        assert await scene.answered(1) == ["accepted"]
    assert scene.source.begins == [2]
    event = read_block("person", scene.log.journal[-1].value)
    assert (event["version"], event["command_id"]) == (3, "c-2")


async def test_a_store_that_is_no_fold_of_this_journal_is_renewed():
    scene, other = Scene(), Scene()
    other.log.append(name="Somebody else")
    async with running(other):
        await other.until(Phase.OPEN)
    scene.stores.store = other.stores.store
    scene.log.append()
    async with running(scene):
        await scene.until(Phase.OPEN)
    assert scene.stores.renewed == 1
    assert scene.stores.store.aggregate(b"p-1") is not None


async def test_through_a_rebalance_that_leaves_it_here_it_goes_on_where_it_was():
    scene = Scene()
    scene.command("Ada")
    async with running(scene):
        await scene.answered(1)
        await scene.shard.suspend()
        assert scene.shard.phase is Phase.SUSPENDED
        scene.command("Bea", type_="RenamePerson")
        scene.source.deliver(1)
        scene.shard.resume()
        assert await scene.answered(2) == ["accepted", "accepted"]
    assert scene.log.calls.count("fence") == 1
    assert scene.source.begins == [0, 1]


def broken_for_defects(monkeypatch):
    decide = PERSON.decide

    def broken(command, *rest):
        if command.name.startswith("Defect"):
            raise ZeroDivisionError
        return decide(command, *rest)

    monkeypatch.setattr(PERSON, "decide", broken)


async def test_a_defect_is_answered_and_does_not_hold_up_those_behind_it(monkeypatch):
    scene = Scene()
    broken_for_defects(monkeypatch)
    scene.command("Ada")
    scene.command("Defect", type_="RenamePerson")
    scene.command("Bea", type_="RenamePerson")
    async with running(scene):
        await scene.answered(3)
        assert scene.shard.phase is Phase.OPEN
    assert [outcome["status"] for outcome in scene.log.outcomes] == ["accepted", "rejected", "accepted"]
    assert scene.log.outcomes[1]["error"]["code"] == "internal_error"


async def test_five_defects_in_a_row_stop_it_also_over_several_batches(monkeypatch):
    scene = Scene()
    broken_for_defects(monkeypatch)
    scene.command("Ada")
    async with running(scene):
        for n in range(5):
            await scene.answered(1 + n)
            scene.command(f"Defect {n}", type_="RenamePerson")
            scene.source.deliver(1 + n)
        await scene.until(Phase.STOPPED)
    assert [outcome["status"] for outcome in scene.log.outcomes] == ["accepted", *["rejected"] * 4]
    assert scene.log.committed == 5
    assert "offset 5: deciding a command of person failed with ZeroDivisionError at " in scene.shard.reason


async def test_a_state_that_has_no_encoding_is_a_defect_of_the_command_that_leads_there(monkeypatch):
    scene = Scene()
    encode = PERSON.encode_state

    def broken(state):
        if state.name == "Defect":
            raise OverflowError
        return encode(state)

    monkeypatch.setattr(PERSON, "encode_state", broken)
    scene.command("Ada")
    scene.command("Bea", type_="RenamePerson")
    scene.command("Defect", type_="RenamePerson")
    async with running(scene):
        await scene.answered(3)
    assert [outcome["status"] for outcome in scene.log.outcomes] == ["accepted", "accepted", "rejected"]
    assert [outcome["version"] for outcome in scene.log.outcomes] == [1, 2, 2]


async def test_what_there_is_no_time_for_is_decided_in_the_next_transaction(monkeypatch):
    monkeypatch.setattr("annals.agents.writing.deciding.DECIDING_S", -1.0)
    scene = Scene()
    scene.command("Ada")
    for n in range(3 * 64):
        scene.command(f"Ada {n}", type_="RenamePerson")
    async with running(scene):
        await scene.answered(193)
    assert [outcome["version"] for outcome in scene.log.outcomes] == list(range(1, 194))
    assert scene.log.calls.count("commit") == 4


async def test_what_the_store_cannot_take_opens_it_again(monkeypatch):
    scene = Scene()
    apply, tries = MemoryStore.apply, []

    def full(store, changes):
        tries.append(1)
        if len(tries) == 1:
            raise OSError("no space left on device")
        apply(store, changes)

    monkeypatch.setattr(MemoryStore, "apply", full)
    scene.command("Ada")
    async with running(scene):
        await scene.answered(1)
        await scene.until(Phase.OPEN)
    assert len(scene.log.journal) == 1
    assert scene.stores.store.aggregate(b"p-1").version == 1


async def test_nothing_is_behind_when_all_that_was_read_is_decided():
    scene = Scene()
    scene.command("Ada")
    async with running(scene):
        await scene.answered(1)
        await scene.until(Phase.OPEN)
        scene.source.read_until = 5  # markers and aborted records
        assert (scene.shard.behind(5), scene.shard.behind(7)) == (0, 2)
    assert scene.shard.behind(7) == 6


async def test_with_nothing_in_hand_it_commits_its_position_behind_markers_once():
    scene = Scene()
    scene.command("Ada")
    async with running(scene):
        await scene.answered(1)
        await scene.until(Phase.OPEN)
        scene.source.read_until = 5
        for _ in range(2):  # it stands still from the second look on
            scene.shard.keep_position()
        await scene.until_it(lambda: scene.log.committed == 5)
        commits = scene.log.calls.count("commit")
        for _ in range(3):
            scene.shard.keep_position()
            await asyncio.sleep(0)
        scene.command("Bea", type_="RenamePerson", offset=7)
        scene.source.deliver(7)
        assert await scene.answered(2) == ["accepted", "accepted"]
    assert scene.log.committed == 8
    assert scene.log.calls.count("commit") == commits + 1
    assert scene.log.calls.count("fence") == 1


async def test_a_position_that_moves_is_not_committed_yet():
    scene = Scene()
    async with running(scene):
        await scene.until(Phase.OPEN)
        for position in range(1, 6):
            scene.source.read_until = position
            scene.shard.keep_position()
            await asyncio.sleep(0)
    assert "commit" not in scene.log.calls


async def test_a_position_is_committed_only_while_the_shard_is_open():
    scene = Scene()
    async with running(scene):
        await scene.until(Phase.OPEN)
        scene.source.read_until = 5
        await scene.shard.suspend()
        for _ in range(3):
            scene.shard.keep_position()
            await asyncio.sleep(0)
        assert "commit" not in scene.log.calls
        scene.shard.resume()
        for _ in range(2):
            scene.shard.keep_position()
        await scene.until_it(lambda: scene.log.committed == 5)


async def test_an_offset_without_our_metadata_is_committed_with_it_once_nothing_is_in_hand():
    scene = Scene()
    scene.log.more = {"committed": 5, "commands_end": 5}
    async with running(scene):
        await scene.until(Phase.OPEN)
        scene.source.read_until = 5
        for _ in range(2):
            scene.shard.keep_position()
        await scene.until_it(lambda: "commit" in scene.log.calls)


async def test_what_somebody_else_writes_beside_an_open_shard_is_read_at_once():
    scene = Scene()
    scene.command("Ada")
    async with running(scene):
        await scene.answered(1)
        await scene.until(Phase.OPEN)
        scene.shard.compare(scene.shard.ends(), Ends(0, scene.log.end, 0, 1_000))
        scene.log.append(version=2, previous=cid_of(scene.log.journal[0].value), type_="PersonRenamed", name="Bea")
        scene.shard.compare(scene.shard.ends(), Ends(0, scene.log.end, 0, 1_000))
        scene.command("Cleo", type_="RenamePerson")
        scene.source.deliver(1)
        assert await scene.answered(2) == ["accepted", "accepted"]
    assert scene.log.calls.count("fence") == 2
    assert read_block("person", scene.log.journal[-1].value)["version"] == 3


QUARTER = HIGH_BYTES // 4


@pytest.mark.parametrize(
    "large",
    [
        {"key": None, "value": bytes(QUARTER)},
        {"key": bytes(QUARTER), "value": None},
        {"key": None, "value": None, "headers": (("x", bytes(QUARTER)),)},
        {"key": None, "value": None, "headers": (("x" * QUARTER, None),)},
        {"key": None, "value": None, "headers": (("", None),) * (QUARTER // HEADER_BYTES)},
        {"key": None, "value": None, "headers": EncodedHeaders(QUARTER // 2, bytes(QUARTER))},
    ],
    ids=["value", "key", "header's value", "header's name", "empty headers", "headers as they stand"],
)
def test_a_full_inbox_pauses_its_source_until_there_is_room(large):
    """Goes red, but for the value, when only values are counted."""
    source = Source()
    command_queue = CommandQueue(source)
    command_queue.put(Delivery(TOPIC, 0, 0, [Record(offset=n, **large) for n in range(6)]))
    assert source.paused == 1
    taken = []
    while len(taken) < 6:
        taken += command_queue.take(0)
    assert source.paused == 0
    assert [record.offset for record in taken] == list(range(6))


def test_what_was_decided_meanwhile_is_not_taken_again():
    command_queue = CommandQueue(Source())
    command_queue.put(Delivery(TOPIC, 0, 0, [Record(n, None, None) for n in range(3)]))
    assert [record.offset for record in command_queue.take(2)] == [2]
    assert command_queue.take(2) == []


async def test_what_was_fetched_for_an_older_position_is_not_taken():
    source = Source()
    command_queue = CommandQueue(source)
    source.generation = 2
    command_queue.put(Delivery(TOPIC, 0, 1, [Record(0, None, None)]))
    assert len(command_queue) == 0


def test_a_position_that_is_not_there_any_more_ends_the_taking():
    command_queue = CommandQueue(Source())
    command_queue.put(Delivery(TOPIC, 0, 0, []))
    with pytest.raises(StaleStateError, match="not in the topic any more"):
        command_queue.take(0)


def test_stopped_is_a_journal_error_that_names_its_reason():
    assert "why" in str(StoppedError("why"))


def hint(command_id, version, head, *, offset, journal_end=0, status="rejected", aggregate_id="p-1", events=()):
    """An outcome as a record; without events, unless some are given."""
    outcome = {
        "command_id": command_id,
        "kind": "person",
        "aggregate_id": aggregate_id,
        "status": status,
        "version": version,
        "head": head,
        "events": list(events),
    }
    return OutcomeRecord(aggregate_id.encode(), orjson.dumps(outcome), offset, journal_end)


def misplaced(scene: Scene) -> None:
    """Two commands for another partition (of two), each with one for this partition behind it."""
    for name in ("Ada", "Bea"):
        scene.command(name, aggregate_id="p-3")
        scene.command(name, type_="RegisterPerson" if name == "Ada" else "RenamePerson")


async def test_with_the_groups_offset_lost_what_was_forwarded_is_not_forwarded_again():
    scene = Scene(partitions=2)
    misplaced(scene)
    scene.log.copied = [copy_of(scene, 2), copy_of(scene, 0)]
    async with running(scene):
        await scene.answered(2)
    assert scene.source.begins == [0, 0]
    assert scene.log.forwards == []
    assert [outcome["command_id"] for outcome in scene.log.outcomes] == ["c-1", "c-3"]


async def test_what_the_next_one_commits_behind_a_lost_offset_does_not_hide_that_more_was_forwarded():
    scene = Scene(partitions=2)
    scene.log.remembers = True
    scene.log.more = {"commands_stable": 3, "commands_end": 3}
    scene.command("Ada")
    async with running(scene):
        await scene.answered(1)
    assert (scene.log.committed, scene.log.metadata.unsure_until) == (1, 3)
    scene.command("Bea", aggregate_id="p-3")
    scene.command("Cleo", type_="RenamePerson")
    scene.log.copied = [copy_of(scene, 1)]
    scene = successor(scene)
    async with running(scene):
        await scene.answered(2)
    assert scene.log.forwards == []
    assert scene.log.metadata.unsure_until == 0


def successor(scene: Scene) -> Scene:
    """Another worker's shard of the same topics, with a store of its own."""
    later = Scene(partitions=scene.shard.place.partitions, log=scene.log)
    later.source.commands += scene.source.commands
    return later


@pytest.mark.parametrize(
    "lie",
    [
        {"partition": 0},
        {"key": b"p-1"},
        {"value": b"{}"},
        {"headers": [("ce_specversion", b"1.0")]},
        {"offset": 2},
        {"offset": 1},  # that one is where it belongs
    ],
)
async def test_what_only_calls_itself_a_copy_has_nothing_passed_over(lie):
    scene = Scene(partitions=2)
    misplaced(scene)
    scene.log.copied = [copy_of(scene, 0)._replace(**lie)]
    async with running(scene):
        await scene.answered(2)
    assert scene.log.forwards == [scene.source.commands[0].value, scene.source.commands[2].value]
    assert [outcome["command_id"] for outcome in scene.log.outcomes] == ["c-1", "c-3"]


def copy_of(scene: Scene, offset: int) -> CopyRecord:
    """The copy of a command in the other partition."""
    record = scene.source.commands[offset]
    return CopyRecord(1, offset, record.key, record.value, [])


async def test_with_the_groups_offset_lost_a_dead_letter_is_kept_once():
    scene = Scene()
    for value in (b"no command", b"nor this"):
        scene.source.commands.append(Record(len(scene.source.commands), b"p-1", value))
    scene.command("Ada")
    scene.log.letters = [(0, b"p-1", b"no command"), (1, b"p-1", b"another")]
    async with running(scene):
        await scene.answered(1)
    assert scene.log.dead_lettered == [b"nor this"]


@pytest.fixture
def behind():
    """A shard whose group's offset, with our metadata, is behind four commands: the second is misplaced, the third no
    command at all."""
    scene = Scene(partitions=2)
    scene.command("Ada")
    scene.command("Bea", aggregate_id="p-3")
    scene.source.commands.append(Record(2, b"p-1", b"no command"))
    scene.command("Cleo")
    scene.log.more = {"committed": 0, "committed_journal_end": 0}
    scene.log.hints = [hint("c-0", 0, None, offset=0), hint("c-3", 0, None, offset=3)]
    scene.log.copied = [copy_of(scene, 1)]
    scene.log.letters = [(2, b"p-1", b"no command")]
    return scene


async def begins_at(scene):
    async with running(scene):
        await scene.until(Phase.OPEN)
    return scene.source.begins[0]


async def test_an_outcome_beyond_the_groups_offset_counts_if_all_before_it_are_answered(behind):
    assert await begins_at(behind) == 4


async def test_one_outcome_beyond_the_groups_offset_passes_no_command_over(behind):
    behind.log.hints = behind.log.hints[1:]
    assert await begins_at(behind) == 0


async def test_an_older_outcome_beyond_the_groups_offset_counts_as_far_as_all_are_answered(behind):
    behind.log.copied = []
    assert await begins_at(behind) == 1


async def test_a_command_without_its_dead_letter_is_not_passed_over(behind):
    behind.log.letters = [(2, b"p-1", b"another"), (3, b"p-1", b"no command")]
    assert await begins_at(behind) == 2


@pytest.mark.parametrize(
    "lie",
    [
        {"command_offset": 1},
        {"value": orjson.dumps({"command_id": "c-0"})},
        {"key": b"p-2"},
    ],
)
async def test_between_the_groups_offset_and_an_outcome_only_what_the_journal_bears_out_is_an_answer(behind, lie):
    behind.log.hints[0] = behind.log.hints[0]._replace(**lie)
    assert await begins_at(behind) == 0


async def test_an_outcome_of_another_command_is_no_answer(behind):
    behind.log.hints[0] = hint("c-9", 0, None, offset=0)
    assert await begins_at(behind) == 0


async def test_commands_that_expired_behind_the_groups_offset_are_not_answered_by_an_outcome(behind):
    behind.log.more["commands_start"] = 2
    async with running(behind):
        await behind.until(Phase.STOPPED)
    assert "2 offsets of commands from 0 on expired" in behind.shard.reason


async def test_while_outcomes_may_be_hidden_an_offset_that_is_behind_is_not_believed(behind):
    behind.log.more["outcomes_end"] = 1
    async with running(behind):
        await behind.until_it(lambda: "transaction is open on the outcomes" in behind.shard.reason)
        behind.log.more["outcomes_stable"] = 1
        await behind.until(Phase.OPEN)
    assert behind.source.begins == [4]


async def test_with_the_groups_offset_lost_what_was_never_forwarded_is_forwarded():
    scene = Scene(partitions=2)
    misplaced(scene)
    async with running(scene):
        assert await scene.answered(2) == ["accepted", "accepted"]
    assert scene.log.forwards == [scene.source.commands[0].value, scene.source.commands[2].value]


async def test_while_copies_cannot_be_seen_it_is_not_ready_and_says_why():
    scene = Scene(partitions=2)
    misplaced(scene)
    scene.log.copied, scene.log.held_up = [copy_of(scene, 0), copy_of(scene, 2)], 1
    scene.log.released.clear()
    async with running(scene):
        await scene.until(Phase.OPEN)
        await scene.until(Phase.OPENING)
        assert scene.shard.reason == "a transaction is open"
        scene.log.released.set()
        await scene.answered(2)
        assert scene.shard.phase is Phase.OPEN
    assert scene.source.begins == [0, 0]
    assert scene.log.forwards == []


async def test_a_rebalance_while_copies_are_looked_for_loses_nothing():
    scene = Scene(partitions=2)
    misplaced(scene)
    scene.log.held_up = 1
    scene.log.released.clear()
    async with running(scene):
        await scene.until(Phase.OPEN)
        await scene.until(Phase.OPENING)
        await scene.shard.suspend()
        scene.log.released.set()
        await scene.until(Phase.SUSPENDED)
        scene.shard.resume()
        assert await scene.answered(2) == ["accepted", "accepted"]
    assert len(scene.log.forwards) == 2


@pytest.mark.parametrize(("committed_end", "looks"), [(None, 3), (0, 1)])
async def test_a_strangers_transaction_on_the_outcomes_is_waited_for_where_they_tell_what_is_decided(
    monkeypatch, committed_end, looks
):
    scene = Scene()
    scene.log.more = {"committed_journal_end": committed_end, "outcomes_end": 1}
    look = scene.log.look

    async def looking():
        if scene.log.calls.count("look") == looks - 1:
            scene.log.more["outcomes_stable"] = 1
        return await look()

    monkeypatch.setattr(scene.log, "look", looking)
    async with running(scene):
        await scene.until(Phase.OPEN)
    assert scene.log.calls.count("look") == looks


async def test_what_came_behind_the_fence_was_never_forwarded():
    scene = Scene(partitions=2)
    scene.log.more = {"commands_stable": 1}
    scene.command("Ada")
    async with running(scene):
        await scene.answered(1)
        scene.command("Bea", aggregate_id="p-3")
        scene.command("Cleo", type_="RenamePerson")
        scene.source.deliver(1)
        assert await scene.answered(2) == ["accepted", "accepted"]
    assert "copies" not in scene.log.calls
    assert len(scene.log.forwards) == 1


async def test_with_an_offset_of_its_own_a_shard_looks_for_no_copies():
    scene = Scene(partitions=2)
    scene.log.more = {"committed": 0, "committed_journal_end": 0}
    misplaced(scene)
    async with running(scene):
        assert await scene.answered(2) == ["accepted", "accepted"]
    assert "copies" not in scene.log.calls
    assert len(scene.log.forwards) == 2


def test_what_is_kept_of_an_aggregate_counts_its_id():
    """Goes red when only its state counts: a stranger's events may have ids of a megabyte."""
    aggregate_cache = AggregateCache(1 << 20)
    aggregate = WorkingSet(PERSON, MemoryStore(), aggregate_cache).absent
    for number in range(100):
        aggregate_cache.keep((1, b"%d" % number * 50_000), aggregate, 10)
    assert sum(len(key) for _, key in aggregate_cache.cache) <= 1 << 20
