"""The writer by itself, on a cluster with transactions of version 2 and on one without."""

import asyncio
import secrets
import socket
import struct
import time
from collections.abc import AsyncIterator, Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple, Self

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.client import AIOKafkaClient, CoordinationType
from aiokafka.protocol.transaction import InitProducerIdRequest

from annals.agents.ports import FencedError, LostEndError, UncertainError
from annals.topics.wire import encode_headers, unsigned_varint
from annals.workers.kafka.protocol.transactions_v2 import FEATURE, finalized_level
from annals.workers.kafka.protocol.wire_requests import NO_TAGS, EncodedRequest, compact
from annals.workers.kafka.write import transaction
from annals.workers.kafka.write.batches import PartitionBatches, RecordBatch
from annals.workers.kafka.write.transaction import Offsets, TransactionalWriter
from annals.workers.tools.broker import Broker
from chained import make_topics
from made_anew import delete
from whole_topics import until_settled

pytestmark = pytest.mark.broker

LIMIT = 1 << 20
LAST_EPOCH = (1 << 15) - 1
CONCURRENT_TRANSACTIONS = 51
NOTHING = encode_headers([])
PATIENCE_MS = "add.partitions.to.txn.retry.backoff.max.ms"  # so long a broker asks a coordinator that is busy, in all


@pytest.fixture(scope="module", params=[1, 2], ids=["version 1", "version 2"])
def level(request: pytest.FixtureRequest) -> int:
    """Of the transactions."""
    return int(request.param)


@pytest.fixture(scope="module")
def cluster(level: int, tmp_path_factory: pytest.TempPathFactory, cache_dir: Path | None) -> Iterator[str]:
    """A broker that has no patience with a coordinator that still writes markers: it asks once."""
    folder = tmp_path_factory.mktemp("transactions")
    with Broker(folder, cache_dir=cache_dir, features={FEATURE: level}, properties={PATIENCE_MS: "1"}) as broker:
        yield broker.bootstrap


@pytest.fixture
async def topic(cluster: str) -> str:
    name = f"t{secrets.token_hex(4)}"
    await make_topics(cluster, [name], partitions=2)
    return name


@pytest.fixture
async def new_writer(cluster: str, topic: str) -> AsyncIterator[Callable[[str], TransactionalWriter]]:
    """Makes a writer of a transactional id."""
    made: list[TransactionalWriter] = []

    def make(name: str) -> TransactionalWriter:
        made.append(TransactionalWriter({"bootstrap_servers": cluster}, f"{topic}-{name}", [topic]))
        return made[-1]

    yield make
    for writer in made:
        await writer.close()


@pytest.fixture
async def writer(new_writer: Callable[[str], TransactionalWriter]) -> TransactionalWriter:
    made = new_writer("writer")
    await made.fence()
    return made


def batches(topic: str, *values: bytes, partition: int = 0) -> dict[TopicPartition, list[RecordBatch]]:
    made = PartitionBatches(LIMIT)
    for value in values:
        made.add(None, value, int(time.time() * 1000), NOTHING)
    return {TopicPartition(topic, partition): made.batches}


def offsets(topic: str, next_offset: int) -> Offsets:
    return Offsets(f"{topic}-group", topic, 1, next_offset, "said")


async def values(cluster: str, topic: str, isolation: str = "read_committed") -> list[bytes | None]:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=cluster, group_id=None, isolation_level=isolation, enable_auto_commit=False
    )
    if isolation == "read_committed":
        await until_settled(cluster, topic)
    where = TopicPartition(topic, 0)
    found: list[bytes | None] = []
    async with consumer:
        consumer.assign([where])
        end = (await consumer.end_offsets([where]))[where]
        consumer.seek(where, 0)
        while await consumer.position(where) < end:
            found += [each.value for each in (await consumer.getmany(where, timeout_ms=200)).get(where, ())]
    return found


