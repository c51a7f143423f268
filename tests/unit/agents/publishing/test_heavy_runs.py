"""One large event and many filters: whatever else the event loop has to do is done meanwhile."""

import asyncio

import pytest

from annals.agents.aggregates import REGISTRY
from annals.agents.publishing.heavy import MOST_BYTES, select_in_turns
from annals.agents.publishing.ports import Kept
from annals.agents.publishing.selection import Subscribed, select
from annals.agents.reading.found import JournalEvent
from annals.schemas.chain import read_block
from annals.schemas.subscription import Definition, Record
from chained import sealed

FILTERS = 20


def subscribed(expression):
    return [
        (
            Subscribed(
                Kept(Record(Definition(f"s-{each}", filters=[{"cel": expression}]), 1, {"person": [0]}), each),
                "person",
                0,
            ),
            0,
        )
        for each in range(FILTERS)
    ]


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
    event, to_whom = an_event(entries), subscribed("data.name == 'Ada'")
    assert (len(event.block) * FILTERS > MOST_BYTES) is not is_held
    found, turns = await turns_while(select_in_turns([event], to_whom, REGISTRY["person"]))
    assert (turns <= 2) is is_held
    assert found == select([event], to_whom, REGISTRY["person"])
    assert len(found.records) == FILTERS
