"""A journal of global projections that lost its end is named: while its rows are answered, and when read anew."""

import asyncio

import pytest
from structlog.testing import capture_logs

from annals.agents.ports import DamagedBatchError
from annals.schemas.kinds import location
from following import until
from projecting import PARTITIONS, VERSIONS, GlobalStores, Journals, global_reader, read_to_the_ends, run_meanwhile

LOST = "location-{} ends at offset 0, and it was read up to 1 before: it lost its end, or was made anew"


def journals_with(*names, of=Journals):
    journals = of()
    for name in names:
        journals.append("location", name, location.LocationDefined(name=name, location_type="logical"))
    return journals


def where_of(journals):
    return next(where for where, records in journals.records_of.items() if records)


async def rows_of(reader):
    (projection,) = VERSIONS["locations"]
    return await reader.rows(projection, projection.version, {}, None, 100)


async def test_rows_of_a_journal_that_loses_its_end_are_stale_and_read_anew_when_it_has_grown_otherwise():
    journals, stores = journals_with("site-1"), GlobalStores()
    where = where_of(journals)
    reader = global_reader(journals, stores)
    async with read_to_the_ends(reader, journals):
        kept, journals.records_of[where] = journals.records_of[where], []
        await until(lambda: reader.positions.lost)
        answered = await rows_of(reader)
        assert [stale.reason for stale in answered.stale] == [LOST.format(where[1])]
        assert [row.row["aggregate_id"] for row in answered.rows] == ["site-1"]

        journals.records_of[where] = kept  # restored
        await until(lambda: reader._fold is not None and not reader.positions.lost)
        assert not (await rows_of(reader)).stale
        assert stores.renewed == 0


class Marked(Journals):
    """Journals with markers, which nobody is told of: None."""

    async def records(self, where, start, end):
        async for records in super().records(where, start, end):
            yield [record for record in records if record is not None]


async def test_what_was_passed_is_read_again_where_it_may_have_been_cut_off_and_events_written_in_its_place():
    journals = journals_with("site-1", of=Marked)
    where = where_of(journals)
    reader = global_reader(journals, GlobalStores())
    async with read_to_the_ends(reader, journals):
        journals.records_of[where] += [None, None]
        await until(lambda: reader.positions.read_until[where] == 3)
        del journals.records_of[where][1:]
        for name in ("site 2", "site 3", "site 4"):
            journals.append("location", "site-1", location.LocationRenamed(name=name))
        await until(lambda: reader.positions.read_until[where] == 4 or reader.positions.gaps)
        answered = await rows_of(reader)
        assert ([row.row["name"] for row in answered.rows], answered.stale) == (["site 4"], [])


class Slow(Journals):
    """Journals of which one is not read on before it may be."""

    def __init__(self):
        super().__init__()
        self.slow, self.may_go_on = None, asyncio.Event()

    async def records(self, where, start, end):
        if where == self.slow:
            await self.may_go_on.wait()
        async for records in super().records(where, start, end):
            yield records


async def test_rows_are_stale_until_all_is_read_that_the_journals_had_when_the_store_was_opened():
    """Goes red when a process that begins without a store answers as if there were nothing in what it has not read."""
    journals = journals_with("site-1", "site-2", of=Slow)
    journals.slow = where_of(journals)
    hidden = {record.key.decode() for record in journals.records_of[journals.slow]}
    reader = global_reader(journals, GlobalStores())
    async with run_meanwhile(reader):
        await until(lambda: reader._fold is not None)
        answered = await rows_of(reader)
        assert hidden.isdisjoint(row.row["aggregate_id"] for row in answered.rows)
        reasons = {(each.kind, each.partition): each.reason for each in answered.stale}
        assert reasons[journals.slow] == f"indexing: at offset 0 of {len(hidden)}"
        journals.may_go_on.set()
        await until(lambda: reader.positions.read_until[journals.slow])
        answered = await rows_of(reader)
        assert ({row.row["aggregate_id"] for row in answered.rows}, answered.stale) == ({"site-1", "site-2"}, [])


class Damaged(Journals):
    """Journals of which one may have a batch that a disk has changed. damaged: which one."""

    damaged: tuple[str, int] | None = None
    looked = 0

    async def bounds(self):
        self.looked += 1
        return await super().bounds()

    async def records(self, where, start, end):
        if where == self.damaged:
            raise DamagedBatchError("the record batch is damaged")
        async for records in super().records(where, start, end):
            yield records

    async def record_at(self, where, offset, cid=b""):
        if where == self.damaged:
            raise DamagedBatchError("the record batch is damaged")
        return await super().record_at(where, offset, cid)