async def test_the_cluster_says_which_version_it_has(cluster: str, level: int, writer: TransactionalWriter) -> None:
    client = await writer.connected()
    node = next(iter(client.cluster.brokers())).nodeId
    assert await finalized_level(client, node, FEATURE) == level
    assert await finalized_level(client, node, "no.such.feature") == 0
    assert writer.is_implicit is (level == 2)


async def test_what_one_transaction_wrote_is_there_with_its_offset(
    cluster: str, topic: str, writer: TransactionalWriter
) -> None:
    await writer.commit(batches(topic, b"a", b"b"), offsets(topic, 7), {TopicPartition(topic, 0): 0})
    await writer.commit(batches(topic, b"c"), offsets(topic, 8), {TopicPartition(topic, 0): 3})  # behind a marker
    await writer.commit({}, offsets(topic, 9), {})
    await writer.fence()  # answered once the marker is written, by which the offset is there
    assert await values(cluster, topic) == [b"a", b"b", b"c"]
    async with AIOKafkaConsumer(bootstrap_servers=cluster, group_id=f"{topic}-group") as group:
        assert await group.committed(TopicPartition(topic, 1)) == 9


@pytest.mark.parametrize("markers_s", [0.0, 60.0], ids=["never asked first", "always asked first"])
async def test_transactions_that_follow_at_once_wait_for_the_markers_of_the_one_before(
    cluster: str,
    topic: str,
    level: int,
    writer: TransactionalWriter,
    markers_s: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refused: list[object] = []
    ask = writer._ask_to_produce

    async def noting(*args: Any) -> Any:
        offsets = await ask(*args)
        refused.extend(offset for offset in offsets.values() if offset is None)
        return offsets

    monkeypatch.setattr(transaction, "MARKERS_S", markers_s)
    monkeypatch.setattr(writer, "_ask_to_produce", noting)
    written, at = [], 0
    for number in range(300):
        value = b"%d" % number
        await writer.commit(batches(topic, value), offsets(topic, number), {TopicPartition(topic, 0): at})
        written.append(value)
        at += 2
    assert await values(cluster, topic) == written
    assert bool(refused) is (level == 2 and not markers_s)


@pytest.mark.parametrize("level", [2], indirect=True)
async def test_a_coordinator_that_stays_busy_is_given_up(
    topic: str, level: int, writer: TransactionalWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def busy(node: int, topics: Any) -> Any:
        return {(topic, partition): None for topic, batches in topics.items() for partition, _ in batches}

    monkeypatch.setattr(transaction, "BUSY_PATIENCE_S", 0.05)
    monkeypatch.setattr(writer, "_ask_to_produce", busy)
    async with asyncio.timeout(30):
        with pytest.raises(UncertainError, match=r"ConcurrentTransactions.*the coordinator was busy"):
            await writer.commit(batches(topic, b"a"), offsets(topic, 1), {})


async def test_an_older_writer_is_fenced_and_says_so(
    cluster: str, topic: str, writer: TransactionalWriter, new_writer: Callable[[str], TransactionalWriter]
) -> None:
    await writer.commit(batches(topic, b"a"), offsets(topic, 1), {TopicPartition(topic, 0): 0})
    newer = new_writer("writer")
    await newer.fence()
    with pytest.raises(FencedError):
        await writer.commit(batches(topic, b"late"), offsets(topic, 2), {})
    await newer.commit(batches(topic, b"b"), offsets(topic, 2), {})
    assert await values(cluster, topic) == [b"a", b"b"]


async def test_where_the_end_is_below_the_known_one_nothing_is_committed(
    cluster: str, topic: str, writer: TransactionalWriter
) -> None:
    await writer.commit(batches(topic, b"a"), offsets(topic, 1), {TopicPartition(topic, 0): 0})
    with pytest.raises(LostEndError, match="ends at offset 2, and it reached 9 before") as raised:
        await writer.commit(batches(topic, b"b"), offsets(topic, 2), {TopicPartition(topic, 0): 9})
    assert raised.value.end == 2
    await writer.fence()  # ends what is open
    assert await values(cluster, topic) == [b"a"]


async def test_where_somebody_else_wrote_meanwhile_nothing_is_committed(
    cluster: str, topic: str, writer: TransactionalWriter, new_writer: Callable[[str], TransactionalWriter]
) -> None:
    other = new_writer("other")
    await other.fence()
    await other.commit(batches(topic, b"other's"), offsets(topic, 1), {})
    with pytest.raises(UncertainError, match="somebody else writes"):
        await writer.commit(batches(topic, b"a"), offsets(topic, 1), {TopicPartition(topic, 0): 0})
    await writer.fence()  # ends what is open
    await writer.commit(batches(topic, b"b"), offsets(topic, 1), {})
    assert await values(cluster, topic) == [b"other's", b"b"]
    assert await values(cluster, topic, "read_uncommitted") == [b"other's", b"a", b"b"]


async def test_a_topic_or_a_partition_that_is_gone_is_named(cluster: str, level: int) -> None:
    """Goes red when all that is told is an error's class, or that the partition has no leader at present."""
    told = (
        "{}-{} is not taken into the transaction" if level == 1 else "there is no {}-{}: the topic has fewer partitions"
    )
    name = f"t{secrets.token_hex(4)}"
    await make_topics(cluster, [name])
    writer = TransactionalWriter({"bootstrap_servers": cluster, "request_timeout_ms": 2_000}, f"{name}-id", [name])
    try:
        await writer.fence()
        with pytest.raises(UncertainError, match=told.format(name, 1)):
            await writer.commit(batches(name, b"1", partition=1), offsets(name, 1), {})
        await writer.fence()
        delete(cluster, name)
        await (await writer.connected()).force_metadata_update()
        with pytest.raises(
            UncertainError, match=f"{name}-0 is not taken" if level == 1 else f"there is no topic {name}"
        ):
            await writer.commit(batches(name, b"1"), offsets(name, 1), {})
    finally:
        await writer.close()


async def test_a_commit_that_comes_again_ends_the_next_transaction_only_before_version_2(
    cluster: str, topic: str, level: int, writer: TransactionalWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reason for version 2: there a doubled or delayed EndTxn names an epoch that is over."""
    sent: list[bytes] = []
    send = AIOKafkaClient.send

    async def noting(client: Any, node: int, request: Any, **options: Any) -> Any:
        if request.API_KEY == 26:
            struct_ = request.prepare(client._conns[(node, options["group"])]._versions)
            head = struct_.build_request_header(correlation_id=1, client_id="late")
            sent.append(head.encode() + struct_.encode())
        return await send(client, node, request, **options)

    monkeypatch.setattr(AIOKafkaClient, "send", noting)
    await writer.commit(batches(topic, b"a"), offsets(topic, 1), {})
    (late,) = sent

    async def stray(*_: Any) -> None:
        """Comes where the second transaction has its records, but not its end."""
        host, port = cluster.split(":")
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(struct.pack(">i", len(late)) + late)
            connection.recv(4)
        raise ConnectionResetError("and the writer dies")

    monkeypatch.setattr(writer, "_commit_offsets", stray)
    with pytest.raises(UncertainError):
        await writer.commit(batches(topic, b"never committed"), offsets(topic, 2), {})
    await writer.fence()
    assert await values(cluster, topic) == ([b"a"] if level == 2 else [b"a", b"never committed"])


async def to_the_last_epochs(writer: TransactionalWriter, topic: str) -> None:
    """An epoch has 15 bits, and each transaction of version 2 takes one: a busy shard has done so in minutes."""
    client = await writer.connected()
    node = await client.coordinator_lookup(CoordinationType.TRANSACTION, f"{topic}-writer")
    request = InitProducerIdRequest(f"{topic}-writer", 10_000)
    while (answer := await client.send(node, request)).producer_epoch < LAST_EPOCH - 3:  # each takes one, too
        assert answer.error_code in {0, CONCURRENT_TRANSACTIONS}
    await writer.fence()


@pytest.mark.parametrize("level", [2], indirect=True)
async def test_epochs_run_out_and_transactions_go_on_under_another_producer_id(
    cluster: str,
    topic: str,
    level: int,
    new_writer: Callable[[str], TransactionalWriter],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    *zombies, writer = (new_writer("writer") for _ in range(3))
    for zombie in zombies:  # each is the owner for a while
        await zombie.fence()
        await zombie.commit(batches(topic, b"zombie's"), offsets(topic, 0), {})
    await to_the_last_epochs(writer, topic)
    producer, written = writer._producer_id, [b"zombie's"] * len(zombies)
    for number in range(6):
        written.append(b"%d" % number)
        await writer.commit(batches(topic, written[-1]), offsets(topic, number), {})
    assert writer._producer_id != producer
    assert writer._epoch < 6

    # whoever was the owner under the old producer id is told that it is none, whatever it asks for first
    monkeypatch.setattr(transaction, "MARKERS_S", 60.0)
    with pytest.raises(FencedError):
        await zombies[0].commit(batches(topic, b"never"), offsets(topic, 9), {})
    monkeypatch.setattr(transaction, "MARKERS_S", 0.0)
    with pytest.raises(FencedError):
        await zombies[1].commit(batches(topic, b"never", partition=1), offsets(topic, 9), {})
    assert await values(cluster, topic, "read_uncommitted") == written


class UpdateFeature(EncodedRequest):
    """UpdateFeatures of Kafka's protocol, for one feature."""

    API_KEY = 57
    API_VERSION = 1
    IS_FLEXIBLE = True

    class RESPONSE_TYPE(NamedTuple):  # noqa: N801 - aiokafka's name
        """The error's code."""

        code: int

        @classmethod
        def decode(cls, data: BytesIO) -> Self:
            """Decode an answer, its header left out."""
            return cls(*struct.unpack(">4xh", data.read(6)))

    def __init__(self, level: int, upgrade_type: int) -> None:
        """Take the level, and 1 to go up, 2 to go down."""
        update = compact(FEATURE.encode()) + struct.pack(">hb", level, upgrade_type) + NO_TAGS
        super().__init__(struct.pack(">i", 30_000) + unsigned_varint(2) + update + b"\0" + NO_TAGS)


@pytest.mark.parametrize("level", [1], indirect=True)
async def test_the_version_may_change_while_a_writer_is_at_work(
    cluster: str, topic: str, level: int, writer: TransactionalWriter
) -> None:
    async def become(level: int, upgrade_type: int) -> None:
        client = await writer.connected()
        node = next(iter(client.cluster.brokers())).nodeId
        assert (await client.send(node, UpdateFeature(level, upgrade_type))).code == 0
        async with asyncio.timeout(30):
            while await finalized_level(client, node, FEATURE) != level:  # noqa: ASYNC110 - only the broker knows
                await asyncio.sleep(0)

    await writer.commit(batches(topic, b"a"), offsets(topic, 1), {})
    await become(2, 1)
    try:
        await writer.commit(batches(topic, b"b"), offsets(topic, 2), {})
        assert not writer.is_implicit
        await writer.fence()
        await writer.commit(batches(topic, b"c"), offsets(topic, 3), {})
        assert writer.is_implicit
    finally:
        await become(1, 2)
    await writer.commit(batches(topic, b"d"), offsets(topic, 4), {})
    assert writer.is_implicit
    await writer.fence()
    await writer.commit(batches(topic, b"e"), offsets(topic, 5), {})
    assert not writer.is_implicit
    assert await values(cluster, topic) == [b"a", b"b", b"c", b"d", b"e"]
