"""One large event and many filters: whatever else the event loop has to do is done meanwhile."""

import asyncio
import threading

import pytest

from annals.agents.aggregates import REGISTRY
from annals.agents.publishing import cel
from annals.agents.publishing.administration import Refused
from annals.agents.publishing.heavy import MOST_BYTES, select_in_turns
from annals.agents.publishing.ports import Kept
from annals.agents.publishing.selection import Subscribed, select
from annals.agents.reading.found import JournalEvent
from annals.schemas.chain import read_block
from annals.schemas.subscription import Definition, Record
from annals.workers.publishing.service import SubscriptionService
from annals.workers.settings import Settings
from chained import sealed
from following import until
from publishing import World

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


@pytest.fixture
def threads(monkeypatch):
    """In which threads expressions are compiled, by their texts."""
    found = {}

    class Noted(cel._Program):
        def __init__(self, text):
            super().__init__(text)
            found.setdefault(text, []).append(threading.current_thread())

    monkeypatch.setattr(cel, "_Program", Noted)
    return found


async def test_no_expression_is_compiled_in_a_turn_of_the_loop_by_who_publishes(threads):
    """Goes red when a subscription with a hundred long expressions holds the loop up for seconds."""
    world = World("one")
    await world.subscribe("one", filters=[{"cel": "data.name == 'Ada'"}])
    async with world.shard() as shard, world.publisher(shard) as publisher:
        await until(lambda: publisher.phase == "publishing")
        world.subscriptions.set("one", definition={"filters": [{"cel": "data.name == 'Bea'"}]})
        await until(lambda: len(threads) == 2)
        await until(lambda: publisher._roster.known is world.subscriptions.all())
    assert [len(each) for each in threads.values()] == [1, 1]
    assert threading.main_thread() not in {thread for each in threads.values() for thread in each}


async def test_no_expression_is_compiled_in_a_turn_of_the_loop_by_who_puts_a_subscription(threads):
    service = SubscriptionService(Settings(), World("one").options(), REGISTRY)
    with pytest.raises(Refused):
        await service.put("one", {"filters": [{"cel": "data.name == 'Ada'"}, {"cel": "no expression ("}]})
    assert list(threads) == ["data.name == 'Ada'"]
    assert threading.main_thread() not in threads["data.name == 'Ada'"]
