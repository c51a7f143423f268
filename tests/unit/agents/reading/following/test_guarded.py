"""A projection that raises, hangs or makes what cannot be kept stops alone, at the event, by name."""

import time
from dataclasses import replace

import msgspec
import pytest

from annals.agents.aggregates import REGISTRY as DECIDERS
from annals.agents.ports import FencedError, StoreUnavailableError
from annals.agents.reading.gathering.rows import LocalRows
from annals.agents.reading.ports import BrokenChainError
from annals.agents.reading.projecting.versions import resumed, turned_to
from annals.agents.reading.read_models.read_models import ReadModels
from annals.agents.reading.read_models.refold import FoldFailedError, Refold, verify
from annals.schemas.kinds import location, person
from annals.topics.keys import partition_of
from annals.workers.stores.reading_memory import MemoryReadingStore
from following import Clock
from lacking import LACKING
from leaving import LEAVING
from projecting import (
    ONE,
    PARTITIONS,
    VERSIONS,
    GlobalStores,
    Group,
    Here,
    Journals,
    MemoryShard,
    MemoryShards,
    Topic,
    global_reader,
    people,
    read_to_the_ends,
)

BAD = "b"


def raising(error):
    def fold(event, rows):
        raise error

    return fold


def hanging(event, rows):
    while True:
        time.sleep(60)


def too_large(event, rows):
    ONE.fold(event, rows)
    rows.put(msgspec.structs.replace(rows.get(event.aggregate_id), phone="x" * (5 << 20)), event.aggregate_id)


def unencodable(event, rows):
    ONE.fold(event, rows)
    rows.put(msgspec.structs.replace(rows.get(event.aggregate_id), phone=object()), event.aggregate_id)


def a_key_that_is_no_text(event, rows):
    ONE.fold(event, rows)
    rows.put(rows.get(event.aggregate_id), "\ud800")


def out_of_memory(event, rows):
    bytearray(1 << 62)


FOLDS = {
    "ValueError": raising(ValueError("a secret")),
    "FileNotFoundError": raising(FileNotFoundError("a secret")),
    "TimeoutError": raising(TimeoutError("a secret")),
    "RecursionError": raising(RecursionError("a secret")),
    **{name: raising(error()) for name, error in LEAVING.items()},
    "FencedError": raising(FencedError("a secret")),
    "MemoryError": out_of_memory,
    "it took longer than 0.2 s": hanging,
    "a row of 5,242,": too_large,
    "TypeError": unencodable,
    "UnicodeEncodeError": a_key_that_is_no_text,
}


def failing(fold, bad=BAD):
    """The directory, whose fold does something else with one event."""

    def folded(event, rows):
        if event.aggregate_id == bad:
            fold(event, rows)
        else:
            ONE.fold(event, rows)

    return replace(ONE, name="failing", fold=folded)


@pytest.fixture(params=FOLDS)
def why(request, monkeypatch):
    if FOLDS[request.param] is hanging:
        monkeypatch.setattr("annals.agents.time_limit.LONGEST_S", 0.2)
    return request.param


def alone(*names):
    """A journal of one partition, in which events of these people follow one another."""
    journals = Journals()
    for name in names:
        journals.append("person", name, person.PersonRegistered(name=f"Ada {name}"))
    (where,) = {where for where, each in journals.records_of.items() if each}
    return journals, where


def of_one_partition(number):
    wanted = partition_of(BAD.encode(), PARTITIONS)
    found = [name for name in map(str, range(100)) if partition_of(name.encode(), PARTITIONS) == wanted]
    return [*found[:1], BAD, *found[1 : number - 1]]


async def test_whatever_a_fold_does_it_stops_at_that_event_and_all_others_go_on(why):
    names = of_one_partition(4)
    journals, (_, at) = alone(*names)
    versions = {"people_directory": (ONE,), "failing": (failing(FOLDS[why]),)}
    shard = MemoryShard("person", at, versions)
    shard.read(journals)
    (reason,) = shard.fold.stale.values()
    assert reason.startswith(
        f"failing/1 failed on PersonRegistered of person 'b' version 1, partition {at}, offset 1, "
    )
    assert why in reason
    assert "secret" not in reason
    assert shard.fold.position.offset == 4
    rows = await shard.rows("people_directory", 1, {}, after=None, limit=9)
    assert (len(rows.rows), rows.stale) == (4, None)
    rows = await shard.rows("failing", 1, {}, after=None, limit=9)
    assert ([each.row["aggregate_id"] for each in rows.rows], rows.position.offset) == (names[:1], 1)
    # So at the next opening, until a release has another fold and it is resumed.
    again = MemoryShard("person", at, versions, store=shard.store)
    again.read(journals)
    assert list(again.fold.stale.values()) == [reason]
    mended = MemoryShard("person", at, {**versions, "failing": (failing(ONE.fold),)}, store=shard.store)
    mended.read(journals)
    assert mended.fold.stale == {}
    assert len((await mended.rows("failing", 1, {}, after=None, limit=9)).rows) == 4


