"""Progress in a journal partition: each reading goes on where the one before ended, and says all that is there."""

from collections import Counter

import pytest
from aiokafka.structs import TopicPartition

from annals.schemas.progress import Progress, encode_progress, progress_key
from annals.workers.kafka.connections import connect
from annals.workers.kafka.read import newest_records, settled_ends
from annals.workers.kafka.read.invalid_records import PASSED_OVER
from annals.workers.memory.cluster import Topic
from annals.workers.publishing import progress_read
from annals.workers.publishing.progress_read import ProgressRead
from publishing import EVENTS, World, eventually

NUMBER = 20
WHERE = TopicPartition("progress", 0)


@pytest.fixture
def read(monkeypatch):
    """How many records of each topic were read."""
    found = Counter()
    for module in (newest_records, settled_ends):
        original = module.read_range

        async def counting(client, where, *args, original=original, **options):
            async for records in original(client, where, *args, **options):
                found[where[0]] += len(records)
                yield records

        monkeypatch.setattr(module, "read_range", counting)
    return found


@pytest.mark.parametrize("delivery", ["stream", "acknowledged"])
async def test_a_new_subscription_costs_no_more_the_more_there_are(read, delivery):
    """Goes red when a publisher, or a delivery shard that begins, reads the progress of all from the beginning."""
    names = [f"s{number:02}" for number in range(2 * NUMBER)]
    world = World(*names)
    costs = []
    async with world.shard() as shard, world.publisher(shard) as publisher:
        for name in names:
            read.clear()
            await world.subscribe(name, delivery=delivery, types=("PersonArchived",))

            async def is_there(name=name):
                roster = publisher._roster
                return name in roster.resting if delivery == "acknowledged" else name in roster.known

            await eventually(is_there)
            costs.append(read["progress"])
    assert max(costs[NUMBER:]) <= 20, costs


class Progresses:
    """The topic of progress, and what reads it."""

    def __init__(self):
        self.world = World()
        self.read = ProgressRead(TopicPartition(*EVENTS), PASSED_OVER)

    def write(self, name, position, journal=EVENTS):
        value = None if position is None else encode_progress(Progress(position, None, 1))
        self.world.model.append(WHERE, progress_key(name, *journal), value)

    async def positions(self, end=0):
        client = await connect(self.world.options(), ["progress"])
        found = await self.read.until(client, WHERE, end)
        await client.close()
        return {name: each.position for name, each in found.items()}


async def test_what_is_read_on_is_what_would_be_read_from_the_beginning(read, monkeypatch):
    progresses = Progresses()
    for name in ("live", "billing", "gone"):
        progresses.write(name, 1)
    progresses.write("billing", 7, ("events.person", 1))
    assert await progresses.positions() == {"live": 1, "billing": 1, "gone": 1}
    progresses.write("live", 2)
    progresses.write("gone", None)
    progresses.world.model.append(WHERE, progress_key("billing", *EVENTS), b"{")
    read.clear()
    assert await progresses.positions() == {"live": 2, "billing": 1}
    assert read["progress"] == 4, "the last record before it, and what is new"
    monkeypatch.setattr(progress_read, "AWAY_S", -1.0)
    read.clear()
    assert await progresses.positions() == {"live": 2, "billing": 1}
    assert read["progress"] == 7, "a tombstone may have come and gone"


async def test_a_topic_that_was_made_anew_is_read_from_its_beginning():
    progresses = Progresses()
    progresses.write("billing", 1)
    assert await progresses.positions() == {"billing": 1}
    model = progresses.world.model
    model.delete_topic("progress")
    model.make_topic("progress", Topic(1))
    progresses.write("other", 3)
    assert await progresses.positions() == {"other": 3}


@pytest.mark.parametrize("more", [0, 5], ids=["shorter", "longer"])
async def test_so_is_one_of_which_markers_alone_were_read(more):
    """Goes red when it is read on where the former topic ended: what is there before that is never seen."""
    progresses = Progresses()
    model = progresses.world.model
    for _ in range(4):
        model.logs[WHERE].mark(1, 0, commits=False)
    assert await progresses.positions() == {}
    model.delete_topic("progress")
    model.make_topic("progress", Topic(1))
    progresses.write("billing", 1)
    for position in range(more):
        progresses.write("live", position)
    assert await progresses.positions() == ({"billing": 1} | ({"live": more - 1} if more else {}))


async def test_who_asked_where_it_ends_before_another_read_further_reads_on_too(read):
    """Goes red when it is read from its beginning for them: many deliveries that begin together ask in any order."""
    progresses = Progresses()
    progresses.write("billing", 1)
    early = progresses.world.model.logs[WHERE].stable
    progresses.write("other", 3)
    assert await progresses.positions() == {"billing": 1, "other": 3}
    read.clear()
    assert await progresses.positions(early) == {"billing": 1, "other": 3}
    assert read["progress"] == 1, "the last record"