async def test_rows_of_a_journal_with_a_damaged_batch_are_stale_until_it_is_whole_and_all_others_are_answered():
    """Goes red when one batch has nothing of any journal answered."""
    names = {f"site-{number}" for number in range(20)}
    journals = journals_with(*names, of=Damaged)
    journals.damaged = where_of(journals)
    hidden = {record.key.decode() for record in journals.records_of[journals.damaged]}
    reader = global_reader(journals, GlobalStores())

    def are_read(partitions):
        return (
            sum(end == len(journals.records_of[where]) for where, end in reader.positions.read_until.items())
            == partitions
        )

    async with run_meanwhile(reader):
        await until(lambda: reader.positions.unreadable and are_read(PARTITIONS - 1))
        answered = await rows_of(reader)
        assert {row.row["aggregate_id"] for row in answered.rows} == names - hidden
        assert [stale.reason for stale in answered.stale] == ["the record batch is damaged"]
        journals.damaged = None
        await until(lambda: are_read(PARTITIONS))
        answered = await rows_of(reader)
        assert {row.row["aggregate_id"] for row in answered.rows} == names
        assert not answered.stale


async def test_rows_behind_a_damaged_batch_are_behind_for_as_long_as_it_is_damaged():
    """Goes red when they are told to be as new as those of the partition that was read last."""
    journals = journals_with("site-1", of=Damaged)
    journals.damaged = where_of(journals)
    reader = global_reader(journals, GlobalStores())
    async with run_meanwhile(reader):
        await until(lambda: reader.positions.unreadable)
        clock = reader._clock.monotonic
        reader._clock.monotonic = lambda: clock() + 1_000
        looked = journals.looked
        await until(lambda: journals.looked > looked + 1)
        lag = (await rows_of(reader)).lag
        assert (lag.events, lag.seconds > 1_000) == (1, True)


@pytest.mark.parametrize("is_same", [True, False])
async def test_a_store_whose_last_record_is_in_a_damaged_batch_answers_for_all_others_and_is_compared_later(is_same):
    """Goes red when one batch has nothing answered, or when rows of another journal are believed once it is whole."""
    names = {f"site-{number}" for number in range(20)}
    journals, stores = journals_with(*names, of=Damaged), GlobalStores()
    async with read_to_the_ends(global_reader(journals, stores), journals):
        pass
    journals.damaged = where_of(journals)
    reader = global_reader(journals, stores)
    async with run_meanwhile(reader):
        await until(lambda: reader._fold is not None)
        answered = await rows_of(reader)
        assert {row.row["aggregate_id"] for row in answered.rows} == names
        assert [stale.reason for stale in answered.stale] == ["the record batch is damaged"]
        if not is_same:
            records = journals.records_of[journals.damaged]
            records[-1] = records[-1]._replace(value=b"another")
        journals.damaged = None
        await until(lambda: reader._fold is not None and not reader.positions.unreadable)
        assert stores.renewed == (not is_same)


async def test_a_damaged_batch_that_is_cut_off_makes_no_rows_stale():
    """Goes red when rows are stale for ever since nothing is there to be read anew."""
    journals = journals_with("site-1", of=Damaged)
    journals.damaged = where_of(journals)
    reader = global_reader(journals, GlobalStores())
    async with run_meanwhile(reader):
        await until(lambda: reader.positions.unreadable)
        journals.records_of[journals.damaged] = []
        await until(lambda: not reader.positions.unreadable)
        assert not (await rows_of(reader)).stale


async def test_a_store_that_is_read_anew_is_named_with_the_journal_and_where_it_ends():
    journals, stores = journals_with("site-1"), GlobalStores()
    where = where_of(journals)
    async with read_to_the_ends(global_reader(journals, stores), journals):
        pass
    journals.records_of[where] = []
    with capture_logs() as said:
        async with read_to_the_ends(global_reader(journals, stores), journals):
            pass
    assert stores.renewed == 1
    (line,) = (each for each in said if "not a fold of these journals" in each["event"])
    assert line["log_level"] == "error"
    assert line["journals"] == [f"location-{where[1]} ends at offset 0, and was read up to 1"]
