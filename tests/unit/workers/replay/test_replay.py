"""A replay without Kafka: which events it hands on, in which order, how far it has come, and what it refuses."""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import pytest

from annals.schemas.chain import seal
from annals.schemas.cid import cid_text
from annals.schemas.journal_reader import GapError
from annals.topics.names import TopicNames
from annals.topics.wire import encode_headers
from annals.workers import registry
from annals.workers.audit.chains import JournalId
from annals.workers.audit.journals import Journal
from annals.workers.cli.failures import CannotAskError
from annals.workers.cli.replay import MomentType, PositionsType, ReplayTopicType, replay
from annals.workers.registry import RegistrationError, deciders
from annals.workers.replay import event_types, targets
from annals.workers.replay.event_types import problems_of_types
from annals.workers.replay.pace import Pace
from annals.workers.replay.partition import PartitionReplay
from annals.workers.replay.plan import (
    HandlerFailedError,
    Plan,
    ReplayError,
    Selection,
    Step,
    Target,
    WrongSelectionError,
)
from annals.workers.replay.position_file import LineFile, PositionFile, asked_for
from annals.workers.replay.run import _Run
from annals.workers.replay.targets import HandlerSink, LineSink, NoSink, TopicSink, load_handler
from annals.workers.settings import Settings
from chained import RECORDED_AT, TRACE, Sealed, chain
from full_disk import full_beyond
from leaving import LEAVING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from annals.workers.kafka.protocol.record_batches import Record

PERSON = JournalId("person", "events.person", 0, 1)
EVERYTHING = Selection(("person",))


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "FIRST_WAIT_S", 0.0)


def as_records(events: list[Sealed]) -> list[Record]:
    return [(offset, each.key, each.value, encode_headers(each.headers)) for offset, each in enumerate(events)]


class Replayed:
    """A partition that was replayed: its steps, and their sum."""

    def __init__(
        self,
        events: list[Sealed],
        sink: Any = None,
        selection: Selection = EVERYTHING,
        position: int = 0,
        place: JournalId = PERSON,
        behind: str | None = None,
    ) -> None:
        self.steps: list[Step] = []
        self.error: Exception | None = None

        async def fetched() -> AsyncIterator[list[Record]]:
            yield as_records(events)

        one = PartitionReplay(place, position, selection, sink or LineSink(), Pace(None), self.steps.append, behind)
        try:
            asyncio.run(one.run(fetched(), len(events)))
        except (GapError, HandlerFailedError, ReplayError, RuntimeError) as error:
            self.error = error

    def total(self, name: str) -> int:
        return sum(getattr(step, name) for step in self.steps)

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for step in self.steps for line in step.lines.splitlines()]

    @property
    def offsets(self) -> list[int]:
        return [line["offset"] for line in self.lines]


def handler(handle: Callable[[dict[str, Any]], Any], retries: int = 0) -> HandlerSink:
    return HandlerSink(handle, retries)


def test_what_counts_is_handed_on_in_order_and_the_rest_is_counted() -> None:
    first, second, third = chain("p-1", 3)
    foreign = first.but(value=b"no event")
    done = Replayed([first, second, second, foreign, third])
    assert done.offsets == [0, 1, 4]
    assert [line["cid"] for line in done.lines] == [cid_text(each.cid) for each in (first, second, third)]
    assert [done.total(name) for name in ("events", "void", "foreign", "passed_over")] == [3, 1, 1, 0]
    assert done.steps[-1].next_offset == 5


def test_a_gap_stops_it_with_the_place_named_and_the_position_before_it() -> None:
    first, second, _, fourth, fifth = chain("p-1", 5)
    done = Replayed([first, second, fourth, fifth])
    assert "events.person-0 offset 2 has version 4" in str(done.error)
    assert done.offsets == [0, 1]
    assert done.steps[-1].next_offset == 2


def test_a_gap_before_the_position_stops_it_too() -> None:
    first, _, third = chain("p-1", 3)
    done = Replayed([first, third, *chain("p-2", 2)], position=2)
    assert isinstance(done.error, GapError)
    assert done.offsets == []


def test_from_a_position_it_hands_on_what_comes_after_it() -> None:
    done = Replayed(chain("p-1", 4), position=2)
    assert done.offsets == [2, 3]
    assert done.total("events") == 2


