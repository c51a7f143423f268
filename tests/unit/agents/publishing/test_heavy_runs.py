"""Large events, many or slow filters: whatever else the event loop has to do is done meanwhile."""

import asyncio
import gc
from threading import Event
from weakref import ref

import pytest
from msgspec.structs import replace

from annals.agents.aggregates import REGISTRY
from annals.agents.publishing import heavy
from annals.agents.publishing.administration import compiled_filters, definition_of
from annals.agents.publishing.cel import Expression
from annals.agents.publishing.heavy import MOST_BYTES, OneByOne, select_in_turns
from annals.agents.publishing.matching import Matcher
from annals.agents.publishing.ports import Kept
from annals.agents.publishing.roster import Roster
from annals.agents.publishing.selection import Subscribed, select, wanted
from annals.agents.reading.found import JournalEvent
from annals.schemas.chain import read_block
from annals.schemas.progress import Progress
from annals.schemas.subscription import Definition, Former, Record
from chained import sealed
from following import until

FILTERS = 20


def subscribed_to(*expressions, number=0):
    definition = Definition(f"s-{number}", filters=[{"cel": each} for each in expressions])
    return Subscribed(Kept(Record(definition, 1, {"person": [0]}), number), "person", 0)


def an_event(entries):
    event = sealed("p-1", 1, None, type_name="PersonRegistered", data={"name": "Ada", "more": [{}] * entries})
    return JournalEvent(0, read_block("person", event.value), event.value, event.cid, ())


async def turns_while(selecting):
    turns = 0
    task = asyncio.create_task(selecting)
    while not task.done():
        turns += 1
        await asyncio.sleep(0)
    return await task, turns


@pytest.mark.parametrize(("entries", "is_held"), [(10, True), (100_000, False)])
async def test_the_loop_has_its_turn_between_two_expressions(entries, is_held):
    event = an_event(entries)
    to_whom = [(subscribed_to("data.name == 'Ada'", number=each), 0) for each in range(FILTERS)]
    assert (len(event.block) * FILTERS > MOST_BYTES) is not is_held
    found, turns = await turns_while(select_in_turns([event], to_whom, REGISTRY["person"]))
    assert (turns <= 2) is is_held
    assert found == select([event], to_whom, REGISTRY["person"])
    assert len(found.records) == FILTERS


def one_of_slow_filters():
    """A hundred filters that all hold, each half a millisecond."""
    slow = " || ".join([*(f"data.name.matches('^(a|b)*c{number}$')" for number in range(8)), "data.name == 'Ada'"])
    return subscribed_to(*[slow] * 100)


async def test_the_loop_has_its_turn_where_filters_are_slow_however_small_events_are():
    """Goes red when only the size of events tells how long a run takes: this one held everything up for seconds."""
    events = [an_event(1) for _ in range(2)]
    found, turns = await turns_while(select_in_turns(events, [(one_of_slow_filters(), 0)], REGISTRY["person"]))
    assert len(found.records["s-0"]) == len(events)
    assert turns > 2


async def test_so_it_has_where_events_are_judged_one_by_one():
    """Goes red when one event of a delivery is judged by all filters in one turn of the event loop."""
    subscribed, event = one_of_slow_filters(), an_event(1)
    for _ in range(3):
        found, turns = await turns_while(OneByOne(subscribed, REGISTRY["person"]).wanted(event))
        assert found == wanted(event, subscribed, REGISTRY["person"])
        assert turns > 2


async def test_questions_that_run_in_threads_do_not_wait_for_runs(monkeypatch):
    """Goes red when runs fill the event loop's own threads: the API's answers are made in these."""
    may_end = Event()
    monkeypatch.setattr(heavy, "select", lambda *_: may_end.wait())
    to_whom = [(one_of_slow_filters(), 0)]
    runs = [asyncio.create_task(select_in_turns([an_event(1)] * 99, to_whom, None)) for _ in range(40)]
    await asyncio.sleep(0)
    question = asyncio.create_task(asyncio.to_thread(lambda: "answered"))
    try:
        await until(question.done)
    finally:
        may_end.set()
        await asyncio.gather(*runs)
    assert await question == "answered"


async def test_many_that_are_judged_quickly_are_judged_in_several_turns():
    subscribed, event = subscribed_to("data.name == 'Ada'"), an_event(1)
    judging = OneByOne(subscribed, REGISTRY["person"])

    async def judge_all():
        return [await judging.wanted(event) for _ in range(5_000)]

    found, turns = await turns_while(judge_all())
    assert None not in found
    assert turns > 2


def long_filters(number):
    """So many expressions that nobody else has, each of a thousand characters."""
    return [
        {"cel": " || ".join(f"data.l.exists(each, each == {each})" for each in range(at, at + 30))}
        for at in range(0, 1_000 * number, 1_000)
    ]


async def test_filters_are_compiled_one_in_a_turn_where_a_publisher_takes_note_of_them():
    """Goes red when all of a subscription are compiled at once: a hundred long ones took 2.6 s."""
    roster = Roster("person", 0)
    former = Former(Definition("long", filters=long_filters(2)), {"person": [5]})
    record = Record(Definition("long", filters=long_filters(5)), 1, {"person": [0]}, [former])
    failed, turns = await turns_while(roster.notice({"long": Kept(record, 0)}, {}, is_first=True))
    assert failed == {}
    assert turns > 7
    assert roster.get("long").expressions == 7


async def test_of_a_deleted_subscription_no_filter_is_kept_and_its_name_goes_on_from_where_it_is():
    """Goes red when all that were ever deleted are compiled by each partition that opens, and kept: 100 KiB each."""
    roster = Roster("person", 0)
    kept = Kept(Record(Definition("long", filters=[{"cel": "data.name == 'kept'"}]), 1, {"person": [0]}), 0)
    await roster.notice({"long": kept}, {}, is_first=False)
    program = ref(Expression("data.name == 'kept'").program)
    assert program() is not None
    deleted = Kept(replace(kept.record, is_deleted=True, positions={"person": [7]}), 1)
    await roster.notice({"long": deleted}, {}, is_first=False)
    gc.collect()
    assert program() is None
    other = Kept(replace(deleted.record, definition=Definition("other", kinds=["policy"])), 2)
    await roster.notice({"long": deleted, "other": other}, {}, is_first=False)
    assert roster.leaving(Progress(7)) == {"long": Progress(7, None, 1)}
    await roster.notice({"long": kept}, {}, is_first=False)
    assert roster.get("long").expressions == 1


async def test_so_they_are_where_somebody_puts_a_subscription():
    body = {"filters": long_filters(6)}
    held, turns = await turns_while(compiled_filters("long", body))
    assert turns > 6
    programs = {each.program for each in held}
    definition = definition_of("long", body, REGISTRY)
    assert {each.program for each in Matcher(definition).expressions} == programs
    assert await compiled_filters("long", {"filters": [{"cel": "data."}, {"cel": "1"}]}) == []
    assert await compiled_filters("long", {"filters": "all"}) == []
