"""A disk changes a batch's length or base offset, which are in no checksum, under a running broker: all name it."""

import asyncio
import struct
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.client import AIOKafkaClient
from aiokafka.structs import TopicPartition

from annals.agents.ports import DamagedBatchError
from annals.schemas.cid import cid_text
from annals.workers.audit import unread
from annals.workers.audit.scan import Unread
from annals.workers.audit.unread import read_around
from annals.workers.audit.verify import verify_journals
from annals.workers.kafka.connections import connect
from annals.workers.kafka.group import lone_batches
from annals.workers.kafka.protocol.record_batches import ChecksumError
from annals.workers.kafka.read import ranges
from annals.workers.kafka.read.ranges import FETCH_BYTES, NextRecords, read_range
from annals.workers.kafka.read.single_record import record_at
from annals.workers.kafka.write import committed_records
from annals.workers.kafka.write.committed_records import read_partition
from annals.workers.settings import Settings
from annals.workers.tools.broker import Broker
from chained import Sealed, chain, write
from processes import ENTRY_POINT, own_environment

pytestmark = pytest.mark.broker

WITHIN_S = 60
HEAD = struct.Struct(">qi")  # a batch's base offset, and its length behind these two
COUNT, AT = 6, 3
TOPIC = "events.person"
WHERE = TopicPartition(TOPIC, 0)
NAMED = f"{TOPIC}-0: the record batch at offset {AT} is damaged"
EVENTS: list[Sealed] = chain("p-1", COUNT)


def beyond_the_file(length: int) -> int:
    return length + (1 << 30)


def into_the_next(length: int) -> int:
    return length + 8


def with_the_next(length: int) -> int:
    return 2 * length + HEAD.size


def into_itself(length: int) -> int:
    return length - 8


