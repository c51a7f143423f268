"""A version of a global projection is turned to when all members have its rows: each answers with rows of its own."""

from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

import pytest
from msgspec.structs import replace as changed
from structlog.testing import capture_logs

from annals.agents.aggregates import REGISTRY as DECIDERS
from annals.agents.projections import REGISTRY
from annals.agents.reading.ports import Member, NotReadyError
from annals.agents.reading.read_models.other_members import SILENT_S, AskReached
from annals.agents.reading.read_models.read_models import ReadModels
from annals.agents.reading.read_models.row_answers import RowAnswers
from annals.agents.reading.read_models.service import ProjectionService
from annals.schemas.kinds import location
from annals.schemas.projection_record import ProjectionRecord
from following import Clock, run_meanwhile, until
from projecting import PARTITIONS, GlobalStores, Group, Journals, ScratchStores, Topic, global_reader

NAME = "locations"
FIRST = REGISTRY[NAME]


class TimeToSet(Clock):
    seconds = 0.0

    def monotonic(self):
        return self.seconds


class Process:
    """One member: its rows, of which those of version 2 stand at the first event while it is held."""

    def __init__(self, name, journals, topic, *others):
        self.is_held = False
        self.clock, self.topic, self.journals = TimeToSet(), topic, journals
        versions = {NAME: (FIRST, replace(FIRST, version=2, fold=self._fold))}
        self.reader = global_reader(journals, GlobalStores(), versions, topic.records)
        self.group = Group(*(Member(each, None, {}, {NAME: 2}) for each in (name, *others)))
        self.models = ReadModels(versions, DECIDERS, topic, self.group, self.clock, self.reader)
        self.answers = RowAnswers(versions, {"global": self.reader}, self.models.version_of, self.clock)

    def _fold(self, event, rows):
        if self.is_held:
            raise RuntimeError("it is held")
        FIRST.fold(event, rows)
        row = rows.get(event.aggregate_id)
        rows.put(changed(row, name=row.name.upper()), event.aggregate_id)

    async def until_read(self):
        """Until it has folded all that it can."""
        ends = sum(len(each) for each in self.journals.records_of.values())
        await until(lambda: self.reader._fold is not None and sum(self.reader.positions.read_until.values()) == ends)
        await until(lambda: not self.reader._fold.catch_up())

    async def let_go(self):
        self.is_held = False
        self.reader.resume(f"{NAME}/2")
        await until(lambda: self.models.has_reached(NAME, 2, 1))

    async def turn(self, *others):
        return await self.models.turn({"global": self.reader}, Peers(others))

    async def answered(self):
        """The names in all rows; all of them are current."""
        found = await self.answers.rows(NAME, {}, None, 10)
        assert (found.missing, found.stale) == ([], [])
        return [row["name"] for row in found.rows]

    async def stands(self):
        """The versions that answers, that can be turned back to, and that is built."""
        counts = {"location": PARTITIONS}
        sources = {"global": self.reader}
        service = ProjectionService(
            self.models, self.topic, sources, DECIDERS, Journals(), counts, self.clock, ScratchStores()
        )
        found = await service.status(NAME)
        return found.version, found.previous, found.building and found.building.version


class Peers:
    """Asks processes by the names of their members (the `Peers` port)."""

    def __init__(self, processes):
        self.processes = {each.group.me.id: each for each in processes}

    async def has_reached(self, member, asked, deadline):
        if member.id not in self.processes:
            raise NotReadyError(f"{member.id} does not answer")
        return self.processes[member.id].models.has_reached(asked.projection, asked.version, asked.former)


@asynccontextmanager
async def two():
    """Two members that have read all; the second one has nothing of version 2 yet."""
    journals, topic = Journals(), Topic()
    journals.append("location", "l-1", location.LocationDefined(name="lab", location_type="logical"))
    topic.records[NAME] = ProjectionRecord(name=NAME, version=1, switched_ms=int(Clock().now().timestamp() * 1000))
    first, second = Process("a", journals, topic, "b"), Process("b", journals, topic, "a")
    second.is_held = True
    async with AsyncExitStack() as running:
        for each in (first, second):
            await running.enter_async_context(run_meanwhile(each.reader))
            await each.until_read()
        yield first, second


async def test_nobody_turns_before_the_rows_of_every_member_are_there():
    async with two() as (first, second):
        assert await first.turn(second) == []
        assert [await each.answered() for each in (first, second)] == [["lab"], ["lab"]]
        await second.let_go()
        assert await first.turn(second) == [NAME]
        assert [await each.answered() for each in (first, second)] == [["LAB"], ["LAB"]]


