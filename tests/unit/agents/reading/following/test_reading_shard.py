"""A reading shard: it follows a journal, answers, waits, and stops where events are missing."""

import asyncio
import time
from copy import copy
from datetime import UTC, datetime

import msgspec
import pytest

from annals.agents.aggregates import REGISTRY
from annals.agents.aggregates.policy import Exemption
from annals.agents.deciding.state import State, StatePart
from annals.agents.ports import StoreUnavailableError
from annals.agents.reading.following.shard import Shard
from annals.agents.reading.found import EventFilter
from annals.agents.reading.keeping import recent_events
from annals.agents.reading.keeping.layout import EVENTS, event_key, prefixed
from annals.agents.reading.keeping.personal import StateParts
from annals.agents.reading.keeping.row_memory import RowMemory
from annals.agents.reading.ports import (
    BrokenChainError,
    NotReadyError,
    UnreadableEventError,
)
from annals.agents.reading.queries.aggregates import named
from annals.workers.stores.reading_memory import MemoryReadingStore
from chained import chain
from following import Clock, Damages, Journal, running, soon, until

PERSON = REGISTRY["person"]
ALL = EventFilter()


class Stores:
    """One store in memory that outlives its shards."""

    def __init__(self):
        self.store = MemoryReadingStore()
        self.renewed = 0

    async def open(self):
        return RowMemory(self.store)

    async def renew(self, store):
        self.renewed += 1
        self.store = MemoryReadingStore()
        return await self.open()

    async def set_aside(self, damage):
        self.store = MemoryReadingStore()

    async def close(self, store):
        pass


class Counting:
    """Counts events by type, and fails on a version that it is told."""

    name, version, spaces = "counting", 1, (b"Pcounting",)
    bad = None

    def fold(self, events, partition, rows):
        for counted in events:
            if counted.event["version"] == self.bad:
                raise ZeroDivisionError("no secrets")
            rows.put(b"Pcounting", b"%d" % (int(rows.get(b"Pcounting") or 0) + 1))


def shard(journal, stores, *followers, damages=None):
    return Shard(PERSON, 0, 1, stores, journal, journal, Clock(), damages or Damages(), followers)


async def test_it_follows_the_journal_and_answers():
    journal, ada, bob = Journal(chain("p-1", 3)), chain("p-1", 5), chain("p-2", 2)
    async with running(shard(journal, Stores()), journal) as here:
        assert await here.until_offset(3, soon())
        journal.append(bob)
        assert await here.until_version("p-2", 2, soon())
        journal.append(ada[3:])
        assert await here.until_offset(7, soon())
        status = here.status()
        assert (status.phase, status.offset, status.end, status.reached, status.stale) == ("reading", 7, 7, True, {})
        now = await here.state("p-1")
        assert (now.version, now.head, now.state["name"], now.position.offset) == (5, ada[4].cid, "Ada 5", 7)
        assert (await here.state("p-1", version=2)).head == ada[1].cid
        assert (await here.state("p-1", at=datetime(2026, 11, 22, tzinfo=UTC))).version == 5
        assert await here.state("p-1", at=datetime(2026, 11, 20, tzinfo=UTC)) is None
        assert await here.state("p-1", version=6) is None
        assert [each.cid for each in await here.history("p-1", first=2, last=3, descending=True, limit=None)] == [
            ada[2].cid,
            ada[1].cid,
        ]
        page = await here.find(ALL, start=None, descending=False, limit=4)
        assert ([each.offset for each in page.events], page.next_offset, page.is_end) == ([0, 1, 2, 3], 4, False)
        assert (await here.by_cid(bob[1].cid)).offset == 4
        assert await here.offset_of("p-1", 5) == 6
        listed = await here.aggregates(status=None, since=None, until=None, after="p-1", limit=5)
        assert [(each.aggregate_id, each.version) for each in listed.aggregates] == [("p-2", 2)]
        assert (listed.is_end, listed.offset) == (True, 7)
        with pytest.raises(LookupError):
            await here.rows("none", 1, {}, after=None, limit=1)


