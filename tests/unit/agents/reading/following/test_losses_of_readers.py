"""A reading shard whose journal lost what was read of it stops, and names both places; what was restored is read."""

import asyncio

import pytest
from structlog.testing import capture_logs

from annals.agents.aggregates import REGISTRY
from annals.agents.ports import DamagedBatchError, UnreachableError
from annals.agents.reading.following.losses import Losses
from annals.agents.reading.following.shard import Shard
from annals.agents.reading.ports import NotReadyError
from annals.topics.group_metadata import NOTHING_KNOWN, EventAt
from chained import chain
from following import Clock, Damages, Fetched, Journal, running, soon, until
from reading_stores import Stores as KeptStores

ADA, BOB = chain("p-1", 6), chain("p-2", 9)
EVENTS = [*ADA[:3], *BOB[:3]]


class Stores(KeptStores):
    """Counts how often a store was begun anew."""

    renewed = 0

    async def renew(self, store):
        self.renewed += 1
        return await super().renew(store)


class Cut(Journal):
    """A journal that loses what it has; `reach`: behind transactions that are open."""

    start = open_behind = 0
    is_away = is_damaged = False

    async def bounds(self):
        return self.start, len(self.records)

    async def reach(self):
        return len(self.records) + self.open_behind

    async def record_at(self, offset, cid=b""):
        if self.is_away:
            raise UnreachableError("away")
        if self.is_damaged:
            raise DamagedBatchError("the record batch at offset 5 is damaged")
        return await super().record_at(offset, cid)

    def cut(self, offset):
        del self.records[offset:]


class Said:
    """What those who write say."""

    metadata = NOTHING_KNOWN

    async def __call__(self):
        return self.metadata

    def last(self, offset, event):
        self.metadata = NOTHING_KNOWN._replace(journal_end=offset + 2, last=EventAt(offset, event.cid))
        return self


def shard(journal, stores=None, said=None):
    losses = Losses("person", 0, journal, said or Said())
    return Shard(
        REGISTRY["person"], 0, 1, stores or Stores(), journal, journal, Clock(), Damages(), losses=losses
    )  # fmt: skip


async def stopped(here):
    await until(lambda: here.status().phase == "stopped")
    with pytest.raises(NotReadyError, match="is stopped"):
        await here.state("p-1")
    return here.status().reason


def look(here, journal, *, asked=None):
    """What the watch does each second."""
    known = here.least_end() if asked is None else asked
    here.compare(known, journal.start, len(journal.records))


@pytest.mark.parametrize("more", [[], chain("p-3", 9)], ids=["a lower end", "an end that was lifted again"])
async def test_a_lost_end_under_a_running_shard_stops_it_for_good(more):
    journal, stores = Cut(EVENTS), Stores()
    async with running(shard(journal, stores), journal) as here:
        assert await here.until_offset(6, soon())
        here.doubt()
        journal.cut(3)
        if more:
            journal.append(more)
        else:
            look(here, journal)
        reason = await stopped(here)
        assert f"ends at offset {3 + len(more)}, and it was read up to 6 before" in reason
        assert "at offset 5" in reason
    async with running(shard(journal, stores), journal) as here:  # the same folder
        assert f"ends at offset {3 + len(more)}" in await stopped(here)
    async with running(shard(journal, Stores(), Said().last(5, EVENTS[5])), journal) as here:  # another owner
        reason = await stopped(here)
        assert f"ends at offset {3 + len(more)}, and those who write had it up to 7, its last event being " in reason
        assert "at offset 5" in reason


async def test_an_end_below_what_was_read_is_a_loss_though_nobody_was_away():
    journal = Cut(EVENTS)
    async with running(shard(journal), journal) as here:
        assert await here.until_offset(6, soon())
        journal.cut(3)
        look(here, journal)
        assert "ends at offset 3, and it was read up to 6 before" in await stopped(here)


async def test_what_comes_while_there_is_doubt_is_read_once_the_last_record_was_found_again():
    journal = Cut(EVENTS)
    async with running(shard(journal), journal) as here:
        assert await here.until_offset(6, soon())
        here.doubt()
        journal.is_away = True
        journal.append(ADA[3:])
        await asyncio.sleep(0)
        assert here.status().offset == 6
        journal.is_away = False
        look(here, journal)
        assert await here.until_offset(9, soon())


