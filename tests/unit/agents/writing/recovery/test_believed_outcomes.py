"""Which outcome is believed: one that says what the journal says; any other is void, and the one before it is asked."""

from typing import Any

import orjson
import pytest

from annals.agents.aggregates import REGISTRY
from annals.agents.folding.fold import Fold
from annals.agents.folding.working_set import AggregateCache, WorkingSet
from annals.agents.ports import JournalRecord, LogState, OutcomeRecord
from annals.agents.writing.recovery.outcomes import newest_outcome
from annals.agents.writing.shard_id import ShardId
from annals.schemas.chain import seal
from annals.schemas.cid import cid_of, cid_text
from annals.workers.stores.memory import MemoryStore

PERSON = REGISTRY["person"]
PLACE = ShardId("person", "commands.person", 0, 1)
NOBODYS = cid_text(cid_of(b"nobody's"))


class Command:
    """A command's record."""

    timestamp = 0

    def __init__(self, offset: int, command_id: str, aggregate_id: str = "p-1") -> None:
        self.offset = offset
        self.key = aggregate_id.encode()
        self.headers: list[tuple[str, bytes | None]] = []
        self.value: bytes | None = orjson.dumps(
            {"id": command_id, "type": "RenamePerson", "aggregate_id": aggregate_id, "data": {}}
        )


class Topics:
    """A journal with three events of p-1, of the commands c-0, c-1 (two events) and their folded store.

    Offsets: c-0 at 0 with its marker at 1; c-1 at 2 and 3, its marker at 4. Commands c-0 to c-9 are at 0 to 9.
    """

    def __init__(self) -> None:
        self.journal: list[JournalRecord] = []
        self.cids: list[bytes] = []
        self.steps: list[list[OutcomeRecord]] = []
        self.commands = {number: Command(number, f"c-{number}") for number in range(10)}
        self.asked: list[str] = []
        self.store = MemoryStore()
        for offset, command_id in ((0, "c-0"), (2, "c-1"), (3, "c-1")):
            self._append(offset, command_id)
        self.fold()

    def _append(self, offset: int, command_id: str) -> None:
        version = len(self.cids) + 1
        block, cid = seal(
            kind="person",
            aggregate_id="p-1",
            version=version,
            previous=self.cids[-1] if self.cids else None,
            type="PersonRegistered" if version == 1 else "PersonRenamed",
            schema_version=1,
            recorded_at="2026-11-21T09:30:00.000000Z",
            command_id=command_id,
            correlation_id=command_id,
            causation_id=None,
            actor=None,
            data={"name": f"Ada {version}"},
        )
        self.cids.append(cid)
        self.journal.append(JournalRecord(offset, b"p-1", block))

    def add(self, offset: int, value: bytes) -> None:
        """Put a record between the events, which counts for nobody."""
        self.journal.append(JournalRecord(offset, b"p-1", value))
        self.journal.sort()

    def fold(self) -> None:
        self.store = MemoryStore()
        Fold(PERSON, WorkingSet(PERSON, self.store, AggregateCache(1 << 20)), 0, 1, {}).apply(self.journal)

    def event(self, version: int) -> dict[str, Any]:
        name = "PersonRegistered" if version == 1 else "PersonRenamed"
        return {"version": version, "type": name, "cid": cid_text(self.cids[version - 1])}

    def says(self, offset: int, at: int, status: str = "accepted", **more: Any) -> OutcomeRecord:
        """An outcome of the command at an offset: by default with no events, and true of p-1 at that version."""
        journal_end = more.pop("journal_end", 6)
        outcome = {
            "command_id": f"c-{offset}",
            "kind": "person",
            "aggregate_id": "p-1",
            "status": status,
            "version": at,
            "head": cid_text(self.cids[at - 1]) if at else None,
            "events": [],
            "error": None,
        }
        key = more.pop("key", b"p-1")
        return OutcomeRecord(key, orjson.dumps(outcome | more), offset, journal_end)

    async def newest_outcomes(self, seen: LogState) -> Any:
        for step in self.steps:
            yield step

    async def command_at(self, offset: int) -> Command | None:
        self.asked.append(f"command {offset}")
        return self.commands.get(offset)

    async def read(self, start: int, end: int) -> Any:
        self.asked.append("journal")
        yield [record for record in self.journal if start <= record.offset < end]

    async def newest(self, *steps: list[OutcomeRecord], committed: int | None = None, start: int = 0) -> int | None:
        """The `command-offset` of the outcome that is believed."""
        self.steps = list(steps)
        seen = LogState(committed, None, start, 10, 10, 0, 10, 10, 0, 5, 5)
        found = await newest_outcome(self, self.store, PLACE, seen)  # type: ignore[arg-type] # what it asks for is here
        return found.command_offset if found else None


