"""Random scripts of what producers, coordinators and readers ask of Kafka, for the log in memory and for brokers alike.

A script is carried out request by request through a client; both kinds of client take the same requests.
"""

import asyncio
import random
import time
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from aiokafka.client import ConnectionGroup, CoordinationType
from aiokafka.errors import KafkaError
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.protocol.transaction import (
    AddOffsetsToTxnRequest,
    AddPartitionsToTxnRequest,
    EndTxnRequest,
    InitProducerIdRequest,
    TxnOffsetCommitRequest,
)
from aiokafka.record.util import calc_crc32c
from aiokafka.structs import TopicPartition

from annals.topics.wire import encode_headers
from annals.workers.kafka.protocol.transactions_v2 import (
    ImplicitProduceRequest,
    ImplicitTxnOffsetCommitRequest,
    RenewingEndTxnRequest,
)
from annals.workers.kafka.read.offsets import FIRST, HIGH_WATERMARK, LAST, LAST_STABLE, committed, list_offsets
from annals.workers.kafka.read.ranges import read_range
from annals.workers.kafka.write.batches import HEADER, TRANSACTIONAL, RecordBatch

BUSY = {
    51,
    19,
    14,
    15,
    16,
}  # CONCURRENT_TRANSACTIONS, what an old Produce is told of it, and a cluster that has just begun
WITHIN_S = 30
TIMEOUT_MS = 600_000
PARTITIONS = 2
LIMIT = 1 << 20
NOW_MS = int(time.time() * 1000)
HOUR_MS = 3_600_000


class Step(NamedTuple):
    """One step: what is asked, by which of the tokens that were given out, of which partition, and a number."""

    what: str
    who: int
    partition: int
    number: int


def script(seed: int, length: int = 50) -> list[Step]:
    """The steps of a seed."""
    rng = random.Random(seed)
    weights = {
        "init": 2,
        "add": 4,
        "add_group": 2,
        "produce": 10,
        "again": 1,
        "gap": 1,
        "offset": 4,
        "commit": 7,
        "abort": 2,
        "late_end": 1,
        "plain": 2,
        "too_large": 1,
        "future": 1,
        "delete": 1,
    }
    asked = rng.choices(list(weights), list(weights.values()), k=length)
    head = [Step("init", who, 0, 0) for who in range(2)]
    return head + [Step(what, rng.randrange(8), rng.randrange(PARTITIONS), rng.randrange(1, 5)) for what in asked]


@dataclass
class Token:
    """What a writer holds: its transactional id, producer and epoch, and where its sequence numbers are."""

    transactional_id: str
    producer_id: int
    epoch: int
    sequences: dict[int, int] = field(default_factory=dict)
    last: tuple[int, bytes] | None = None
    former: "Token | None" = None


@dataclass
class Site:
    """Where a script is carried out."""

    client: Any
    topic: str
    group: str
    is_implicit: bool
    timeout_ms: int = TIMEOUT_MS
    tokens: list[Token] = field(default_factory=list)
    written: int = 0

    async def delete_records(self, partition: int, before: int) -> int:
        """Let what is below an offset expire; return the code."""
        raise NotImplementedError


def batch(
    site: Site, count: int, producer_id: int, epoch: int, sequence: int, *, size: int = 8, ms: int = NOW_MS
) -> bytes:
    """A batch of so many records, with what tells it from all others in their values."""
    site.written += 1
    made = RecordBatch()
    records = [(b"k", b"%d.%d" % (site.written, each) + b"x" * size, ms, encode_headers([])) for each in range(count)]
    assert made.fill(records, 0, 1 << 30) == count
    data = made.build(producer_id, epoch, sequence)
    if producer_id >= 0:
        return data
    fields = list(HEADER.unpack_from(data))
    fields[5] &= ~TRANSACTIONAL
    return checked(HEADER.pack(*fields) + data[HEADER.size :])


def checked(data: bytes) -> bytes:
    """The batch with the checksum of what it holds."""
    return data[:17] + calc_crc32c(data[21:]).to_bytes(4, "big") + data[21:]


class RenewingAbortRequest(RenewingEndTxnRequest):
    """EndTxn without commit: the writer never sends it, it fences itself."""

    def __init__(self, transactional_id: str, producer: int, epoch: int) -> None:
        super().__init__(transactional_id, producer, epoch)
        self._encoded = self._encoded[:-2] + b"\0" + self._encoded[-1:]


async def leader(site: Site) -> int:
    return next(iter(site.client.cluster.brokers())).nodeId


async def patiently(ask: Any) -> Any:
    """Ask until there is an answer: a broker that has just started makes its own topics first."""
    async with asyncio.timeout(WITHIN_S):
        while True:
            try:
                return await ask()
            except KafkaError as error:
                if not error.retriable:
                    raise
                await asyncio.sleep(0.01)


async def coordinate(site: Site, kind: CoordinationType, key: str, request: Any) -> Any:
    async def ask() -> Any:
        node = await site.client.coordinator_lookup(kind, key)
        return await site.client.send(node, request, group=ConnectionGroup.COORDINATION)

    return await patiently(ask)


async def until_not_busy(ask: Any) -> int:
    """Ask until nobody is busy with the transaction before; return the code."""
    async with asyncio.timeout(WITHIN_S):
        while (code := await ask()) in BUSY:  # noqa: ASYNC110 - only the broker knows
            await asyncio.sleep(0.002)
    return code