@pytest.mark.parametrize("is_doubted", [False, True], ids=["a gap tells", "another one leads"])
async def test_what_was_passed_is_read_again_where_it_may_have_been_cut_off_and_events_written_in_its_place(
    is_doubted,
):
    """Transactions that were aborted: those who write lost nothing, and wrote on before anybody looked at the end."""
    events = chain("p-1", 9)
    journal = Cut(events[:3])
    async with running(shard(journal), journal) as here:
        for _ in range(3):
            journal.mark()
        assert await here.until_offset(6, soon())
        if is_doubted:
            here.doubt()
        journal.cut(3)
        later = chain("p-2", 3) if is_doubted else events[6:]  # of the others nothing tells
        journal.records += [Fetched(at, event.key, event.value) for at, event in enumerate(events[3:6], 3)]
        journal.append(later)  # a fetch goes on where it was
        assert await here.until_offset(9, soon())
        assert (await here.state("p-1")).version == (6 if is_doubted else 9)
        assert here.status().phase == "reading"


async def test_while_the_record_that_is_looked_for_is_damaged_the_shard_says_so():
    journal = Cut(EVENTS)
    with capture_logs() as said:
        async with running(shard(journal), journal) as here:
            assert await here.until_offset(6, soon())
            here.doubt()
            journal.is_damaged = True
            journal.append(ADA[3:])
            await until(lambda: here.status().reason)
            assert here.status().reason == "waiting: the record batch at offset 5 is damaged"
            assert (here.status().phase, here.status().offset) == ("reading", 6)
            journal.is_damaged = False
            look(here, journal)
            assert await here.until_offset(9, soon())
            assert here.status().reason == ""
    assert [each["event"] for each in said if each["log_level"] == "error"] == ["the journal is damaged"]


async def test_who_takes_over_reads_on_only_behind_a_last_record_that_is_there():
    """The group's consumer begins behind what was read: nothing that it brings would tell of a cut."""
    journal = Cut(EVENTS)
    shard_here = shard(journal)
    shard_here.stand_by()
    async with running(shard_here, journal) as here:
        assert await here.until_offset(6, soon())
        journal.shard = None  # nothing is brought to the standby meanwhile
        journal.cut(3)
        journal.append([*chain("p-3", 3), *chain("p-4", 3)])
        journal.shard = here
        here.take_over()
        assert "ends at offset 9, and it was read up to 6 before" in await stopped(here)


class Held(Cut):
    """Its records come up to an offset."""

    held_at = 3

    def _deliver(self, records):
        super()._deliver([record for record in records if record is not None and record.offset < self.held_at])


async def test_in_doubt_the_event_that_those_who_write_know_is_looked_for_too():
    """A shard that is behind it has its own last record yet."""
    journal = Held(EVENTS)
    async with running(shard(journal, said=Said().last(5, EVENTS[5])), journal) as here:
        assert await here.until_offset(3, soon())
        assert here.least_end() == 6, "an end below that is a loss, however little was read here"
        here.doubt()
        journal.cut(4)
        journal.held_at = 99
        journal.append(chain("p-3", 9))
        here.go_on()
        assert "ends at offset 13, and those who write had it up to 7" in await stopped(here)


async def test_a_front_that_is_deleted_stops_the_shard():
    journal = Cut(EVENTS)
    async with running(shard(journal), journal) as here:
        assert await here.until_offset(6, soon())
        journal.start = 2
        look(here, journal)
        assert "begins at offset 2 instead of 0, and ends at 6" in await stopped(here)


async def test_a_shard_that_is_far_behind_notices_that_those_who_write_knew_more():
    journal = Cut(EVENTS)
    async with running(shard(journal, said=Said().last(5, EVENTS[5])), journal) as here:
        assert await here.until_offset(6, soon())
        assert here.least_end() == 6


async def test_an_answer_that_is_older_than_what_was_read_since_stops_nobody():
    journal = Cut(EVENTS)
    async with running(shard(journal), journal) as here:
        assert await here.until_offset(6, soon())
        asked = here.least_end()
        journal.append(ADA[3:])
        assert await here.until_offset(9, soon())
        here.compare(asked, 0, 6)
        journal.append(BOB[3:])
        assert await here.until_offset(15, soon())


async def test_the_event_of_a_transaction_whose_marker_is_not_written_yet_is_no_loss():
    journal = Cut(EVENTS)
    journal.open_behind = 2
    async with running(shard(journal, said=Said().last(7, ADA[3])), journal) as here:
        assert await here.until_offset(6, soon())
        assert here.status().phase == "reading"
        assert here.least_end() == 6
        journal.open_behind = 0
        journal.mark()
        journal.append(ADA[3:4])
        assert await here.until_offset(8, soon())
        assert here.status().phase == "reading"


async def test_a_lost_end_is_noticed_by_a_store_while_a_transaction_behind_it_is_open():
    """What others write where the journal was cut looks like the last transaction whose marker is not written yet."""
    journal, stores, said = Cut(EVENTS), Stores(), Said().last(5, EVENTS[5])
    async with running(shard(journal, stores, said), journal) as here:
        assert await here.until_offset(6, soon())
    journal.cut(4)
    journal.open_behind = 5
    async with running(shard(journal, stores, said), journal) as here:
        assert "ends at offset 4" in await stopped(here)
    assert stores.renewed == 0