@pytest.mark.parametrize(
    ("selection", "offsets"),
    [
        (EVERYTHING._replace(types=("PersonRenamed",)), [0, 1, 2]),
        (EVERYTHING._replace(types=("PersonRegistered",)), []),
        (EVERYTHING._replace(aggregate_id="p-2"), [2]),
        (EVERYTHING._replace(since=RECORDED_AT), [0, 1, 2]),
        (EVERYTHING._replace(until=RECORDED_AT), []),
        (EVERYTHING._replace(since="2026-11-21T09:30:00.123457Z"), []),
        (EVERYTHING._replace(until="2026-11-21T09:30:00.123457Z"), [0, 1, 2]),
    ],
)
def test_only_what_is_asked_for_is_handed_on(selection: Selection, offsets: list[int]) -> None:
    done = Replayed([*chain("p-1", 2), *chain("p-2", 1)], selection=selection)
    assert done.offsets == offsets
    assert done.steps[-1].next_offset == 3


def test_a_position_is_kept_with_the_event_before_it_and_goes_on_behind_that_alone() -> None:
    """In a journal that was restored from a copy of its records the same offset is another place."""
    events = chain("p-1", 5)
    first = Replayed([*events[:2], events[0].but(value=b"no event")])
    assert (first.steps[-1].next_offset, first.steps[-1].behind) == (3, cid_text(events[1].cid))
    whole = Replayed(
        [*events[:2], events[0].but(value=b"no event"), *events[2:]], position=3, behind=first.steps[-1].behind
    )
    assert (whole.error, whole.offsets) == (None, [3, 4, 5])
    assert whole.steps[-1].behind == cid_text(events[4].cid)
    for restored in (events, events[:3]):
        done = Replayed(restored, position=3, behind=first.steps[-1].behind)
        assert "the event before offset 3 is not" in str(done.error)
        assert done.offsets == []
        assert {step.behind for step in done.steps} <= {first.steps[-1].behind}, "the next run is told as well"


def test_an_event_that_a_handler_does_not_take_is_not_before_the_position() -> None:
    def fails(event: dict[str, Any]) -> None:
        if event["version"] == 2:
            raise ValueError("never")

    events = chain("p-1", 3)
    done = Replayed(events, handler(fails))
    assert (done.steps[-1].next_offset, done.steps[-1].behind) == (1, cid_text(events[0].cid))


def test_a_gap_of_another_aggregate_does_not_stop_a_replay_of_one() -> None:
    first, _, third = chain("p-1", 3)
    done = Replayed([first, third, *chain("p-2", 1)], selection=EVERYTHING._replace(aggregate_id="p-2"))
    assert (done.error, done.offsets) == (None, [2])


def test_a_handler_that_fails_is_asked_again_and_each_failure_counts() -> None:
    asked: list[int] = []

    async def fails_twice_on_the_second(event: dict[str, Any]) -> None:
        asked.append(event["version"])
        if event["version"] == 2 and asked.count(2) < 3:
            raise ConnectionError("away")

    done = Replayed(chain("p-1", 3), handler(fails_twice_on_the_second, retries=2))
    assert asked == [1, 2, 2, 2, 3]
    assert (done.error, done.total("failures"), done.total("events")) == (None, 2, 3)


def test_a_handler_that_is_asked_again_gets_the_event_as_it_was() -> None:
    """Goes red when what a handler made of the data before it failed is what it gets the next time."""
    seen: list[dict[str, Any]] = []

    def fails_once(event: dict[str, Any]) -> None:
        seen.append(event["data"].copy())
        event["data"].clear()
        if len(seen) == 1:
            raise ValueError("no room")

    Replayed(chain("p-1", 1), handler(fails_once, retries=1))
    assert seen == [{"name": "Ada 1"}] * 2


def test_a_handler_that_fails_for_good_stops_it_at_the_event_that_is_named() -> None:
    def fails(event: dict[str, Any]) -> None:
        if event["version"] == 2:
            raise ValueError("never")

    events = chain("p-1", 3)
    done = Replayed(events, handler(fails, retries=1))
    assert "failed 2 times on person 'p-1' version 2" in str(done.error)
    assert cid_text(events[1].cid) in str(done.error)
    assert "partition 0 offset 1" in str(done.error)
    assert "ValueError: never" in str(done.error)
    assert (done.total("failures"), done.total("events"), done.steps[-1].next_offset) == (2, 1, 1)


