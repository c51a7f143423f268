"""Pages of rows below a value: in the order of the values, each row once, and no page reads more than it shows."""

from contextlib import nullcontext
from dataclasses import replace

import msgspec
import pytest
from msgspec.structs import replace as changed

from annals.agents.projections.people_directory import PEOPLE_DIRECTORY
from annals.agents.projections.projection import problem_of
from annals.agents.projections.workflow_board import WORKFLOW_BOARD, Board, BoardStep
from annals.agents.reading.found import RowPage, ShardPosition
from annals.agents.reading.gathering.all_shards import AllShards
from annals.agents.reading.gathering.questions import Asked, AskRows
from annals.agents.reading.gathering.replies import (
    Reply,
    UnreadableReplyError,
    read_answer,
    reply_to,
)
from annals.agents.reading.gathering.rows import OTHER_ORDER, LocalRows
from annals.agents.reading.keeping.layout import encode_follower, follower_key
from annals.agents.reading.keeping.overlay import Overlay
from annals.agents.reading.projecting.rows import KeptRows, follower_name
from annals.agents.reading.queries import rows as row_queries
from annals.agents.reading.queries.events import Place
from annals.agents.reading.queries.rows import RowReader
from annals.schemas.kinds import person
from annals.workers.stores.reading_memory import MemoryReadingStore
from projecting import PARTITIONS, Group, Journals, MemoryShards

NAME, PLACE = WORKFLOW_BOARD.name, Place("workflow", 0)
READ = RowReader({NAME: WORKFLOW_BOARD})
LATE = "2027-01-01T00:00:00Z"


class Counting(MemoryReadingStore):
    """Counts what is read in ranges."""

    read = 0

    def range(self, first, last, *, reverse=False):
        for each in super().range(first, last, reverse=reverse):
            self.read += 1
            yield each


def moment(minute):
    return f"2026-01-01T{minute // 60:02}:{minute % 60:02}:00Z"


