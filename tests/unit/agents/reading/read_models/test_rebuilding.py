"""Rebuilds as those who ask and who answer see them, and what verifying holds."""

from dataclasses import replace

import msgspec
import pytest

from annals.agents.aggregates import REGISTRY as DECIDERS
from annals.agents.folding.turns import TURN_RECORDS
from annals.agents.projections.locations import LOCATIONS
from annals.agents.reading.found import FoundRow
from annals.agents.reading.gathering.rows import GatheredRows, LocalRows
from annals.agents.reading.keeping.layout import encode_follower, follower_key
from annals.agents.reading.projecting.builds import Builds, mark_key, read_answering, read_beside
from annals.agents.reading.projecting.rows import RowSet
from annals.agents.reading.projecting.versions import followed, rebuilt
from annals.agents.reading.read_models.read_models import ReadModels
from annals.agents.reading.read_models.refold import MOST_DIFFERENCES, PAGE, Refold, verify
from annals.agents.reading.read_models.row_answers import RowAnswers
from annals.agents.reading.read_models.service import ProjectionService, RebuildFailedError
from annals.schemas.job_record import JobRecord
from annals.schemas.kinds import location, person
from annals.schemas.projection_record import ProjectionRecord
from annals.workers.stores.reading_memory import MemoryReadingStore
from following import Clock, run_meanwhile, until
from projecting import (
    BOTH,
    OLD,
    ONE,
    PARTITIONS,
    GlobalStores,
    Group,
    Here,
    Journals,
    MemoryShard,
    MemoryShards,
    ScratchStores,
    Topic,
    global_reader,
    member,
    names_of,
    people,
)


async def test_an_answer_of_several_pages_is_of_one_version_though_all_turn_to_another_meanwhile(monkeypatch):
    monkeypatch.setattr("annals.agents.reading.read_models.row_answers.PAGE", 1)
    journals, asked = Journals(), []
    for name in ("a", "b", "f"):
        journals.append("person", name, person.PersonRegistered(name=f"Ada {name}", email="ada@example.org"))
    shards = MemoryShards(journals, BOTH)

    def version_of(name):
        asked.append(name)
        return min(2, len(asked))

    class Turning(LocalRows):
        async def rows(self, projection, version, *question):
            pages.append(version)
            return await super().rows(projection, version, *question)

    pages = []
    answers = RowAnswers(BOTH, {"local": Turning(shards)}, version_of, Clock())
    found = await answers.ask("people", {"email": "ada@example.org"})
    assert [row["name"] for row in found.rows] == ["Ada a", "Ada b", "Ada f"]
    assert [row["shared_with"] for row in found.rows] == [["b", "f"], ["a", "f"], ["a", "b"]]
    assert set(pages) == {1}  # those of who shares an address, too
    pages.clear()
    page = await answers.rows("people_directory", {}, None, 1)
    assert (page.version, [row["name"] for row in page.rows], set(pages)) == (2, ["ADA A"], {2})
    page = await answers.rows("people_directory", {}, page.after, 1, 1)
    assert (page.version, [row["name"] for row in page.rows]) == (1, ["Ada b"])


async def test_rows_that_are_kept_are_not_begun_anew_before_the_topic_was_read():
    made = people("a")
    record = ProjectionRecord(name="people_directory", version=1, switched_ms=0, rebuilds=3)
    ((_, at),) = (where for where, each in made.records_of.items() if each)
    shard = MemoryShard("person", at, OLD, records={"people_directory": record})
    shard.read(made)
    again = MemoryShard("person", at, OLD, store=shard.store)  # another process, before it has read the topic
    page = await again.rows("people_directory", 1, {}, after=None, limit=9)
    assert ([each.row["name"] for each in page.rows], page.stale) == (["Ada a"], None)
    assert not again.fold.catch_up()
    again.follow(followed("person", OLD, {"people_directory": record}, DECIDERS, (), 0).followers)
    assert not again.fold.catch_up()


async def test_a_process_that_has_not_read_the_topic_leaves_rows_that_were_rebuilt_as_they_are():
    made = people("a", "b")
    shards, topic, group = MemoryShards(made, OLD), Topic(), Group(member("a", 1))
    models, here = ReadModels(OLD, DECIDERS, topic, group, Clock()), Here(shards)
    await models.turn({"local": LocalRows(shards)})
    await topic.change("people_directory", rebuilt)
    models.apply(here)
    for shard in here.all():
        shard.read(made)
    unread = Topic()
    unread.is_read = False
    ReadModels(OLD, DECIDERS, unread, group, Clock()).apply(here)
    for shard in here.all():
        page = await shard.rows("people_directory", 1, {}, after=None, limit=9)
        assert (page.rebuilds.done, page.rebuilds.beside) == (1, None)