async def carry_out(site: Site, step: Step) -> tuple[int, int]:
    """Carry a step out; return the code, and the base offset where there is one."""
    if step.what == "init":
        return await init(site, f"{site.topic}-id-{step.who % 2}"), -1
    if step.what in {"plain", "too_large", "future"}:
        size = LIMIT if step.what == "too_large" else 8
        ms = NOW_MS + 2 * HOUR_MS if step.what == "future" else NOW_MS
        data = batch(site, step.number, -1, -1, -1, size=size, ms=ms)
        request = ProduceRequest(None, -1, 30_000, [(site.topic, [(step.partition, data)])])
        answer = await site.client.send(await leader(site), request)
        _, code, base, *_ = answer.topics[0][1][0]
        return code, base
    if step.what == "delete":
        return await delete(site, step.partition, step.number), -1
    token = site.tokens[-1 - step.who % min(len(site.tokens), 3)]
    if step.what == "late_end":
        token = token.former or token
        return await end(site, replace(token), commits=True), -1
    if step.what in {"commit", "abort"}:
        return await end(site, token, commits=step.what == "commit"), -1
    if step.what == "add":
        request = AddPartitionsToTxnRequest(
            token.transactional_id, token.producer_id, token.epoch, [(site.topic, [step.partition])]
        )
        return await until_not_busy(lambda: added(site, token, request)), -1
    if step.what == "add_group":
        request = AddOffsetsToTxnRequest(token.transactional_id, token.producer_id, token.epoch, site.group)
        return await until_not_busy(lambda: added(site, token, request)), -1
    if step.what == "offset":
        return await commit_offset(site, token, step), -1
    return await produce(site, token, step)


async def init(site: Site, transactional_id: str) -> int:
    async def ask() -> int:
        request = InitProducerIdRequest(transactional_id, site.timeout_ms)
        answer = await coordinate(site, CoordinationType.TRANSACTION, transactional_id, request)
        if not answer.error_code:
            site.tokens.append(Token(transactional_id, answer.producer_id, answer.producer_epoch))
        return answer.error_code

    return await until_not_busy(ask)


async def added(site: Site, token: Token, request: Any) -> int:
    answer = await coordinate(site, CoordinationType.TRANSACTION, token.transactional_id, request)
    return answer.error_code if hasattr(answer, "error_code") else answer.errors[0][1][0][1]


async def produce(site: Site, token: Token, step: Step) -> tuple[int, int]:
    sequence = token.sequences.get(step.partition, 0)
    partition = step.partition
    if step.what == "again" and token.last is not None:
        partition, data = token.last
    else:
        wanted = sequence + (7 if step.what == "gap" else 0)
        data = batch(site, step.number, token.producer_id, token.epoch, wanted)
    base = -1

    async def ask() -> int:
        nonlocal base
        if site.is_implicit:
            request: Any = ImplicitProduceRequest(token.transactional_id, -1, 30_000, {site.topic: [(partition, data)]})
        else:
            request = ProduceRequest(token.transactional_id, -1, 30_000, [(site.topic, [(partition, data)])])
        answer = await site.client.send(await leader(site), request)
        _, code, base, *_ = answer.topics[0][1][0]
        return code

    code = await until_not_busy(ask)
    if not code and step.what == "produce":
        token.sequences[partition] = sequence + step.number
        token.last = partition, data
    return code, base


async def commit_offset(site: Site, token: Token, step: Step) -> int:
    offset, said = step.number * 10, f"said {step.number}"

    async def ask() -> int:
        producer = site.group, token.producer_id, token.epoch
        request: Any
        if site.is_implicit:
            where = TopicPartition(site.topic, step.partition)
            request = ImplicitTxnOffsetCommitRequest(token.transactional_id, *producer, where, offset, said)
        else:
            entries = [(site.topic, [(step.partition, offset, said)])]
            request = TxnOffsetCommitRequest(token.transactional_id, *producer, entries)
        answer = await coordinate(site, CoordinationType.GROUP, site.group, request)
        return answer.errors[0][1][0][1]

    return await until_not_busy(ask)


async def end(site: Site, token: Token, *, commits: bool) -> int:
    async def ask() -> int:
        request: Any
        if site.is_implicit:
            kind = RenewingEndTxnRequest if commits else RenewingAbortRequest
            request = kind(token.transactional_id, token.producer_id, token.epoch)
        else:
            request = EndTxnRequest(token.transactional_id, token.producer_id, token.epoch, commits)
        answer = await coordinate(site, CoordinationType.TRANSACTION, token.transactional_id, request)
        if not answer.error_code and site.is_implicit:
            renewed = answer.producer_id, answer.producer_epoch
            if renewed != (token.producer_id, token.epoch):
                token.former = replace(token)
                token.producer_id, token.epoch = renewed
                token.sequences, token.last = {}, None
        return answer.error_code

    return await until_not_busy(ask)


async def delete(site: Site, partition: int, number: int) -> int:
    """Let a part of what is stable expire."""
    where = TopicPartition(site.topic, partition)
    start = (await list_offsets(site.client, HIGH_WATERMARK, FIRST, [where]))[where]
    stable = (await list_offsets(site.client, LAST_STABLE, LAST, [where]))[where]
    return await site.delete_records(partition, start + (stable - start) * number // 8)


async def seen(site: Site) -> dict[str, Any]:
    """What anybody can see: the offsets of each partition, the records of each, and the group's offsets."""
    found: dict[str, Any] = {}
    for partition in range(PARTITIONS):
        where = TopicPartition(site.topic, partition)
        start = (await list_offsets(site.client, HIGH_WATERMARK, FIRST, [where]))[where]
        stable = (await list_offsets(site.client, LAST_STABLE, LAST, [where]))[where]
        end = (await list_offsets(site.client, HIGH_WATERMARK, LAST, [where]))[where]
        records = [
            (offset, value)
            async for step in read_range(site.client, where, start, stable)
            for offset, _, value, _ in step
        ]
        found[f"partition {partition}"] = start, stable, end, records
        found[f"offset {partition}"] = await patiently(lambda where=where: committed(site.client, site.group, where))
    return found