def boards(count):
    """A store with so many workflows, each with two deadlines: the later an id, the earlier the first of them."""
    store = Counting()
    rows = Overlay(store)
    kept = KeptRows(WORKFLOW_BOARD, rows)
    for number in range(count):
        step = BoardStep(name="S", step_type="agent", max_attempts=1, deadline=LATE)
        status = ("draft", "running")[number % 2]
        name = f"w-{number:04}"
        row = Board(kind="workflow", aggregate_id=name, name="W", definition="d", status=status, steps={"s": step})
        kept.put(row, name)
        kept.put(changed(row, deadline=moment((count - 1 - number) // 2)), name)
    kept.write()
    store.apply({**rows.changes, follower_key(follower_name(NAME, 1)): encode_follower(0, 0)})
    return store


def walked(store, index, limit, *others):
    """The ids on all pages of what any of some indexes finds, and the most that a page has read in ranges."""
    found, most, behind, is_end = [], 0, None, False
    while not is_end:
        before = store.read
        page = READ(store, PLACE, NAME, 1, [index, *others], behind, limit)
        assert page.ordered_by == ("deadline_before" if "deadline_before" in index else None)
        found += [each.row["aggregate_id"] for each in page.rows]
        most, is_end = max(most, store.read - before), page.is_end
        assert is_end or (page.until or b"") > (behind or b"")
        behind = page.until
    return found, most


@pytest.mark.parametrize("count", [200, 1_400])
def test_a_page_reads_no_more_of_a_range_than_it_shows(count):
    store = boards(count)
    for index, each in (({"deadline_before": "2028-01-01T00:00:00Z"}, 1), ({"status": "running"}, 2)):
        found, most = walked(store, {"deadline_before": "2028-01-01T00:00:00Z"} | index, 10)
        wanted = [number for number in range(count) if each == 1 or number % 2]
        in_order = sorted(wanted, key=lambda number: ((count - 1 - number) // 2, number))
        assert found == [f"w-{number:04}" for number in in_order]
        assert most <= 90


def test_a_page_of_many_indexes_reads_no_more_rows_than_one_of_one(monkeypatch):
    """Goes red when each index has a limit of its own: 25 of them read 25 times the rows and bytes of a page."""
    store = boards(200)
    rows = []
    read = store.get_many

    def noted(keys):
        found = read(keys)
        rows.extend(found)
        return found

    monkeypatch.setattr(store, "get_many", noted)
    every = [f"w-{number:04}" for number in range(200)]
    found, most = walked(
        store, {"status": "running"}, 10, {"status": "draft"}, {"status": "running", "assignee": "person:nobody"}
    )
    assert found == every
    assert most <= 2 * 3 * 50
    rows.clear()
    monkeypatch.setattr(row_queries, "PAGE_BYTES", 1)
    page = READ(store, PLACE, NAME, 1, [{"status": "running"}, {"status": "draft"}], None, 100)
    assert [each.row["aggregate_id"] for each in page.rows] == every[:1]
    assert (page.is_end, page.indexes) == (False, 2)
    assert len(rows) <= row_queries.FIRST_ROWS


def test_what_all_indexes_pass_over_ends_a_page_and_a_place_is_looked_at_by_all_of_them(monkeypatch):
    """Goes red when a page ends behind a place that one index passes over and another, not asked yet, would show."""
    store = boards(40)
    for most in range(1, 20):
        monkeypatch.setattr(row_queries, "LOOKED_AT", most)
        monkeypatch.setattr(row_queries, "FIRST_ROWS", most)
        passing = {"status": "running", "assignee": "person:nobody"}
        assert walked(store, passing, 5, {"status": "running"})[0] == [f"w-{at:04}" for at in range(1, 40, 2)]


@pytest.mark.parametrize("index", [{"deadline_before": LATE}, {"status": "running"}], ids=["a range", "a value"])
def test_a_page_ends_behind_many_entries_without_a_row_and_the_next_one_goes_on_there(index, monkeypatch):
    """Goes red when a rare value is looked for until its partition is missing, at the same place for ever."""
    monkeypatch.setattr(row_queries, "LOOKED_AT", 300)
    store = boards(1_400)
    kept = KeptRows(WORKFLOW_BOARD, overlay := Overlay(store))
    row = kept.get("w-1001")
    kept.put(changed(row, steps={"s": changed(row.steps["s"], assignee="person/ada")}), "w-1001")
    kept.write()
    store.apply(overlay.changes)
    found, most = walked(store, index | {"assignee": "person/ada"}, 10)
    assert found == ["w-1001"]
    assert most <= 300 + row_queries.ROWS_AT_ONCE


def test_what_is_not_below_the_value_is_on_no_page():
    assert walked(boards(8), {"deadline_before": moment(2)}, 3)[0] == ["w-0006", "w-0007", "w-0004", "w-0005"]
    assert walked(boards(8), {"deadline_before": moment(0)}, 3)[0] == []


async def test_a_partition_whose_worker_answers_in_another_order_is_missing():
    shards = MemoryShards(Journals())
    shard = shards.here["workflow", 1]
    ask = shard.rows

    async def of_another_release(*asked, **rest):
        page = await ask(*asked, **rest)
        return changed(page, ordered_by=None)

    shard.rows = of_another_release
    page = await LocalRows(shards).rows(WORKFLOW_BOARD, 1, {"deadline_before": LATE}, None, 10)
    assert [(each.partition, each.reason) for each in page.missing] == [(1, OTHER_ORDER)]
    assert (await LocalRows(shards).rows(WORKFLOW_BOARD, 1, {"status": "draft"}, None, 10)).missing == []


FORMER = {"ask": "rows", "projection": NAME, "version": 1, "after": None, "limit": 10}


@pytest.mark.parametrize(
    ("index", "knows", "failure"),
    [
        ({"deadline_before": LATE}, {}, "not_ready"),
        ({"deadline_before": LATE}, {"knows_places": True}, None),
        ({"status": "draft"}, {}, None),
        ({"status": "drft"}, {}, "not_ready"),  # it takes any word
    ],
)
async def test_who_does_not_know_the_order_of_a_range_gets_no_page_of_it(index, knows, failure):
    """Goes red when a former release mixes the pages of two orders, where a partition that moves loses rows."""
    question = FORMER | {"index": index} | knows
    asked = msgspec.convert({"kind": "workflow", "partition": 1, "question": question, "within_s": 1}, Asked)
    reply = msgspec.msgpack.decode(await reply_to(MemoryShards(Journals()).here["workflow", 1], asked, 0.0), type=Reply)
    assert reply.failure == failure


@pytest.mark.parametrize(
    ("behind", "knows", "failure", "is_read"),
    [(b"b", False, "not_ready", False), (b"b", True, None, True), (b"a", True, None, False), (None, True, None, False)],
    ids=["former release", "this release", "no further", "nowhere"],
)
async def test_a_page_without_rows_that_is_not_the_last_has_a_place_further_on(behind, knows, failure, is_read):
    """Goes red when who asks goes on for ever, or a former release takes such a page for nonsense."""
    shard = MemoryShards(Journals()).here["workflow", 1]

    async def without_rows(*_, **__):
        return RowPage([], is_end=False, position=ShardPosition("workflow", 1, 0), behind=behind)

    shard.rows = without_rows
    asked = Asked("workflow", 1, AskRows(NAME, 1, {"status": "draft"}, b"a", 10, knows), 1.0)
    reply = msgspec.msgpack.decode(await reply_to(shard, asked, 0.0), type=Reply)
    assert reply.failure == failure
    if failure is None:
        with nullcontext() if is_read else pytest.raises(UnreadableReplyError):
            assert read_answer(asked, reply).until == b"b"


class AllHere(Group):
    """A worker that has all partitions (the ports `Reading` and `Members`)."""

    def __init__(self):
        super().__init__()
        self.here = MemoryShards(Journals()).here

    def shard(self, kind, partition):
        return self.here[kind, partition]

    def standby(self, kind, partition):
        return None

    def standbys(self, kind, partition):
        return []

    def partitions(self, kind):
        return PARTITIONS


async def test_workers_of_this_release_know_the_order_of_a_range():
    every = AllShards(AllHere(), AllHere(), None, ["workflow"])
    assert (await LocalRows(every).rows(WORKFLOW_BOARD, 1, {"deadline_before": LATE}, None, 10)).missing == []


@pytest.mark.parametrize("is_former", [True, False])
async def test_rows_of_several_indexes_are_asked_for_together_but_of_a_former_release(is_former):
    """Goes red when what a former release answers, which takes the first index alone, is taken for all."""
    journals = Journals()
    for number in range(9):
        journals.append("person", f"p-{number}", person.PersonRegistered(name="A", email=f"{number}@example.org"))
    group = AllHere()
    group.here = MemoryShards(journals).here
    asked = []
    for shard in group.here.values():

        async def rows(*of, also=(), rows=shard.rows, **page):
            asked.append(of)
            return await rows(*of, **page, **({} if is_former else {"also": also}))

        shard.rows = rows
    every = LocalRows(AllShards(group, group, None, ["person"]))
    index, *also = ({"email": f"{number}@example.org"} for number in range(1, 8))
    for limit in (3, 20):
        found, after = [], None
        while True:
            page = await every.rows(PEOPLE_DIRECTORY, 1, index, after, limit, also)
            found += [each.row["aggregate_id"] for each in page.rows]
            after = page.after
            if page.until is None:
                break
        assert found == [f"p-{number}" for number in range(1, 8)]
    assert (len(asked) > 4 * PARTITIONS) is is_former


def test_rows_are_in_the_order_of_one_range():
    two = replace(WORKFLOW_BOARD, ranges=("deadline_before", "status"))
    assert "has the ranges deadline_before, status" in (problem_of(two) or "")
    assert problem_of(WORKFLOW_BOARD) is None