@pytest.mark.parametrize("error", [error for name, error in LEAVING.items() if name != "GeneratorExit"])
@pytest.mark.parametrize("waits", [False, True])
def test_a_handler_that_would_end_the_process_stops_it_at_the_event_that_is_named(
    error: Callable[[], BaseException], *, waits: bool
) -> None:
    """Goes red where `sys.exit()` in a handler ends the command with status 0, as if all had been replayed."""

    def fails(event: dict[str, Any]) -> None:
        raise error()

    async def fails_later(event: dict[str, Any]) -> None:
        await asyncio.sleep(0)
        raise error()

    done = Replayed(chain("p-1", 1), handler(fails_later if waits else fails, retries=1))
    assert "failed 2 times on person 'p-1' version 1" in str(done.error)
    if not (waits and isinstance(error(), StopIteration)):  # which Python makes a RuntimeError of
        assert type(error()).__name__ in str(done.error)


def test_a_handler_gets_an_event_in_its_newest_version() -> None:
    block, cid = seal(
        kind="agent",
        aggregate_id="a-1",
        version=1,
        previous=None,
        type="ModelConfigured",
        schema_version=1,
        recorded_at=RECORDED_AT,
        command_id="c-1",
        correlation_id="c",
        causation_id=None,
        actor=None,
        data={"model": "anthropic/claude"},
    )
    seen: list[dict[str, Any]] = []
    done = Replayed([Sealed(b"a-1", block, [], 1, cid)], handler(seen.append), place=PERSON._replace(kind="agent"))
    assert done.total("events") == 1
    assert seen == [
        {
            "kind": "agent",
            "aggregate_id": "a-1",
            "version": 1,
            "previous": None,
            "type": "ModelConfigured",
            "schema_version": 2,
            "recorded_at": RECORDED_AT,
            "command_id": "c-1",
            "correlation_id": "c",
            "causation_id": None,
            "actor": None,
            "data": {"provider": "anthropic", "model": "claude"},
            "cid": cid_text(cid),
            "partition": 0,
            "offset": 0,
        }
    ]


class Unsettled(NoSink):
    """Has records on their way when it fails."""

    is_settled = False  # type: ignore[assignment]

    async def take(self, event: Any, partition: int) -> targets.Taken:
        if event.offset == 2:
            raise RuntimeError("refused")
        return targets.Taken()


def test_what_may_not_have_arrived_is_not_told_as_done() -> None:
    done = Replayed(chain("p-1", 3), Unsettled())
    assert isinstance(done.error, RuntimeError)
    assert done.steps == []


def test_a_pace_hands_out_even_moments() -> None:
    now, waited = [10.0], []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)
        now[0] += seconds

    async def five() -> None:
        pace = Pace(4.0, lambda: now[0], sleep)
        for _ in range(5):
            await pace.wait()

    asyncio.run(five())
    assert waited == [0.25] * 4


@pytest.mark.parametrize(
    "topic",
    [
        "commands.person",
        "events.person",
        "outcomes.person",
        "subscribers.x",
        "replays.",
        "replays.commands.person",
        "replays.X",
        "replays.x\n",
        "xreplays.x",
        "x",
        "",
    ],
)
def test_no_other_topic_than_one_of_replays_is_written_to(topic: str) -> None:
    with pytest.raises(click.BadParameter, match=r"replays\.NAME only"):
        ReplayTopicType().convert(topic, None, None)


def test_no_target_is_a_topic_of_commands() -> None:
    assert ReplayTopicType().convert("replays.billing", None, None) == "billing"
    assert TopicNames("t.").replays("billing") == "t.replays.billing"
    for name in ("commands.person", "../commands.person", "", "a.b"):
        with pytest.raises(ValueError, match="name"):
            TopicNames().replays(name)
    assert set(Target._fields) == {"handler", "topic", "file"}