async def test_a_record_that_is_not_folded_yet_takes_no_marker_back():
    journal = Journal(chain("p-1", 1))
    async with running(shard(journal, Stores()), journal) as here:
        journal.mark()
        assert await here.until_offset(2, soon())
        journal.append(chain("p-1", 2)[1:])
        assert here.status().offset == 2  # fetched, and nobody had a turn since
        here.go_on()
        assert here.status().offset == 2  # delivered again, from before the marker
        assert await here.until_offset(3, soon())


async def test_what_does_not_come_is_said_at_the_deadline():
    journal = Journal(chain("p-1", 1))
    async with running(shard(journal, Stores()), journal) as here:
        assert await here.until_offset(1, soon())
        assert not await here.until_offset(2, time.monotonic())
        assert not await here.until_version("p-1", 2, time.monotonic() + 0.01)


async def test_who_waits_for_a_shard_that_is_closed_is_told_at_once():
    journal = Journal(chain("p-1", 1))
    async with running(shard(journal, Stores()), journal) as here:
        assert await here.until_offset(1, soon())
        waiting = [asyncio.create_task(here.until_offset(2, soon()))]
        waiting += [asyncio.create_task(here.until_version("p-1", 2, soon()))]
        await asyncio.sleep(0)
    for found in await asyncio.gather(*waiting, return_exceptions=True):
        assert isinstance(found, NotReadyError)
    with pytest.raises(NotReadyError, match="person-0 is closed"):
        await here.until_offset(1, soon())


async def test_before_it_is_open_it_is_not_ready():
    here = shard(Journal(), Stores())
    with pytest.raises(NotReadyError, match="person-0 is opening"):
        await here.state("p-1")


async def test_before_it_is_known_whether_its_store_is_of_this_journal_it_is_not_ready():
    journal, stores = Journal(chain("p-1", 2)), Stores()
    async with running(shard(journal, stores), journal) as here:
        assert await here.until_offset(2, soon())
    asked, answered = asyncio.Event(), asyncio.Event()
    record_at = journal.record_at

    async def waiting(offset, cid):
        asked.set()
        await answered.wait()
        return await record_at(offset, cid)

    journal.record_at = waiting
    async with running(shard(journal, stores), journal) as here:
        await asked.wait()
        with pytest.raises(NotReadyError, match="person-0 is opening"):
            await here.state("p-1")
        answered.set()
        assert await here.until_offset(2, soon())
        assert (await here.state("p-1")).version == 2


@pytest.mark.parametrize(
    "other", [chain("p-1", 2), chain("p-9", 3), []], ids=["ahead of the journal", "of another", "made anew"]
)
async def test_a_store_that_is_no_fold_of_this_journal_is_built_anew(other):
    stores, journal = Stores(), Journal(chain("p-1", 3))
    async with running(shard(journal, stores), journal) as here:
        assert await here.until_offset(3, soon())
    journal = Journal(other)
    async with running(shard(journal, stores), journal) as here:
        assert await here.until_offset(len(other), soon())
        found = await here.find(ALL, start=None, descending=False, limit=9)
        assert [each.cid for each in found.events] == [each.cid for each in other]
    assert stores.renewed == 1


async def test_a_store_of_this_journal_is_gone_on_with():
    stores, journal = Stores(), Journal(chain("p-1", 3))
    async with running(shard(journal, stores), journal) as here:
        assert await here.until_offset(3, soon())
    journal.append(chain("p-2", 1))
    async with running(shard(journal, stores), journal) as here:
        assert await here.until_offset(4, soon())
    assert stores.renewed == 0


async def test_a_gap_stops_the_shard_which_names_it_and_answers_on():
    events = chain("p-1", 4)
    journal = Journal([events[0], events[1], events[3]])
    async with running(shard(journal, Stores()), journal) as here:
        await until(lambda: here.status().phase == "stopped")
        assert "'p-1': person, partition 0, offset 2 has version 4" in here.status().reason
        assert here.status().offset == 2
        assert (await here.state("p-1")).version == 2