async def test_a_silent_member_is_waited_for_a_minute_and_answers_by_the_former_version_until_its_rows_are_there():
    async with two() as (first, second):
        assert await first.turn() == []
        first.clock.seconds += SILENT_S - 1
        assert await first.turn() == []
        first.clock.seconds += 1
        assert await first.turn() == [NAME]
        assert [await each.answered() for each in (first, second)] == [["LAB"], ["lab"]]
        assert [await each.stands() for each in (first, second)] == [(2, 1, None), (1, None, 2)]
        await second.let_go()
        assert await second.answered() == ["LAB"]


async def two_that_have_turned(first, second, *, apply):
    """Have two members turn; apply: the second one takes note of it, else it is asked for rows."""
    await second.let_go()
    assert await first.turn(second) == [NAME]
    if apply:
        second.models.apply(NothingHere())
    else:
        assert await second.answered() == ["LAB"]


class NothingHere:
    """A process without reading shards (the `Here` port)."""

    def all(self):
        return []

    def partitions(self, kind):
        return PARTITIONS


@pytest.mark.parametrize("apply", [False, True], ids=["asked for rows", "not asked"])
async def test_who_has_reached_a_version_stays_with_it_when_its_rows_fall_behind(apply):
    async with two() as (first, second):
        await two_that_have_turned(first, second, apply=apply)
        second.is_held = True
        second.journals.append("location", "l-2", location.LocationDefined(name="hall", location_type="logical"))
        await second.until_read()
        assert not second.models.has_reached(NAME, 2, 1)
        found = await second.answers.rows(NAME, {}, None, 10)
        assert ([row["name"] for row in found.rows], bool(found.stale)) == (["LAB"], True)


async def test_a_later_turn_is_waited_for_by_who_has_reached_an_earlier_one():
    async with two() as (first, second):
        await two_that_have_turned(first, second, apply=False)
        second.is_held = True
        second.journals.append("location", "l-2", location.LocationDefined(name="hall", location_type="logical"))
        await second.until_read()
        record = second.topic.records[NAME]
        second.topic.records[NAME] = changed(record, switched_ms=record.switched_ms + 1)
        assert sorted(await second.answered()) == ["hall", "lab"]


async def test_one_that_answers_that_it_is_behind_is_waited_for_however_long_another_is_silent():
    async with two() as (first, second):
        first.group.members.append(Member("c", None, {}, {NAME: 2}))
        assert await first.turn(second) == []
        first.clock.seconds += SILENT_S
        assert await first.turn(second) == []
        await second.let_go()
        assert await first.turn(second) == [NAME]


async def test_each_silent_member_is_waited_for_a_minute_of_its_own():
    async with two() as (first, second):
        await second.let_go()
        first.group.members.append(Member("c", None, {}, {NAME: 2}))
        assert await first.turn(second) == []
        first.clock.seconds += SILENT_S - 1
        assert await first.turn() == []
        first.clock.seconds += 1
        assert await first.turn() == [], "b has been silent for a second"
        assert await first.turn(second) == [NAME]


async def test_who_answers_or_leaves_in_between_is_waited_for_anew():
    async with two() as (first, second):
        b = first.group.members[1]
        assert await first.turn() == []
        first.clock.seconds += SILENT_S - 1
        assert await first.turn(second) == []
        first.clock.seconds += 1
        assert await first.turn() == []
        first.group.members = [first.group.me]
        assert await first.models._others.have_reached(AskReached(NAME, 2, 1), Peers(()))
        first.group.members.append(b)
        first.clock.seconds += SILENT_S - 1
        assert await first.turn() == []


async def test_silence_before_a_time_in_which_nobody_was_asked_does_not_count():
    async with two() as (first, _):
        assert await first.turn() == []
        first.clock.seconds += 3600
        assert await first.turn() == []


async def test_it_is_logged_who_is_waited_for_and_nothing_where_nobody_is():
    async with two() as (first, second):
        with capture_logs() as logs:
            assert await first.turn() == await first.turn() == []
            assert await first.turn(second) == []
            await second.let_go()
            assert await first.turn(second) == [NAME]
        told = [(each["behind"], each["silent"]) for each in logs if "waited for" in each["event"]]
        assert told == [([], ["b"]), (["b"], [])]


async def test_who_has_left_the_group_is_not_waited_for():
    async with two() as (first, _):
        del first.group.members[1]
        assert await first.turn() == [NAME]


async def test_of_rows_that_are_not_there_yet_nothing_is_said():
    process = Process("a", Journals(), Topic())
    with pytest.raises(NotReadyError):
        process.models.has_reached(NAME, 2, 1)
