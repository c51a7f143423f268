"""What several subscriptions get alike is made once: their topics differ, and nothing that is in them."""

import pytest

from annals.agents.aggregates import REGISTRY
from annals.agents.publishing.ports import Kept, Writes
from annals.agents.publishing.selection import Subscribed, select
from annals.agents.reading.found import JournalEvent
from annals.schemas.chain import decode_again
from annals.schemas.subscription import Definition, Record
from annals.workers.kafka.protocol.record_batches import batches_of
from annals.workers.kafka.write import batches
from annals.workers.publishing.log import KafkaPublishLogs
from chained import chain
from publishing import NAMES

EVENTS = [
    JournalEvent(offset, decode_again(sealed.value or b""), sealed.value or b"", sealed.cid, ())
    for offset, sealed in enumerate([*chain("p-1", 3), *chain("p-2", 2)])
]
WANTS_ALL = {"all-1": {}, "all-2": {}, "all-3": {}}
OTHERS = {
    "by-name": {"key": "data.name"},
    "blocks": {"payload": "block"},
    "few": {"filters": [{"suffix": {"subject": "2"}}]},
}
PARTITIONS = {NAMES.subscribers("all-3"): 2}


async def written(wishes, monkeypatch):
    """Return what each subscription's topic gets by partition, as bytes of batches, and how many were compressed."""
    compressed = []

    def compress(records: bytes) -> bytes:
        compressed.append(records)
        return records

    monkeypatch.setitem(batches.CODECS, "zstd", (0, compress))
    log = KafkaPublishLogs({}, NAMES, "annals", "person", 0, 4, "zstd").live()

    async def count(topic):
        return PARTITIONS.get(topic, 4)

    monkeypatch.setattr(log, "_partitions_of", count)
    subscribed = [
        (Subscribed(Kept(Record(Definition(name, **wish), 1, {"person": [0]}), 0), "person", 0), 0)
        for name, wish in wishes.items()
    ]
    records = select(EVENTS, subscribed, REGISTRY["person"]).records
    made = await log._batches(Writes(records, {}, 0))
    found = {
        where: b"".join(batch.build(7, number, number) for batch in of_partition)
        for number, (where, of_partition) in enumerate(made.items())
    }
    return found, len(compressed)


def records_in(found):
    return {where: [list(batch.records()) for batch in batches_of(data)] for where, data in found.items()}


async def test_what_several_get_alike_is_compressed_once(monkeypatch):
    one, times = await written({"all-1": {}}, monkeypatch)
    two, times_of_two = await written({"all-1": {}, "all-2": {}}, monkeypatch)
    assert times_of_two == times == len(one)
    assert len(two) == 2 * len(one), "each has a batch of its own, with a number of its own"


async def test_each_gets_what_it_would_get_alone(monkeypatch):
    """Goes red where records are taken for the same that differ in key, value, or number of partitions."""
    together, _ = await written({**WANTS_ALL, **OTHERS}, monkeypatch)
    alone = {}
    for name, wish in {**WANTS_ALL, **OTHERS}.items():
        found, _ = await written({name: wish}, monkeypatch)
        alone |= records_in(found)
    assert records_in(together) == alone
    assert {where[1] for where in alone if where[0] == NAMES.subscribers("all-3")} <= {0, 1}


@pytest.mark.parametrize("codec", ["none", "lz4"])
def test_a_batch_that_goes_on_being_filled_is_built_anew(codec):
    whole, begun = batches.RecordBatch(codec), batches.RecordBatch(codec)
    records = [(b"k", b"v", -1, b"\0"), (b"l", b"w", -1, b"\0")]
    whole.fill(records, 0, 1 << 20)
    begun.fill(records[:1], 0, 1 << 20)
    begun.build(1, 1, 1)
    begun.fill(records[1:], 0, 1 << 20)
    assert begun.build(1, 1, 1) == whole.build(1, 1, 1)