async def test_a_damaged_store_is_built_anew_even_where_a_gap_stopped_the_shard():
    events, stores, damages = chain("p-1", 4), Stores(), Damages()
    journal = Journal([events[0], events[1], events[3]])
    async with running(shard(journal, stores, damages=damages), journal) as here:
        await until(lambda: here.status().phase == "stopped")
        stores.store.apply({b"sp-1": stores.store.get(b"sp-1") + b"?"})
        with pytest.raises(NotReadyError, match="damaged and is built anew"):
            await here.state("p-1")
        await until(lambda: damages.count == 1 and here.status().phase == "stopped")
        assert (await here.state("p-1")).version == 2


class Lacking(MemoryReadingStore):
    """A store whose machine lacks what it takes to read it, while it is told so."""

    lacks = False

    def view(self):
        if self.lacks:
            raise StoreUnavailableError("read/person/0: IO error: 000007.sst: Too many open files")
        return super().view()


async def test_a_question_for_which_the_machine_lacks_something_is_answered_later_and_readiness_says_why():
    """Goes red when it is told as a defect: then an answer over all partitions fails as a whole."""
    stores, damages = Stores(), Damages()
    stores.store = Lacking()
    async with running(shard(journal := Journal(chain("p-1", 2)), stores, damages=damages), journal) as here:
        assert await here.until_offset(2, soon())
        stores.store.lacks = True
        with pytest.raises(NotReadyError, match=r"person-0: the store cannot be used: .* Too many open files"):
            await here.state("p-1")
        await until(lambda: "Too many open files" in here.status().reason)
        stores.store.lacks = False
        await until(lambda: here.status().phase == "reading")
        assert (await here.state("p-1")).version == 2
        assert (damages.count, stores.renewed) == (0, 0)


async def test_an_event_that_cannot_be_read_stops_the_state_of_its_aggregate_alone():
    strange = chain("p-1", 2, data={"name": 5})
    journal = Journal([*strange, *chain("p-2", 2)])
    async with running(shard(journal, Stores()), journal) as here:
        assert await here.until_offset(4, soon())
        assert here.status().stale == {}
        assert len(await here.history("p-1", first=1, last=None, descending=False, limit=None)) == 2
        assert (await here.state("p-2")).version == 2
        with pytest.raises(UnreadableEventError, match=r"person 'p-1' version 1, partition 0, offset 0"):
            await here.state("p-1")


async def test_a_follower_that_raises_stops_alone_names_its_event_and_goes_on_when_told():
    journal, stores, counting = Journal(chain("p-1", 2)), Stores(), Counting()
    counting.bad = 4
    async with running(shard(journal, stores, counting), journal) as here:
        journal.append(chain("p-1", 6)[2:])
        assert await here.until_offset(6, soon())
        reason = here.status().stale["counting"]
        assert "person 'p-1' version 4, partition 0, offset 3" in reason
        assert "secrets" not in reason
        assert stores.store.get(b"Pcounting") == b"3"
        assert (await here.state("p-1")).version == 6
        counting.bad = None
        here.resume("counting")
        await until(lambda: not here.status().stale)
        assert stores.store.get(b"Pcounting") == b"6"


async def test_a_new_follower_catches_up_from_the_rows_and_a_new_version_begins_anew():
    journal, stores = Journal([*chain("p-1", 700), *chain("p-2", 600)]), Stores()
    async with running(shard(journal, stores), journal) as here:
        assert await here.until_offset(1_300, soon())
    counting = Counting()
    for version in (1, 2):
        counting.version = version
        async with running(shard(journal, stores, counting), journal) as here:
            await until(lambda: here.status().phase == "reading" and not here.status().stale)
        assert stores.store.get(b"Pcounting") == b"1300"


async def test_many_records_pause_the_source_and_it_goes_on():
    events = chain("p-1", 400, data={"name": "x" * 20_000})
    journal = Journal(events)
    async with running(shard(journal, Stores()), journal) as here:
        assert await here.until_offset(400, soon())
    assert (journal.paused, journal.resumed) == (1, 1)