@pytest.fixture
def topics() -> Topics:
    return Topics()


async def test_one_with_events_is_believed_if_they_are_its_commands(topics: Topics) -> None:
    true = topics.says(1, 3, events=[topics.event(2), topics.event(3)])
    assert await topics.newest([true]) == 1
    assert await topics.newest([topics.says(1, 3, "duplicate", events=[topics.event(2), topics.event(3)])]) == 1


@pytest.mark.parametrize(
    "lie",
    [
        {"events": []},  # of a duplicate, that is: it always has some
        {"events": [2]},
        {"events": [3]},
        {"events": [2, 3], "version": 4},
        {"events": [2, 3], "head": NOBODYS},
        {"events": [1, 2, 3]},
        {"events": [2, 3], "command_id": "c-0"},
        {"events": [2, 3], "command_id": "c-9"},
        {"events": [2, 3], "status": "rejected"},
    ],
)
async def test_one_with_events_is_void_if_they_are_not_its_commands(topics: Topics, lie: dict[str, Any]) -> None:
    events = [topics.event(version) for version in lie["events"]]
    false = topics.says(1, 3, **({"status": "duplicate"} | lie | {"events": events}))
    assert await topics.newest([false]) is None


async def test_one_without_events_is_believed_if_its_aggregate_stands_so(topics: Topics) -> None:
    assert await topics.newest([topics.says(5, 3)]) == 5
    assert await topics.newest([topics.says(5, 3, "rejected")]) == 5
    topics.commands[6] = Command(6, "c-6", "p-2")
    absent = topics.says(6, 0, "rejected", aggregate_id="p-2", key=b"p-2")
    assert await topics.newest([absent]) == 6
    assert "journal" not in topics.asked


@pytest.mark.parametrize("lie", [{"head": NOBODYS}, {"version": 4}, {"version": 4, "head": NOBODYS}, {"head": None}])
async def test_one_without_events_is_void_if_its_head_is_not_the_chains(topics: Topics, lie: dict[str, Any]) -> None:
    assert await topics.newest([topics.says(5, 3, **lie)]) is None
    assert "journal" not in topics.asked


async def test_one_without_events_is_believed_if_its_aggregate_stood_so_then(topics: Topics) -> None:
    first = topics.says(5, 1, "rejected", journal_end=2)
    assert await topics.newest([first]) == 5
    assert await topics.newest([topics.says(5, 0, "rejected", journal_end=0)]) == 5
    with_the_batch_behind_it = topics.says(5, 2, journal_end=4)  # an event so far, and a marker
    assert await topics.newest([with_the_batch_behind_it]) == 5


@pytest.mark.parametrize(
    "lie",
    [
        {"version": 1, "journal_end": 5},  # it had gone on by then
        {"version": 2, "journal_end": 2},  # it was not there yet
        {"version": 1, "journal_end": None},
        {"version": 1, "head": NOBODYS, "journal_end": 2},
        {"version": 0, "journal_end": 5},
    ],
)
async def test_one_without_events_is_void_if_its_aggregate_never_stood_so(topics: Topics, lie: dict[str, Any]) -> None:
    version = lie.pop("version")
    assert await topics.newest([topics.says(5, version, "rejected", **lie)]) is None