def test_positions_and_moments_that_are_none_are_refused() -> None:
    assert PositionsType().convert('{"person": [3, null]}', None, None) == {"person": [3, None]}
    for wrong, said in (
        ("[]", "Expected `object`"),
        ('{"person": [-1]}', "an offset of person is below 0"),
        ('{"parson": [1]}', "there is no kind 'parson'.* Is person meant?"),
        ('{"person": ["1"]}', "Expected `int | null`"),
        ('{"person": [1], "agent": [], "person": [2]}', "person is named twice"),
        ("{", "positions are JSON as"),
        ("\udcff", "positions are JSON as"),
    ):
        with pytest.raises(click.BadParameter, match=said):
            PositionsType().convert(wrong, None, None)
    assert MomentType().convert("2026-11-21T10:30:00+01:00", None, None) == "2026-11-21T09:30:00.000000Z"
    for wrong in ("2026-11-21", "2026-11-21T10:30:00", "yesterday", "0001-01-01T00:00:00+10:00"):
        with pytest.raises(click.BadParameter):
            MomentType().convert(wrong, None, None)


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the topic of schemas has of other releases."""
    keys = ["annals.person.PersonForgotten.v1", "annals.agent.TaskParcelled.v1", "annals.person.RegisterPerson.v1"]

    async def published(_: Settings) -> frozenset[str]:
        asked.append("asked")
        return frozenset(keys)

    asked: list[str] = []
    monkeypatch.setattr(event_types, "_published", published)
    return asked


PEOPLE_AND_AGENTS = ("person", "agent")


@pytest.mark.parametrize(
    ("kinds", "type_name", "said"),
    [
        (("person",), "PersonRegistred", "person has no event 'PersonRegistred'. Is PersonRegistered meant?"),
        (("person",), "TaskAssigned", "person has no event 'TaskAssigned'. It is an event of agent."),
        (("person",), "RegisterPerson", "person has no event 'RegisterPerson'. It is a command; its events have "),
        (("person",), "TaskParcelled", "person has no event 'TaskParcelled'."),
        (PEOPLE_AND_AGENTS, "Xyzzy", "person and agent have no event 'Xyzzy'."),
        (tuple(deciders()), "TaskAsigned", "no kind has an event 'TaskAsigned'. Is TaskAssigned meant?"),
    ],
)
async def test_a_type_that_no_release_has_is_refused_with_the_one_that_was_meant(
    elsewhere: list[str], kinds: tuple[str, ...], type_name: str, said: str
) -> None:
    """Goes red when a replay of a misspelt type ends well with no event."""
    ((path, message),) = await problems_of_types(Settings(), kinds, [type_name])
    assert path == "types[0]"
    assert message.startswith(said)


async def test_a_type_of_another_release_is_replayed_and_own_ones_need_no_broker(elsewhere: list[str]) -> None:
    assert await problems_of_types(Settings(), PEOPLE_AND_AGENTS, ["PersonRenamed", "TaskAssigned"]) == []
    assert elsewhere == []
    assert await problems_of_types(Settings(), PEOPLE_AND_AGENTS, ["PersonForgotten", "TaskParcelled"]) == []
    assert elsewhere == ["asked"]


def test_what_is_wrong_with_what_is_asked_for_is_named_by_its_option(monkeypatch: pytest.MonkeyPatch) -> None:
    """Goes red when a member of the HTTP request is named: nobody gave `positions.person` here."""

    def refuse(*_: object, **__: object) -> None:
        raise WrongSelectionError([("types[0]", "no such type"), ("positions.person[1]", "must not be behind")])

    monkeypatch.setattr("annals.workers.replay.run.replay", refuse)
    with pytest.raises(CannotAskError, match=r"^--type: no such type; --from: person\[1\] must not be behind$"):
        replay.main(["--dry-run"], standalone_mode=False)


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--handler", "x", "--file", "y"],
        ["--file", "y", "--aggregate", "person"],
        ["--file", "y", "--aggregate", "parson/p-1"],
        ["--file", "y", "--aggregate", "person/p-1", "--kind", "person"],
    ],
)
def test_what_cannot_be_asked_is_a_usage_error(words: list[str]) -> None:
    with pytest.raises(click.UsageError):
        replay.main(words, standalone_mode=False)


class Leaving:
    """A handler that ends the process where it is made: as a script does whose last line is `sys.exit(main())`."""

    def __init__(self) -> None:
        sys.exit()


class Ledger:
    """A handler that is made anew by each process."""

    def handle(self, event: dict[str, Any]) -> None:
        raise NotImplementedError


def test_handlers_are_entry_points(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [
        importlib.metadata.EntryPoint("ledger", f"{__name__}:Ledger", targets.GROUP),
        importlib.metadata.EntryPoint("function", "json:dumps", targets.GROUP),
        importlib.metadata.EntryPoint("number", "json:__name__", targets.GROUP),
        importlib.metadata.EntryPoint("gone", "json:gone", targets.GROUP),
        importlib.metadata.EntryPoint("leaving", f"{__name__}:Leaving", targets.GROUP),
    ]
    monkeypatch.setattr(targets, "entry_points", lambda group: points if group == targets.GROUP else [])
    assert load_handler("ledger").__name__ == "handle"
    assert load_handler("function") is json.dumps
    for name, said in (
        ("nobody", "are function, gone, leaving, ledger, number"),
        ("number", "no handler"),
        ("gone", "loaded"),
        ("leaving", "cannot be loaded: SystemExit"),
    ):
        with pytest.raises(ReplayError, match=said):
            load_handler(name)


def plan(file: Path, **changes: Any) -> dict[str, Any]:
    return asked_for(Settings(), Plan(EVERYTHING._replace(**changes), Target(file=str(file))))


def test_positions_are_kept_and_only_for_the_same_replay(tmp_path: Path) -> None:
    file = tmp_path / "state"
    kept = PositionFile(file, plan(tmp_path / "lines"))
    assert kept.load() is None
    with kept:
        assert kept.load() is None
        kept.save({"person": [3, None]}, 120, {"person": ["bafy", None]})
    found = PositionFile(file, plan(tmp_path / "lines")).load()
    assert found is not None
    assert (found.positions, found.length) == ({"person": [3, None]}, 120)
    with pytest.raises(ReplayError, match=r"another replay \(types differ\)"):
        PositionFile(file, plan(tmp_path / "lines", types=("PersonRenamed",))).load()
    file.write_text("{}")
    with pytest.raises(ReplayError, match="no positions"):
        kept.load()


@pytest.mark.parametrize(
    "value", ["[" * 100_000, '{"format":1,"of":{"a":' + "[" * 3_000 + "]" * 3_000 + '},"positions":{}}']
)
def test_positions_that_are_nested_too_deeply_are_none(tmp_path: Path, value: str) -> None:
    """Goes red by a RecursionError, which is shown as a defect."""
    file = tmp_path / "state"
    file.write_text(value)
    with pytest.raises(ReplayError, match="has no positions of a replay"):
        PositionFile(file, {}).load()


@pytest.mark.parametrize("positions", [{}, {"person": [1]}, {"policy": [1, 2]}])
def test_a_state_that_lacks_positions_is_refused(tmp_path: Path, positions: dict[str, Any]) -> None:
    """Goes red when all events of a partition of which there is no position are appended to the file once more."""
    file, state = tmp_path / "lines", tmp_path / "state"
    asked = Plan(Selection(("person",)), Target(file=str(file)))
    settings = Settings()
    file.write_bytes(b"one\n")
    with PositionFile(state, asked_for(settings, asked)) as kept:
        kept.save(positions, 4, {})
    journals = [Journal(JournalId("person", "events.person", at, 2), 0, 9) for at in range(2)]
    with ExitStack() as opened, pytest.raises(ReplayError, match=f"{state} has not one position for each partition"):
        _Run(settings, asked, journals, {}, {}, state, opened, None)
    state.write_bytes(state.read_bytes().replace(b'"length":4', b'"length":-4'))
    with pytest.raises(ReplayError, match=r"has no positions of a replay: .*>= 0"):
        PositionFile(state, asked_for(settings, asked)).load()


def test_one_replay_at_a_time_goes_on_from_its_positions(tmp_path: Path) -> None:
    """Goes red when a second one of the same name hands on all events again, or writes over the other's positions."""
    state = tmp_path / "state"
    with PositionFile(state, {}) as first:
        for offset in range(3):  # the file is another one each time
            with pytest.raises(ReplayError, match=rf"another replay goes on from {state}"), PositionFile(state, {}):
                pass
            first.save({"person": [offset]}, None, {})
    with PositionFile(state, {}) as second:
        assert (found := second.load()) is not None
        assert found.positions == {"person": [2]}
        second.save({"person": [9]}, None, {})
    assert [each.name for each in tmp_path.iterdir()] == ["state"]