@pytest.mark.parametrize(
    "wanted", [ALL, EventFilter(types=("PersonRenamed",)), EventFilter(since=datetime(2030, 1, 1, tzinfo=UTC))]
)
async def test_what_was_folded_lately_needs_no_thread_and_is_as_the_store_has_it(monkeypatch, wanted):
    journal, stores = Journal([*chain("p-1", 5), *chain("p-2", 4)]), Stores()

    async def answers(here):
        pages = [await here.find(wanted, start=start, descending=False, limit=3) for start in range(11)]
        runs = [await here.events_from(start, 3) for start in range(11)]
        return pages, runs, [await here.last_before(offset) for offset in range(10)]

    def none_there(*_):
        raise AssertionError("a thread is waited for")

    async with running(shard(journal, stores), journal) as here:
        assert await here.until_offset(9, soon())
        with monkeypatch.context() as patched:
            patched.setattr(asyncio.get_running_loop(), "run_in_executor", none_there)
            near = await answers(here)
    async with running(shard(journal, stores), journal) as here:
        assert await here.until_offset(9, soon())
        with monkeypatch.context() as patched:
            patched.setattr(asyncio.get_running_loop(), "run_in_executor", none_there)
            with pytest.raises(AssertionError, match="a thread"):
                await here.find(wanted, start=0, descending=False, limit=3)
        assert await answers(here) == near
    assert [[event.offset for event in run.events] for run in near[1]] == [
        *([start, start + 1, start + 2] for start in range(7)), [7, 8], [8], [], [],
    ]  # fmt: skip


async def test_whoever_is_handed_an_event_may_change_it():
    """Goes red when the next one that asks gets from memory what the one before made of it."""
    journal = Journal(chain("p-1", 2))
    async with running(shard(journal, Stores()), journal) as here:
        assert await here.until_offset(2, soon())
        for _ in range(2):
            run = await here.events_from(0, 9)
            page = await here.find(ALL, start=0, descending=False, limit=9)
            for found in (run.events, page.events):
                assert [each.event.pop("data") for each in found] == [{"name": "Ada 1"}, {"name": "Ada 2"}]


async def test_a_shard_that_is_closed_leaves_its_memory_to_others():
    before = set(recent_events._OPEN)
    async with running(shard(journal := Journal(chain("p-1", 2)), Stores()), journal) as here:
        assert await here.until_offset(2, soon())
        (recent,) = set(recent_events._OPEN) - before
    assert recent not in recent_events._OPEN


@pytest.mark.parametrize("version", [1, 2, 3])
async def test_what_is_not_as_it_was_in_the_journal_is_never_returned(version):
    events, stores = chain("p-1", 3), Stores()
    journal = Journal(events)
    async with running(shard(journal, stores), journal) as here:
        assert await here.until_offset(3, soon())
        key = event_key(b"p-1", version)
        whole = stores.store.get(key)
        other = chain("p-1", 3, command_id="other")[version - 1]
        for row in (
            whole[:-1] + bytes([whole[-1] ^ 1]),
            whole[:8] + other.cid + other.value,
            None,
        ):
            stores.store.apply({key: row})
            for descending in (False, True):
                with pytest.raises(BrokenChainError, match=r"person 'p-1' version \d"):
                    await here.history("p-1", first=1, last=None, descending=descending, limit=None)
            with pytest.raises(BrokenChainError, match=r"person 'p-1' version \d"):
                await here.find(ALL, start=None, descending=False, limit=10)
            if row is None or version == 3:
                with pytest.raises(BrokenChainError, match=r"person 'p-1' version \d"):
                    await here.state("p-1", version=version)
        assert whole.startswith(b"\0" * 7)
        assert prefixed(EVENTS, b"p-1") + version.to_bytes(8, "big") == key


def test_the_impersonal_part_of_a_state_has_nothing_that_is_personal():
    parts = StateParts(PERSON)
    secret = msgspec.structs.replace(
        PERSON.initial,
        status="active",
        name="SECRET",
        preferred_name="SECRET",
        birth_date="SECRET",
        death_date="SECRET",
        emails={"SECRET": True},
        primary_email="SECRET",
        phone="SECRET",
    )
    public, personal = parts.split(secret)
    assert b"SECRET" not in public
    assert personal.count(b"SECRET") == 7
    assert parts.join(public, personal) == secret
    assert parts.status(public) == "active"
    with pytest.raises(msgspec.DecodeError):
        parts.join(public, None)