def none_at_all(length: int) -> int:
    return 0 * length


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory, cache_dir: Path | None) -> Iterator[Broker]:
    """A broker with the topics of a deployment, and in one of them a journal of six batches that are of one size."""
    with Broker(tmp_path_factory.mktemp("rotting"), cache_dir=cache_dir) as made:
        done = subprocess.run([ENTRY_POINT, "topics", "create"], env=settings(made), capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
        asyncio.run(fill(made))
        yield made


@pytest.fixture(autouse=True)
def asked_again_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a leader that sends nothing; commands in processes of their own ask for half a minute."""
    monkeypatch.setattr(ranges, "PATIENCE_S", 2.0)
    monkeypatch.setattr(unread, "PATIENCE_S", 2.0)


async def fill(broker: Broker) -> None:
    for event in EVENTS:
        await write(broker.bootstrap, TOPIC, [event])


def settings(broker: Broker) -> dict[str, str]:
    return own_environment(ANNALS_BOOTSTRAP_SERVERS=broker.bootstrap, ANNALS_PARTITIONS="1")


def other_length(broker: Broker, changed: Callable[[int], int]) -> AbstractContextManager[None]:
    """Have another length in the head of the batch at an offset, for as long as this lasts."""
    return other_head(broker, lambda length: (AT, changed(length)))


def other_base(broker: Broker, base: int) -> AbstractContextManager[None]:
    """Have another base offset in the head of that batch."""
    return other_head(broker, lambda length: (base, length))


@contextmanager
def other_head(broker: Broker, changed: Callable[[int], tuple[int, int]]) -> Iterator[None]:
    (segment,) = (broker.data_dir / "kafka" / f"{TOPIC}-0").glob("*.log")
    data, at = segment.read_bytes(), 0
    while (head := HEAD.unpack_from(data, at))[0] < AT:
        at += HEAD.size + head[1]
    whole = data[at : at + HEAD.size]

    def put(head: bytes) -> None:
        with segment.open("r+b") as file:
            file.seek(at)
            file.write(head)

    put(HEAD.pack(*changed(head[1])))
    try:
        yield
    finally:
        put(whole)


@contextmanager
def without_end(broker: Broker) -> Iterator[None]:
    """Have the first batch be as long as a file can be, behind which nothing is found."""
    (segment,) = (broker.data_dir / "kafka" / f"{TOPIC}-0").glob("*.log")
    whole = segment.read_bytes()[: HEAD.size]

    def put(head: bytes) -> None:
        with segment.open("r+b") as file:
            file.write(head)

    put(HEAD.pack(0, 1 << 30))
    try:
        yield
    finally:
        put(whole)


@contextmanager
def removed(broker: Broker, offset: int = AT) -> Iterator[None]:
    """Have no batch at an offset, as where somebody took it out of the file."""
    (segment,) = (broker.data_dir / "kafka" / f"{TOPIC}-0").glob("*.log")
    whole, at = segment.read_bytes(), 0
    while (head := HEAD.unpack_from(whole, at))[0] < offset:
        at += HEAD.size + head[1]

    def put(data: bytes) -> None:
        broker.stop()
        segment.write_bytes(data)
        broker.start()

    put(whole[:at] + whole[at + HEAD.size + head[1] :])
    try:
        yield
    finally:
        put(whole)


@asynccontextmanager
async def connected(broker: Broker) -> AsyncIterator[AIOKafkaClient]:
    client = await connect({"bootstrap_servers": broker.bootstrap}, [TOPIC])
    try:
        yield client
    finally:
        await client.close()


async def read_into(
    found: dict[int, bytes | None],
    client: AIOKafkaClient,
    start: int,
    most_bytes: int = FETCH_BYTES,
    *,
    is_checked: bool,
) -> None:
    """Read from an offset to the end; the value of each offset."""
    async for some in read_range(client, WHERE, start, COUNT, most_bytes, is_checked=is_checked):
        found |= {offset: value for offset, _, value, _ in some}


@pytest.mark.parametrize("is_checked", [True, False])
@pytest.mark.parametrize("start", [0, AT, AT + 1])
@pytest.mark.parametrize("length", [beyond_the_file, into_the_next, into_itself, none_at_all])
async def test_a_range_ends_where_a_length_is_wrong_and_names_the_place(
    broker: Broker, length: Callable[[int], int], start: int, *, is_checked: bool
) -> None:
    """Goes red when what never comes is asked for without end."""
    found: dict[int, bytes | None] = {}
    with other_length(broker, length):
        async with connected(broker) as client, asyncio.timeout(WITHIN_S):
            with pytest.raises(
                DamagedBatchError, match=r"events\.person-0: the record batch at offset [34] is damaged"
            ):
                await read_into(found, client, start, is_checked=is_checked)
    read = {offset: value for offset, value in found.items() if value is not None}
    before = {offset: EVENTS[offset].value for offset in range(start, AT)}
    whole_though_its_length_is_not = {} if is_checked else {AT: EVENTS[AT].value}
    assert before.items() <= read.items() <= {**before, **whole_though_its_length_is_not}.items()


async def test_a_batch_that_passes_for_a_part_of_the_one_before_it_is_told(broker: Broker) -> None:
    """Goes red when its record is gone, and nobody says so."""
    with other_length(broker, with_the_next):
        async with connected(broker) as client, asyncio.timeout(WITHIN_S):
            with pytest.raises(DamagedBatchError, match=f"the record batch at offset {AT} is damaged: its checksum"):
                await read_into({}, client, 0, is_checked=True)
            found: dict[int, bytes | None] = {}
            with pytest.raises(DamagedBatchError, match=f"the record batch at offset {AT + 1} is damaged"):
                await read_into(found, client, 0, is_checked=False)
    assert found == {**{offset: each.value for offset, each in enumerate(EVENTS[: AT + 1])}, AT + 1: None}


@pytest.mark.parametrize("length", [beyond_the_file, none_at_all])
async def test_who_looks_for_one_record_names_it(broker: Broker, length: Callable[[int], int]) -> None:
    with other_length(broker, length):
        async with connected(broker) as client, asyncio.timeout(WITHIN_S):
            with pytest.raises(DamagedBatchError, match=NAMED):
                await NextRecords().read(client, WHERE, AT, 1)
            with pytest.raises(DamagedBatchError, match=NAMED):
                await record_at(client, WHERE, AT)


@pytest.mark.parametrize("length", [beyond_the_file, none_at_all])
@pytest.mark.parametrize("words", [["events", "person", "p-1"], ["schemas", "usage", "person"]])
def test_every_command_names_it(broker: Broker, length: Callable[[int], int], words: list[str]) -> None:
    """Goes red when one never ends, or ends with a traceback."""
    with other_length(broker, length):
        done = subprocess.run(
            [ENTRY_POINT, *words], env=settings(broker), capture_output=True, text=True, timeout=600, check=False
        )
    assert (done.returncode, NAMED in done.stderr, "Traceback" in done.stderr) == (2, True, False), done


@pytest.mark.parametrize("is_checked", [True, False])
@pytest.mark.parametrize(
    ("start", "most_bytes"),
    [(0, 1), (0, FETCH_BYTES), (AT, 1), (AT, FETCH_BYTES), (AT + 1, 1), (AT + 1, FETCH_BYTES)],
)
@pytest.mark.parametrize("base", [AT + 1, AT + 2, 1000])
async def test_a_base_offset_that_leads_forward_takes_no_event_from_sight(
    broker: Broker, base: int, start: int, most_bytes: int, *, is_checked: bool
) -> None:
    """Goes red when who reads on behind it passes over what lies between: in an answer of one batch no other tells."""
    found: dict[int, bytes | None] = {}
    with other_base(broker, base):
        async with connected(broker) as client, asyncio.timeout(WITHIN_S):
            with pytest.raises(DamagedBatchError, match=r"events\.person-0: the record batch at offset \d is damaged"):
                await read_into(found, client, start, most_bytes, is_checked=is_checked)
    assert found == {offset: EVENTS[offset].value for offset in range(start, AT)}


@pytest.mark.parametrize("start", [AT + 1, AT + 2])
async def test_a_batch_that_comes_alone_does_not_pass_for_the_one_in_whose_place_a_disk_put_it(
    broker: Broker, start: int
) -> None:
    """Goes red when who begins there reads a former event in the place of one that it never sees."""
    with other_base(broker, start):
        async with connected(broker) as client, asyncio.timeout(WITHIN_S):
            named = f"the record batch at offset {start - 1} is damaged: what is there begins at offset {start}"
            with pytest.raises(DamagedBatchError, match=named):
                await read_into({}, client, start, 1, is_checked=True)


@pytest.mark.parametrize("start", [AT + 1, AT + 2])
async def test_so_it_is_for_consumers(broker: Broker, monkeypatch: pytest.MonkeyPatch, start: int) -> None:
    monkeypatch.setattr(committed_records, "FETCH_BYTES", 1)
    with other_base(broker, start):
        reading = read_partition({"bootstrap_servers": broker.bootstrap}, WHERE, start, COUNT)
        with pytest.raises(DamagedBatchError, match=f"the record batch at offset {start} is damaged"):
            await anext(reading)


async def test_consumers_prove_what_comes_alone_once_and_read_on(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goes red when each fetch of a quiet partition costs another one."""
    monkeypatch.setattr(committed_records, "FETCH_BYTES", 1)
    proven, first_base = [], lone_batches._first_base

    async def counting(client: Any, node: int, where: TopicPartition, offset: int, most: int) -> int | None:
        proven.append(offset)
        return await first_base(client, node, where, offset, most)

    monkeypatch.setattr(lone_batches, "_first_base", counting)
    for start in range(COUNT):
        read = [
            record.offset
            async for some in read_partition({"bootstrap_servers": broker.bootstrap}, WHERE, start, COUNT)
            for record in some
        ]
        assert read == list(range(start, COUNT))
    assert proven == list(range(COUNT - 1))


async def test_batches_that_come_alone_are_read_wherever_they_begin(broker: Broker) -> None:
    """Goes red when one passes for damaged that is in its place: the first that is there, or one behind a marker."""
    where = TopicPartition("events.workflow", 0)
    for event in EVENTS:
        await write(broker.bootstrap, where.topic, [event])
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap)
    await admin.start()
    try:
        async with connected(broker) as client:
            await client.set_topics([where.topic])
            for first in (0, AT, AT + 1):
                await admin.delete_records({where: RecordsToDelete(before_offset=first)})
                for start in range(first, COUNT):
                    steps = read_range(client, where, start, COUNT, 1)
                    read = [(offset, value) async for some in steps for offset, _, value, _ in some]
                    assert read == [(offset, EVENTS[offset].value) for offset in range(start, COUNT)]
    finally:
        await admin.close()