async def test_rows_that_were_begun_before_the_topic_was_read_are_not_built_twice():
    made = people("a")
    record = ProjectionRecord(name="people_directory", version=1, switched_ms=0, rebuilds=3)
    ((_, at),) = (where for where, each in made.records_of.items() if each)
    shard = MemoryShard("person", at, OLD)
    shard.read(made)
    shard.follow(followed("person", OLD, {"people_directory": record}, DECIDERS, (), 0).followers)
    assert not shard.fold.catch_up()
    page = await shard.rows("people_directory", 1, {}, after=None, limit=9)
    assert (page.rebuilds.done, page.rebuilds.beside) == (3, None)


def test_rows_that_are_going_never_answer_whatever_position_an_earlier_release_has_written():
    store, name = MemoryReadingStore(), "people_directory"
    first, second = RowSet(name, 1, 0), RowSet(name, 1, 1)
    store.apply({follower_key(each.follower): encode_follower(0, 7) for each in (first, second)})
    assert read_answering(store, name, 1) == (first, (0, 7))
    assert read_beside(store, first) == (second, (0, 7))
    store.apply({mark_key(first): b"", mark_key(second): b""})
    assert (read_answering(store, name, 1), read_beside(store, first)) == (None, None)
    builds = Builds(store)
    while builds.sweep():
        pass
    assert list(store.range(b"", b"\xff")) == [], "nor later, when the marks are gone"


async def test_a_rebuild_that_fails_says_so_while_the_former_rows_answer_and_goes_on_when_told():
    made, fails = people("a", "b"), [True]

    def fold(event, rows):
        if fails[0] and event.aggregate_id == "b":
            raise ZeroDivisionError
        ONE.fold(event, rows)

    shards, topic, group = MemoryShards(made, OLD), Topic(), Group(member("a", 1))
    models = ReadModels({"people_directory": (replace(ONE, fold=fold),)}, DECIDERS, topic, group, Clock())
    here, sources = Here(shards), {"local": LocalRows(shards)}
    counts, scratch = {"person": PARTITIONS}, ScratchStores()
    service = ProjectionService(models, topic, sources, DECIDERS, made, counts, Clock(), scratch)
    models.apply(here)
    request = await service.rebuild("people_directory")

    def worked():
        models.apply(here)
        for shard in here.all():
            shard.read(made)

    worked()
    status = await service.status("people_directory")
    assert (status.status, status.stale, (await names_of(shards, 1))[0]) == ("current", [], ["Ada a", "Ada b"])
    (failed,) = status.rebuilding.failed
    assert failed.reason.startswith("people_directory/1 failed on PersonRegistered of person 'b' version 1, partition ")
    job = JobRecord(id="j", kind="rebuild", subject="s", status="running", started_at="", request=request)
    with pytest.raises(RebuildFailedError, match="failed on PersonRegistered of person 'b'"):
        await service.works()["rebuild"](job, lambda _: None)
    # So for one aggregate.
    one = await service.rebuild("people_directory", ("person", "b"))
    worked()
    with pytest.raises(RebuildFailedError, match=r"failed on PersonRegistered of person 'b' .*: ZeroDivisionError"):
        await service.works()["rebuild"](msgspec.structs.replace(job, request=one), lambda _: None)
    assert ((await names_of(shards, 1))[0], (await service.status("people_directory")).stale) == (
        ["Ada a", "Ada b"],
        [],
    )
    fails[0] = False
    await service.resume("people_directory")
    worked()
    assert (await service.status("people_directory")).rebuilding is None
    assert await service.works()["rebuild"](job, lambda _: None) == {"positions": {"person": [0, 1, 1]}}


class Counting(MemoryReadingStore):
    """Counts the rows of projections that are read in ranges, and what is written at once."""

    read = most_written = 0

    def apply(self, changes):
        self.most_written = max(self.most_written, len(changes))
        for key, value in changes.items():  # without a copy of all that is there
            if value is None:
                self.rows.pop(key, None)
            else:
                self.rows[key] = value

    def range(self, first, last, *, reverse=False):
        for each in super().range(first, last, reverse=reverse):
            self.read += 1
            yield each


class Stored:
    """Rows as they are in a store (the `RowSource` port), and how many were asked for at once."""

    def __init__(self, made, store, most=None):
        self.ends = {"person": [len(made.records_of["person", at]) for at in range(PARTITIONS)]}
        self.store, self.most_rows = store, most
        self.most_asked = 0

    async def rows(self, projection, version, index, after, limit):
        self.most_asked = max(self.most_asked, limit)
        rows = sorted(
            each for each in self.store.rows.items() if each[0].startswith(RowSet("people_directory", 1).rows)
        )
        cut = len(RowSet("people_directory", 1).rows)
        found = [FoundRow(key[cut:], msgspec.msgpack.decode(value[1:])) for key, value in rows[: self.most_rows]]
        found = [each for each in found if after is None or each.key > after[0]]
        moved = [found[:limit][-1].key] * PARTITIONS if found else after
        is_end = len(found) <= limit
        until = None if is_end else found[:limit][-1].key
        return GatheredRows(found[:limit], is_end, self.ends, [], [], after=moved, until=until)


