"""What `annals journal accept` compares, over Kafka's log in memory."""

from __future__ import annotations

import pytest
from aiokafka.structs import TopicPartition

from annals.schemas.cid import cid_text
from annals.schemas.outcome import ACCEPTED
from annals.topics.group_metadata import EventAt, GroupMetadata, decode_metadata
from annals.topics.names import TopicNames
from annals.topics.wire import NO_TIMESTAMP, encode_headers
from annals.workers.audit.acceptance import Comparison, Deployment, accept, compare
from annals.workers.audit.kept_heads import KeptHead
from annals.workers.kafka.connections import CLUSTER
from annals.workers.kafka.write.batches import PartitionBatches
from annals.workers.kafka.write.transaction import Offsets, TransactionalWriter
from annals.workers.memory.client import Cluster, Direct
from annals.workers.memory.cluster import MemoryCluster, Topic
from chained import Sealed, chain, sealed
from interleaving import Between

NAMES = TopicNames()
COMMANDS, EVENTS, OUTCOMES = NAMES.commands("person"), NAMES.events("person"), NAMES.outcomes("person")


def outcome_of(event: Sealed) -> bytes:
    members = (
        f'"command_id":"c","kind":"person","aggregate_id":"p-1","status":"{ACCEPTED}","version":{event.version},'
        f'"head":"{cid_text(event.cid)}","events":[{{"version":{event.version},"type":"PersonRenamed",'
        f'"cid":"{cid_text(event.cid)}"}}],"error":null'
    )
    return f"{{{members}}}".encode()


async def commit(model: MemoryCluster, event: Sealed, offset: int) -> None:
    """Write an event with its outcome and the group's offset, as a worker does."""
    writer = TransactionalWriter({CLUSTER: Cluster(model)}, "annals-events.person-0", [COMMANDS, EVENTS, OUTCOMES])
    await writer.fence()
    batches = {}
    for topic, value in ((EVENTS, event.value or b""), (OUTCOMES, outcome_of(event))):
        batches[TopicPartition(topic, 0)] = PartitionBatches(1 << 20, "none")
        batches[TopicPartition(topic, 0)].add(b"p-1", value, NO_TIMESTAMP, encode_headers([]))
    end = model.logs[EVENTS, 0].end
    metadata = GroupMetadata(end + 2, EventAt(end, event.cid))
    offsets = Offsets(NAMES.group("annals"), COMMANDS, 0, offset, metadata.encode())
    await writer.commit({where: each.batches for where, each in batches.items()}, offsets, {})
    await writer.close()


async def compared(model: MemoryCluster, heads: list[Sealed], network: Direct | None = None) -> Comparison:
    deployment = Deployment({CLUSTER: Cluster(model, network)}, NAMES, NAMES.group("annals"))
    (found,) = await compare(deployment, "person", [KeptHead("p-1", event.cid) for event in heads])
    return found


def topics() -> MemoryCluster:
    return MemoryCluster({name: Topic(1) for name in (COMMANDS, EVENTS, OUTCOMES)})


async def test_headers_that_differ_from_their_block_hinder_nothing() -> None:
    """They play no part in what counts: such an event would otherwise keep a journal from ever being accepted."""
    model, (first, second) = topics(), chain("p-1", 2)
    await commit(model, first, 1)
    await commit(model, second, 2)
    model.logs[EVENTS, 0].truncate(2)
    found = await compared(model, [first, second])
    assert {each.cid for each in found.missing} == {cid_text(second.cid)}
    assert (found.matches, found.broken, found.is_acceptable(give_up=True)) == (False, [], True)
    await accept(Deployment({CLUSTER: Cluster(model)}, NAMES, NAMES.group("annals")), "person", found)
    assert (await compared(model, [])).matches


async def test_a_loss_that_kept_heads_alone_tell_is_accepted_once() -> None:
    """The group's offset and the outcomes are gone as well: what a worker or its store knows stops it all the same."""
    model, (first, second) = topics(), chain("p-1", 2)
    await commit(model, first, 1)
    await commit(model, second, 2)
    model.logs[EVENTS, 0].truncate(2)
    model.logs[OUTCOMES, 0].truncate(0)
    group = NAMES.group("annals")
    model.groups[group].committed.clear()
    found = await compared(model, [first, second])
    assert [each.cid for each in found.missing] == [cid_text(second.cid)]
    assert [found.is_acceptable(give_up=each) for each in (False, True)] == [False, True]
    await accept(Deployment({CLUSTER: Cluster(model)}, NAMES, group), "person", found)
    _, metadata = model.groups[group].committed[COMMANDS, 0]
    assert decode_metadata(metadata).accepted_until > 0
    again = await compared(model, [first, second])
    assert (len(again.missing), again.is_acceptable(give_up=True)) == (1, False)


async def test_a_kept_head_whose_record_is_there_and_does_not_count_is_missing() -> None:
    """What follows an altered event is void: its records are there, and nothing that was handed out is proven."""
    model, (first, second, third) = topics(), chain("p-1", 3)
    forged = sealed("p-1", 2, first.cid, data={"name": "Eve"})
    for offset, event in enumerate([first, forged, third], 1):
        await commit(model, event, offset)
    found = await compared(model, [first, second, third])
    said = {each.cid for each in found.missing if each.said_by == "a kept head"}
    assert said == {cid_text(second.cid), cid_text(third.cid)}
    assert (found.lost, found.is_whole) == ([], False)


async def test_a_gap_is_never_accepted() -> None:
    model, (first, second, third) = topics(), chain("p-1", 3)
    await commit(model, first, 1)
    await commit(model, third, 2)
    model.logs[EVENTS, 0].truncate(4)
    await commit(model, second, 3)
    model.logs[EVENTS, 0].truncate(4)
    found = await compared(model, [])
    assert not found.matches
    assert "gap" in found.broken[0]
    assert not found.is_acceptable(give_up=True)


@pytest.mark.parametrize("answers", range(1, 20))
async def test_nothing_is_missing_where_a_worker_goes_on_meanwhile(answers: int) -> None:
    model, (first, second) = topics(), chain("p-1", 2)
    await commit(model, first, 1)
    found = await compared(model, [first], Between(answers, lambda: commit(model, second, 2)))
    assert (found.lost, found.missing, found.broken) == ([], [], [])