@pytest.mark.parametrize("kind", sorted(REGISTRY))
def test_every_initial_state_is_whole_in_two_parts(kind):
    parts = StateParts(REGISTRY[kind])
    assert parts.join(*parts.split(REGISTRY[kind].initial)) == REGISTRY[kind].initial


async def test_an_evolve_that_raises_is_named_and_everything_else_is_answered():
    def evolve(state, event):
        if event.name == "Ada 3":
            raise ZeroDivisionError("no secrets")
        return PERSON.evolve(state, event)

    journal = Journal([*chain("p-1", 4), *chain("p-2", 2)])
    decider = copy(PERSON)
    decider.evolve = evolve
    here = Shard(decider, 0, 1, Stores(), journal, journal, Clock(), Damages())
    async with running(here, journal):
        assert await here.until_offset(6, soon())
        reason = here.status().stale["states"]
        assert "person 'p-1' version 3, partition 0, offset 2" in reason
        assert "ZeroDivisionError" in reason
        assert len(await here.history("p-1", first=1, last=None, descending=False, limit=None)) == 4
        assert (await here.state("p-1", version=2)).state["name"] == "Ada 2"
        assert (await here.state("p-2")).version == 2
        with pytest.raises(
            UnreadableEventError, match=r"'p-1' version 3, partition 0, offset 2.*ZeroDivisionError"
        ) as caught:
            await here.state("p-1")
        assert "secrets" not in str(caught.value)


async def test_projections_of_a_shard_change_while_it_follows():
    from annals.agents.projections import REGISTRY as PROJECTIONS
    from annals.agents.reading.projecting.rows import ProjectionFollower
    from annals.agents.reading.queries.rows import RowReader
    from annals.schemas.kinds.person import PersonRegistered
    from projecting import Journals

    directory = PROJECTIONS["people_directory"]
    made = Journals()
    made.append("person", "p-1", PersonRegistered(name="Ada 1"))
    (event,) = [each for records in made.records_of.values() for each in records]
    journal, stores = Journal([event]), Stores()
    here = Shard(PERSON, 0, 1, stores, journal, journal, Clock(), Damages(), (), RowReader(PROJECTIONS))
    async with running(here, journal):
        assert await here.until_offset(1, soon())
        here.follow([ProjectionFollower(directory, REGISTRY)])
        await until(lambda: "people_directory/1" in here.followers())
        await until(lambda: not here.status().stale)
        page = await here.rows("people_directory", 1, {}, after=None, limit=9)
        assert ([each.row["name"] for each in page.rows], page.stale, page.position.offset) == (["Ada 1"], None, 1)
        journal.mark()  # a marker is no event that rows are behind, of a standby's neither
        for is_standby, reason in ((False, None), (True, "standby")):
            if is_standby:
                here.stand_by()
                here.note_end(2)
                assert await here.until_offset(2, soon())
            page = await here.rows("people_directory", 1, {}, after=None, limit=9)
            assert (page.stale, page.position.offset) == (reason, 2)
        here.take_over()
        here.note_end(2)
        await until(lambda: not here.status().stale)
        kept = dict(stores.store.rows)
        stores.store.rows = {key: value for key, value in kept.items() if not key.startswith(b"P")}
        here.rebuild("people_directory/1", "p-1", 1)
        await until(lambda: len(stores.store.rows) == len(kept) + 1)  # the number of the rebuild, too
        here.follow([], ["people_directory/1"])
        await until(lambda: "people_directory/1" not in here.followers())
        assert not any(key.startswith((b"P", b"I")) for key in stores.store.rows)


def subclasses(of):
    return [each for direct in of.__subclasses__() for each in (direct, *subclasses(direct))]


def test_the_members_of_states_have_the_names_that_the_wire_gives_them():
    exemption = Exemption("person/p-1", "2026-01-01", "2026-02-01", "p-2")
    assert named(exemption) == {
        "subject": "person/p-1",
        "from": "2026-01-01",
        "until": "2026-02-01",
        "granted_by": "p-2",
        "revoked": False,
    }
    names = [name for part in (*subclasses(State), *subclasses(StatePart)) for name in part.__struct_encode_fields__]
    assert names
    assert [name for name in names if name.endswith("_")] == []