def test_what_is_no_file_has_neither_positions_nor_lines(tmp_path: Path) -> None:
    """Goes red by a test that never ends, or by an error that does not say of what."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (pipe, Path("/dev/zero")):
        with pytest.raises(ReplayError, match=f"^{path} is a folder, a pipe or a device: name a file$"):
            PositionFile(path, {}).load()
        with pytest.raises(ReplayError, match=f"^{path} is a folder, a pipe or a device: name a file$"):
            LineFile(path, None)
    large = tmp_path / "large"
    with large.open("wb") as opened:
        opened.truncate(1 << 34)
    with pytest.raises(ReplayError, match="is too large to have positions"):
        PositionFile(large, {}).load()


def test_lines_behind_the_recorded_length_are_not_gone_on_with(tmp_path: Path) -> None:
    file = tmp_path / "lines"
    kept = PositionFile(tmp_path / "state", plan(file))
    file.write_bytes(b"one\ntwo\nthree\nfo")
    assert kept.lines_in(file) == 0
    with kept:
        kept.save({"person": [2]}, len(b"one\ntwo\n"), {})
    assert kept.lines_in(file) == 2


def test_a_file_is_cut_to_what_was_recorded_and_never_written_over(tmp_path: Path) -> None:
    file = tmp_path / "lines"
    with LineFile(file, None) as lines:
        lines.append(b"one\n")
        assert lines.settled() == 4
        lines.append(b"half of tw")
        with pytest.raises(ReplayError, match="another replay writes"):
            LineFile(file, 4)
    with LineFile(file, 4) as lines:
        lines.append(b"two\n")
    assert file.read_bytes() == b"one\ntwo\n"
    with pytest.raises(ReplayError, match="has something in it"):
        LineFile(file, None)
    with pytest.raises(ReplayError, match="has 8 bytes and had 9"):
        LineFile(file, 9)
    assert file.read_bytes() == b"one\ntwo\n"


@pytest.mark.parametrize("size", [5_000, 100_000])
def test_of_lines_that_a_full_disk_cut_off_nothing_is_left_or_counted(tmp_path: Path, size: int) -> None:
    """Goes red when a line is torn, and doubled by the replay that goes on: it is written once more behind its half."""
    file = tmp_path / "lines"
    with LineFile(file, None) as lines:
        lines.append(b"one\n")
        with full_beyond(4_000):
            with pytest.raises(OSError, match="too large") as raised:  # noqa: PT012 - whichever of the two notices
                lines.append(b"x" * size + b"\n")
                lines.settled()
            assert raised.value.filename == str(file)
        assert lines.settled() == len(b"one\n")
        lines.append(b"two\n")
        assert lines.settled() == len(b"one\ntwo\n")
    assert file.read_bytes() == b"one\ntwo\n"


def test_positions_for_which_there_is_no_room_are_named_and_the_former_ones_stay(tmp_path: Path) -> None:
    kept = PositionFile(tmp_path / "state", {})
    with kept:
        kept.save({"person": [7]}, None, {})
        with full_beyond(10), pytest.raises(OSError, match="too large") as raised:
            kept.save({"person": [8]}, None, {})
    assert raised.value.filename == str(tmp_path / "state.new")
    assert not (tmp_path / "state.new").exists()
    assert (found := kept.load()) is not None
    assert found.positions == {"person": [7]}


class Sending:
    """A producer whose brokers acknowledge at once (as `TopicSink` uses one)."""

    def __init__(self) -> None:
        self.headers: list[Any] = []

    async def send(self, *record: Any, headers: Any) -> asyncio.Future[None]:
        self.headers.append(dict(headers))
        acknowledged: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        acknowledged.set_result(None)
        return acknowledged


def test_a_topic_gets_the_headers_that_are_carried_to_subscribers() -> None:
    event = chain("p-1", 1)[0]
    traced = event.but(headers=[*event.headers, ("traceparent", TRACE)])
    producer = Sending()
    replayed = Replayed([traced], TopicSink(producer, "replays.copy", 1))  # type: ignore[arg-type]
    assert replayed.error is None
    assert [headers["traceparent"] for headers in producer.headers] == [TRACE]


def test_a_dry_run_and_one_to_a_file_load_no_aggregate() -> None:
    names = "annals.workers.replay.processes", "annals.agents.registered"
    program = f"import sys, {names[0]}; print({names[1]!r} in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True).stdout == "False\n"
    )


def test_an_aggregate_that_is_registered_wrongly_ends_a_replay_to_a_handler_by_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def wrong() -> None:
        raise RegistrationError("entry point x = y of annals.aggregates is no decider")

    monkeypatch.setattr(registry, "deciders", wrong)

    async def opened() -> None:
        async with targets.sinks(Settings(), Plan(EVERYTHING, Target(handler="x"))):
            raise AssertionError

    with pytest.raises(ReplayError, match="is no decider"):
        asyncio.run(opened())