async def test_who_looks_for_one_record_or_folds_the_journal_names_a_base_offset_that_leads_forward(
    broker: Broker,
) -> None:
    """Goes red when a store that is right is folded anew, or an event passes for one that the journal lost."""
    with other_base(broker, AT + 2):
        async with connected(broker) as client, asyncio.timeout(WITHIN_S):
            for offset in (AT, AT + 1, AT + 2):
                with pytest.raises(DamagedBatchError, match=f"the record batch at offset {offset} is damaged"):
                    await record_at(client, WHERE, offset)
        folding = read_partition({"bootstrap_servers": broker.bootstrap}, WHERE, 0, COUNT)
        assert [record.offset for record in await anext(folding)] == list(range(AT))
        with pytest.raises(DamagedBatchError, match=NAMED):
            await anext(folding)


@pytest.mark.parametrize("words", [["events", "person", "p-1"], ["schemas", "usage", "person"]])
def test_every_command_names_a_base_offset_that_leads_forward(broker: Broker, words: list[str]) -> None:
    with other_base(broker, AT + 2):
        done = subprocess.run(
            [ENTRY_POINT, *words], env=settings(broker), capture_output=True, text=True, timeout=600, check=False
        )
    assert (done.returncode, NAMED in done.stderr, "Traceback" in done.stderr) == (2, True, False), done