async def test_what_counts_for_nobody_is_on_no_chain(topics: Topics) -> None:
    loser, cid = seal(
        kind="person", aggregate_id="p-1", version=2, previous=topics.cids[0], type="PersonRenamed", schema_version=1,
        recorded_at="2026-11-21T09:30:00.000000Z", command_id="c-5", correlation_id="c-5", causation_id=None,
        actor=None, data={"name": "Loser"},
    )  # fmt: skip
    topics.add(4, loser)
    topics.add(5, b"no block at all")
    topics.fold()
    assert await topics.newest([topics.says(5, 2, "rejected", head=cid_text(cid), journal_end=5)]) is None
    assert (
        await topics.newest(
            [
                topics.says(
                    5, 2, head=cid_text(cid), events=[{"version": 2, "type": "PersonRenamed", "cid": cid_text(cid)}]
                )
            ]
        )
        is None
    )


async def test_void_ones_are_passed_over_to_the_one_before_them(topics: Topics) -> None:
    true = topics.says(4, 3)
    voids = [
        topics.says(9, 3, head=NOBODYS),
        topics.says(8, 1, "rejected", journal_end=5),
        topics.says(7, 3, version=4),
    ]
    assert await topics.newest([*voids, true, topics.says(3, 3)]) == 4
    assert await topics.newest(voids, [voids[1]], [voids[1], true]) == 4
    older = topics.says(6, 1, "rejected", journal_end=2)
    assert await topics.newest([voids[0], older, true]) == 6
    assert await topics.newest(voids) is None


@pytest.mark.parametrize(
    "record",
    [
        OutcomeRecord(b"p-1", None, 5, 6),
        OutcomeRecord(b"p-1", b"?", 5, 6),
        OutcomeRecord(b"p-1", b'{"command_id": "c-5"}', 5, 6),
    ],
)
async def test_what_is_no_outcome_is_void(topics: Topics, record: OutcomeRecord) -> None:
    assert await topics.newest([record, topics.says(4, 3)]) == 4


@pytest.mark.parametrize(
    "lie",
    [
        {"kind": "agent"},
        {"key": None},
        {"key": b"p-2"},
        {"version": -1},
        {"version": 0, "head": None, "aggregate_id": "p-2", "key": b"p-2"},  # accepted, and absent
    ],
)
async def test_what_is_no_outcome_of_this_shard_is_void(topics: Topics, lie: dict[str, Any]) -> None:
    assert (
        await topics.newest([topics.says(5, lie.pop("version", 3), **({"head": topics.event(3)["cid"]} | lie))]) is None
    )


async def test_one_of_another_partition_is_void(topics: Topics) -> None:
    topics.steps = [[topics.says(5, 3)]]
    seen = LogState(None, None, 0, 10, 10, 0, 10, 10, 0, 5, 5)
    elsewhere = PLACE._replace(partitions=3)  # murmur2: p-1 lives in partition 1 of 3
    assert await newest_outcome(topics, topics.store, elsewhere, seen) is None  # type: ignore[arg-type] # what it asks for is here


async def test_one_that_names_another_command_is_void(topics: Topics) -> None:
    topics.commands[5] = Command(5, "c-other")
    topics.commands[6] = Command(6, "c-6", "p-2")
    topics.commands[7].value = b"no command"
    del topics.commands[8]
    assert await topics.newest([topics.says(offset, 3) for offset in (8, 7, 6, 5, 4)]) == 4
    assert await topics.newest([topics.says(5, 1, "rejected", journal_end=2)]) is None


async def test_the_command_is_not_asked_for_where_that_changes_nothing(topics: Topics) -> None:
    topics.commands = {}
    assert await topics.newest([topics.says(5, 3)], committed=6) == 5
    assert await topics.newest([topics.says(5, 3)], start=6) == 5
    assert topics.asked == []
    assert await topics.newest([topics.says(5, 3)], committed=5) is None
