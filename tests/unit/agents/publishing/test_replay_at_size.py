"""Replaying very much that is parked: how often the journal is asked, and how many events are in memory meanwhile."""

from collections import Counter

from aiokafka.structs import TopicPartition

from annals.agents.publishing.delivering import loading
from annals.agents.publishing.delivering.shard import MOST_DELIVERED
from annals.schemas.cid import cid_text
from annals.schemas.delivery import PARKED, Row, encode_row, replayed, row_key
from annals.topics.names import publisher_id
from annals.topics.wire import NO_TIMESTAMP, encode_headers
from annals.workers.kafka.write.batches import PartitionBatches
from annals.workers.kafka.write.transaction import Offsets, TransactionalWriter
from chained import chain
from publishing import World, eventually

COUNT = 3 * MOST_DELIVERED


async def test_events_are_read_many_at_a_time_and_no_more_than_one_transaction_needs(monkeypatch):
    world = World("all")
    chains = [chain(f"p-{number}", 2) for number in range(COUNT)]
    world.journal.append([event for number in (0, 1) for each in chains for event in [each[number]]])
    await world.subscribe("all", delivery="acknowledged", max_in_flight=10_000, filters=({"exact": {"subject": "x"}},))
    batches = PartitionBatches(1 << 20)
    for number, (first, _) in enumerate(chains):
        of = "person", f"p-{number}", 1, cid_text(first.cid), "PersonRenamed", number
        row = Row(*of, ordered=True, state=PARKED, attempt=1, tries=1, at=1)
        row = replayed(row, 2, "ada")
        batches.add(row_key(row).encode(), encode_row(row), NO_TIMESTAMP, encode_headers([]))
    writer = TransactionalWriter(world.options(), publisher_id("events.person", 0, "all"), ["deliveries.all"])
    await writer.fence()
    await writer.commit(
        {TopicPartition("deliveries.all", 0): batches.batches}, Offsets("g", "deliveries.all", 0, 0, ""), {}
    )
    await writer.close()
    held, asked = [], Counter()
    clear = loading.Loader.clear

    def cleared(self):
        held.append(len(self._read))
        clear(self)

    monkeypatch.setattr(loading.Loader, "clear", cleared)

    async def are_delivered(count=COUNT):
        return len(await world.received("all")) >= count

    async with world.shard() as shard:
        for name in ("event_at", "events_at"):
            monkeypatch.setattr(shard, name, counted(asked, name, getattr(shard, name)))
        async with world.publisher(shard):
            await eventually(are_delivered)
    assert sorted(key for key, _, _ in await world.received("all")) == sorted(f"p-{n}".encode() for n in range(COUNT))
    assert max(held) <= MOST_DELIVERED
    assert asked["event_at"] == 0
    assert asked["events_at"] <= COUNT // MOST_DELIVERED + 2


def counted(asked, name, original):
    async def ask(*args):
        asked[name] += 1
        return await original(*args)

    return ask