@pytest.mark.parametrize("names", [200, 2_000])
async def test_what_verifying_holds_does_not_grow_with_the_rows(names):
    made = people(*(f"p-{number:04}" for number in range(names)))
    shown = Counting()
    stored = Refold(ONE, DECIDERS, {"person": PARTITIONS}, shown)
    await stored.read_all(EveryOne(made))
    store, progress = Counting(), []
    source = Stored(made, shown)
    refold = Refold(ONE, DECIDERS, {"person": PARTITIONS}, store)
    found = await verify(ONE, 1, refold, EveryOne(made), source, progress.append)
    assert (found.is_equal, found.rows, found.events) == (True, names, names)
    assert (store.most_written <= 2 * TURN_RECORDS, source.most_asked, store.read) == (True, PAGE, names)
    assert progress[-1] == {"rows": names, "events": names, "differences": 0}
    assert len(progress) == -(-names // PAGE)
    # Nothing is stored where all should be: it ends at the hundredth row, and has read no more than that.
    store = Counting()
    refold = Refold(ONE, DECIDERS, {"person": PARTITIONS}, store)
    found = await verify(ONE, 1, refold, EveryOne(made), Stored(made, shown, 0))
    assert (len(found.differences), store.read) == (MOST_DIFFERENCES, MOST_DIFFERENCES + 1)


@pytest.mark.parametrize(("most_bytes", "expected"), [(1_000_000, MOST_DIFFERENCES), (2_000, None), (1, 1)])
async def test_the_differences_of_one_verification_fit_into_a_record(most_bytes, expected, monkeypatch):
    monkeypatch.setattr("annals.agents.reading.read_models.refold.MOST_DIFFERENCE_BYTES", most_bytes)
    made = people(*(f"p-{number:04}" for number in range(200)))
    refold = Refold(ONE, DECIDERS, {"person": PARTITIONS}, Counting())
    found = await verify(ONE, 1, refold, EveryOne(made), Stored(made, Counting(), 0))
    size = sum(len(msgspec.json.encode(each)) for each in found.differences)
    if expected is None:
        assert most_bytes // 2 < size <= most_bytes
    else:
        assert len(found.differences) == expected, "at least one, however large it is"


async def test_differences_are_found_on_both_sides_in_the_order_of_keys():
    made = people("a", "b", "c", "d")
    shown = Counting()
    await Refold(ONE, DECIDERS, {"person": PARTITIONS}, shown).read_all(EveryOne(made))
    rows = RowSet("people_directory", 1)
    del shown.rows[rows.rows + b"b\0\0"]
    shown.rows[rows.rows + b"bb\0\0"] = shown.rows[rows.rows + b"c\0\0"]
    shown.rows[rows.rows + b"d\0\0"] = shown.rows[rows.rows + b"a\0\0"]
    refold = Refold(ONE, DECIDERS, {"person": PARTITIONS}, Counting())
    found = await verify(ONE, 1, refold, EveryOne(made), Stored(made, shown))
    told = [(each.key, (each.stored or {}).get("name"), (each.folded or {}).get("name")) for each in found.differences]
    assert told == [(["b"], None, "Ada b"), (["bb"], "Ada c", None), (["d"], "Ada a", "Ada d")]


class EveryOne(Journals):
    """The same journals, of people."""

    def __init__(self, journals):
        self.kinds, self.records_of = ("person",), journals.records_of


async def test_a_tree_that_is_too_large_says_that_it_is_not_whole():
    made, stores = Journals(), GlobalStores()
    for number in range(4):
        made.append(
            "location", f"l-{number}", location.LocationDefined(name="L", location_type="logical", parent_id="a")
        )
    reader = global_reader(made, stores)
    async with run_meanwhile(reader):
        early = await reader.tree(LOCATIONS, LOCATIONS.version, "parent_id", "a", None, 2)
        assert {each.reason for each in early.missing} == {"global projections are not ready: not opened yet"}
        await until(lambda: sum(reader.positions.read_until.values()) == 4)
        found = await reader.tree(LOCATIONS, LOCATIONS.version, "parent_id", "a", None, 2)
        assert (len(found.rows), found.is_end) == (2, False)
        found = await reader.tree(LOCATIONS, LOCATIONS.version, "parent_id", "a", found.after, 2)
        assert (len(found.rows), found.is_end) == (2, True)