def verified(broker: Broker, *words: str) -> tuple[int, dict[str, Any]]:
    done = subprocess.run(
        [ENTRY_POINT, "verify", *words, "--json"], env=settings(broker), capture_output=True, timeout=600, check=False
    )
    return done.returncode, orjson.loads(done.stdout)


@pytest.mark.parametrize("changed", [beyond_the_file, into_the_next, into_itself, none_at_all])
def test_verification_names_what_a_wrong_length_hides_and_judges_what_is_before_it(
    broker: Broker, changed: Callable[[int], int]
) -> None:
    """Goes red when an auditor hears of one place and of nothing else."""
    with other_length(broker, changed):
        report = verify_journals(Settings(bootstrap_servers=broker.bootstrap), ["person"], processes=1)
    assert report.events in {AT, AT + 1}
    assert report.broken[0].offset in {AT, AT + 1}
    assert any(
        each.reason.startswith("unread, up to offset ") and f"{TOPIC}-0: the record batch at offset" in each.reason
        for each in report.broken
    )


@pytest.mark.parametrize("base", [AT + 1, AT + 2, 1000])
def test_verification_names_what_a_base_offset_that_leads_forward_hides(broker: Broker, base: int) -> None:
    with other_base(broker, base):
        status, report = verified(broker, "person")
    assert (status, report["broken"][0]["offset"]) == (1, AT)
    assert NAMED in report["broken"][0]["reason"]


@pytest.mark.parametrize("processes", ["1", "2"])
def test_verification_reads_on_behind_a_batch_that_somebody_removed(broker: Broker, processes: str) -> None:
    """Goes red when it names that place alone, and nothing of what is behind it."""
    with removed(broker):
        status, report = verified(broker, "person", "--processes", processes)
        of_one, report_of_one = verified(broker, "person", "p-1", "--from-head", cid_text(EVENTS[AT].cid))
    assert (status, report["events"]) == (1, AT)
    lost, gap = report["broken"]
    assert (lost["offset"], lost["aggregate_id"]) == (AT, None)
    assert lost["reason"] == f"unread, up to offset {AT}: {NAMED}: what is there begins at offset {AT + 1}"
    assert (gap["offset"], gap["version"], gap["reason"][:4]) == (AT + 1, AT + 2, "gap:")
    assert of_one == 1
    assert [each["reason"].split(":")[0] for each in report_of_one["broken"]] == [
        f"unread, up to offset {AT}",
        "the journal has no event " + cid_text(EVENTS[AT].cid) + " of this aggregate",
    ]


async def test_what_comes_alone_right_behind_a_removed_batch_is_read_where_a_range_begins_there(broker: Broker) -> None:
    """Goes red when an auditor is told of an unread event, and of a gap, that are none: ranges end anywhere."""
    with removed(broker, COUNT - 2):
        async with connected(broker) as client:
            around = read_around(client, TopicPartition(TOPIC, 0), COUNT - 1, COUNT)
            found = [[each] if isinstance(each, Unread) else [offset for offset, *_ in each] async for each in around]
    assert found == [[COUNT - 1]]


def test_what_cannot_be_read_at_all_is_no_answer(broker: Broker) -> None:
    """Goes red when it is said to be broken: `annals verify` ends with 2."""
    with (
        without_end(broker),
        pytest.raises(ChecksumError, match=rf"{TOPIC}-0: the record batch at offset 0 is damaged"),
    ):
        verify_journals(Settings(bootstrap_servers=broker.bootstrap), ["person"], processes=1)
