"""What a shard is told of its topics is never an end that is older than what the group's offset knows."""

from __future__ import annotations

import pytest

from annals.topics.group_metadata import EventAt, GroupMetadata, RecordAt, decode_metadata
from annals.topics.names import TopicNames
from annals.topics.wire import NO_TIMESTAMP, encode_headers
from annals.workers.kafka.connections import CLUSTER
from annals.workers.kafka.write.batches import PartitionBatches
from annals.workers.kafka.write.journal import KafkaShardLog, ShardTopics
from annals.workers.kafka.write.transaction import Offsets, TransactionalWriter
from annals.workers.memory.client import Cluster
from annals.workers.memory.cluster import MemoryCluster, Topic
from interleaving import Between

NAMES = TopicNames()
LIMITS = dict.fromkeys(("commands", "events", "outcomes", "snapshots", "dead-letters"), 1 << 20)
TOPICS = ShardTopics(kind="person", partition=0, names=NAMES, limits=LIMITS, dead_partitions=1)
CID = bytes.fromhex("01711e20") + bytes(32)


@pytest.mark.parametrize("answers", range(1, 6))
async def test_a_successor_that_commits_between_two_answers_makes_no_end_seem_cut_off(answers: int) -> None:
    model = MemoryCluster({name: Topic(1) for name in TOPICS.all()})

    async def successor() -> None:
        writer = TransactionalWriter({CLUSTER: Cluster(model)}, "annals-events.person-0", TOPICS.all())
        await writer.fence()
        batches = {}
        for where in (TOPICS.events, TOPICS.outcomes):
            batches[where] = PartitionBatches(1 << 20, "none")
            batches[where].add(b"p-1", b"block", NO_TIMESTAMP, encode_headers([]))
        metadata = GroupMetadata(2, EventAt(0, CID), outcome=RecordAt(0, "0" * 32))
        offsets = Offsets("annals", *TOPICS.commands, 1, metadata.encode())
        await writer.commit({where: each.batches for where, each in batches.items()}, offsets, {})
        await writer.close()

    options = {CLUSTER: Cluster(model, Between(answers, successor))}
    log = KafkaShardLog(options, TOPICS, "annals-events.person-0", "annals", "none")
    seen = await log.look()
    await log.close()
    known = model.committed_offset("annals", TOPICS.commands)
    assert known is None or decode_metadata(known[1]).last is not None
    assert seen.last_event is None or seen.journal_end >= (seen.committed_journal_end or 0)
    assert seen.last_outcome is None or seen.outcomes_end > seen.last_outcome.offset