async def test_a_lost_end_that_a_transaction_hid_from_an_empty_store_stops_it_once_it_is_passed():
    journal, said = Cut(EVENTS[:4]), Said().last(5, EVENTS[5])
    journal.open_behind = 5
    async with running(shard(journal, said=said), journal) as here:
        assert await here.until_offset(4, soon())
        journal.open_behind = 0
        journal.append(chain("p-3", 5))
        assert "ends at offset 9" in await stopped(here)


@pytest.mark.parametrize("markers", [5, 0], ids=["it was aborted", "it was cut off too"])
async def test_a_lost_end_that_a_transaction_hid_stops_an_empty_store_though_no_record_comes_behind_it(markers):
    """Whoever writes has stopped: in the place of the transaction are markers, or nothing comes any more."""
    journal, said = Cut(EVENTS[:4]), Said().last(5, EVENTS[5])
    journal.open_behind = 5
    async with running(shard(journal, said=said), journal) as here:
        assert await here.until_offset(4, soon())
        journal.open_behind = 0
        for _ in range(markers):
            journal.mark()
        look(here, journal)
        assert f"ends at offset {4 + markers}" in await stopped(here)


async def test_a_journal_that_was_restored_from_a_copy_is_read_anew():
    journal, stores, said = Cut([*EVENTS[:1], *EVENTS]), Stores(), Said()
    journal.records[1] = None  # a marker, which a copy lacks
    async with running(shard(journal, stores), journal) as here:
        assert await here.until_offset(7, soon())
    copy = Cut(EVENTS)
    async with running(shard(copy, stores, said.last(6, EVENTS[5])), copy) as here:
        assert await here.until_offset(6, soon())
        assert stores.renewed == 1


@pytest.mark.parametrize("other", [chain("p-9", 3), []], ids=["another", "one without events"])
async def test_the_store_of_another_journal_is_built_anew_where_nobody_vouches_for_it(other):
    journal, stores = Cut(EVENTS), Stores()
    async with running(shard(journal, stores), journal) as here:
        assert await here.until_offset(6, soon())
    journal = Cut(other)
    async with running(shard(journal, stores), journal) as here:
        assert await here.until_offset(len(other), soon())
        assert stores.renewed == 1


async def test_an_event_that_does_not_count_hides_no_loss():
    """Goes red when a store that does not have the journal's first event is taken for one of another journal."""
    misplaced = chain("p-9", 1)[0].but(key=b"p-8")
    journal, stores = Cut([misplaced, *EVENTS]), Stores()
    async with running(shard(journal, stores), journal) as here:
        assert await here.until_offset(7, soon())
    journal.cut(4)
    async with running(shard(journal, stores), journal) as here:  # the group's offset is lost as well
        assert "ends at offset 4, and it was read up to 7 before" in await stopped(here)
    assert stores.renewed == 0


async def test_a_loss_that_a_person_accepted_is_read_on_behind():
    journal, stores, said = Cut(EVENTS), Stores(), Said()
    async with running(shard(journal, stores), journal) as here:
        assert await here.until_offset(6, soon())
    journal.cut(3)
    said.last(2, EVENTS[2]).metadata = said.metadata._replace(accepted_until=6)
    async with running(shard(journal, stores, said), journal) as here:
        assert await here.until_offset(3, soon())
        assert stores.renewed == 1


NEVER_COUNTED = {
    "void": ADA[2].but(value=chain("p-1", 1, actor="somebody else")[0].value),
    "foreign": ADA[2].but(value=b"no event"),
}


@pytest.mark.parametrize("last", NEVER_COUNTED.values(), ids=NEVER_COUNTED)
async def test_a_last_record_that_never_counted_is_missed_by_no_running_shard(last):
    journal, stores = Cut([*EVENTS, last]), Stores()
    async with running(shard(journal, stores), journal) as here:
        assert await here.until_offset(7, soon())
        journal.cut(6)
        look(here, journal)
        await until(lambda: stores.renewed == 1)
        journal.append(ADA[3:])
        assert await here.until_offset(9, soon())


@pytest.mark.parametrize("last", NEVER_COUNTED.values(), ids=NEVER_COUNTED)
async def test_a_last_record_that_never_counted_is_missed_by_no_shard_that_opens(last):
    journal, stores, said = Cut([*EVENTS, last]), Stores(), Said().last(5, EVENTS[5])
    async with running(shard(journal, stores, said), journal) as here:
        assert await here.until_offset(7, soon())
    journal.cut(6)
    async with running(shard(journal, stores, said), journal) as here:
        assert await here.until_offset(6, soon())
        journal.append(BOB[3:])
        assert await here.until_offset(12, soon())