async def test_rows_of_one_aggregate_that_cannot_be_built_anew_hold_nothing_up(why):
    journals, (_, at) = alone(*of_one_partition(3))
    shard = MemoryShard("person", at, {"failing": (failing(ONE.fold),)})
    shard.read(journals)
    mended = MemoryShard("person", at, {"failing": (failing(FOLDS[why]),)}, store=shard.store)
    mended.read(journals)
    mended.rebuild("failing/1", BAD, 1)
    (reason,) = mended.fold.stale.values()
    assert "failed on PersonRegistered of person 'b' version 1" in reason
    assert len((await mended.rows("failing", 1, {}, after=None, limit=9)).rows) == 3


async def test_verifying_names_the_event_that_cannot_be_folded(why):
    journals = people("a", BAD)
    shards = MemoryShards(journals, {"failing": (failing(ONE.fold),)}, ["person"])
    projection = failing(FOLDS[why])
    refold = Refold(projection, DECIDERS, {"person": PARTITIONS}, MemoryReadingStore())
    with pytest.raises(
        FoldFailedError, match=r"failing/1 failed on PersonRegistered of person 'b' version 1, .*"
    ) as told:
        await verify(projection, 1, refold, journals, LocalRows(shards))
    assert why in str(told.value)
    assert "secret" not in str(told.value)


async def test_a_global_projection_that_meets_a_missing_file_stops_alone():
    """Goes red when an error of the operating system is taken for the store's: all global projections close."""
    journals = Journals()
    for name in ("l-1", "l-2"):
        journals.append("location", name, location.LocationDefined(name="L", location_type="logical"))
    (known,) = VERSIONS["locations"]

    def fold(event, rows):
        if event.aggregate_id == "l-2":
            raise FileNotFoundError
        known.fold(event, rows)

    both = {"locations": (known,), "failing": (replace(known, name="failing", fold=fold),)}
    reader = global_reader(journals, GlobalStores(), both)
    async with read_to_the_ends(reader, journals):
        page = await reader.rows(known, 1, {}, None, 9)
        assert ([each.row["aggregate_id"] for each in page.rows], page.stale) == (["l-1", "l-2"], [])
        page = await reader.rows(both["failing"][0], 1, {}, None, 9)
        assert [each.row["aggregate_id"] for each in page.rows] == ["l-1"]
        (stale,) = page.stale
        assert "failing/1 failed on LocationDefined of location 'l-2' version 1" in stale.reason


@pytest.mark.parametrize(
    "error",
    [StoreUnavailableError("no space"), BrokenChainError("a row")]
    + [LACKING[each]() for each in ("files", "space", "a thread")],
)
def test_a_store_that_fails_is_not_the_followers_fault(error):
    journals, (_, at) = alone(BAD)
    shard = MemoryShard("person", at, {"failing": (failing(raising(error)),)})
    with pytest.raises(type(error)):
        shard.read(journals)


async def test_a_page_of_large_rows_has_fewer_and_the_next_goes_on_behind_it():
    """Goes red when pages are bounded in rows alone: other workers' answers are refused beyond 32 MiB."""

    def fold(event, rows):
        ONE.fold(event, rows)
        rows.put(msgspec.structs.replace(rows.get(event.aggregate_id), phone="x" * (3 << 20)), event.aggregate_id)

    large = replace(ONE, fold=fold)
    names = sorted(f"p-{number}" for number in range(20))
    journals = people(*names)
    shards = MemoryShards(journals, {"people_directory": (large,)}, ["person"])
    found, after, pages = [], None, 0
    while True:
        page = await LocalRows(shards).rows(large, 1, {}, after, 1_000)
        found += [each.row["aggregate_id"] for each in page.rows]
        pages += 1
        assert 1 <= len(page.rows) <= 3 * PARTITIONS
        if page.is_end:
            break
        after = page.after
    assert found == names
    assert pages > 1


async def test_a_projection_that_failed_before_it_ever_answered_goes_on_when_it_is_resumed():
    """Goes red when the first record of the topic is taken for what was known before: nobody tries the event again."""
    faults = [True]

    def fold(event, rows):
        if faults:
            raise ValueError
        ONE.fold(event, rows)

    journals = people("a", BAD)
    versions = {"failing": (replace(ONE, name="failing", fold=fold),)}
    shards, topic = MemoryShards(journals, versions, ["person"]), Topic()
    models = ReadModels(versions, DECIDERS, topic, Group(), Clock())
    models.apply(Here(shards))
    assert [shard.fold.failed for shard in Here(shards).all() if shard.fold.position.offset]
    faults.clear()
    await topic.change("failing", lambda record: resumed(record or turned_to("failing", 1, {}, None, 0)))
    models.apply(Here(shards))
    for shard in Here(shards).all():
        shard.read(journals)
        assert shard.fold.stale == {}
