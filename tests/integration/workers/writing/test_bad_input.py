"""Bad input through a real broker: each gets exactly its answer, nothing is lost, and the worker lives through it.

The producer and the reader are confluent-kafka, a client that this project did not write.
"""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from aiokafka.structs import TopicPartition
from confluent_kafka import Consumer, Producer
from confluent_kafka import TopicPartition as Assigned
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import bad_commands
from annals.topics.keys import partition_of
from annals.topics.wire import encode_headers
from annals.workers.kafka.connections import connect
from annals.workers.kafka.protocol.record_batches import headers_of
from annals.workers.kafka.read.ranges import read_range
from annals.workers.kafka.write.batches import PartitionBatches
from annals.workers.kafka.write.transaction import Offsets, TransactionalWriter
from annals.workers.settings import Settings
from command_cases import Accepted, Case, DeadLettered
from json_texts import commands as command_texts
from processes import ENTRY_POINT, free_port, is_ready, own_environment, running, until

pytestmark = pytest.mark.broker

PARTITIONS = 4
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
MAX_BYTES = 8 << 20
GARBAGE_EXAMPLES = int(os.environ.get("ANNALS_TEST_GARBAGE_EXAMPLES", "25"))

Headers = list[tuple[str, bytes | None]]


class Answer(NamedTuple):
    """An outcome or a dead letter, as it was read."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers

    def header(self, name: str) -> str | None:
        return {each: (value or b"").decode(errors="backslashreplace") for each, value in self.headers}.get(name)


class Shore:
    """A worker with its topics, and what comes back from it."""

    def __init__(self, bootstrap: str, prefix: str, web_port: int) -> None:
        self.prefix = prefix
        self.web_port = web_port
        self.bootstrap = bootstrap
        self.sent = 0
        common = {"bootstrap.servers": bootstrap, "partitioner": "murmur2_random", "message.max.bytes": MAX_BYTES}
        self.producers = {codec: Producer({**common, "compression.type": codec, "linger.ms": 5}) for codec in CODECS}
        self.reader = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": "unused",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "auto.offset.reset": "earliest",
                "fetch.message.max.bytes": MAX_BYTES,
            }
        )
        answers = [Assigned(f"{prefix}outcomes.person", number, 0) for number in range(PARTITIONS)]
        self.reader.assign([*answers, Assigned(f"{prefix}dead-letters", 0, 0)])

    def send(
        self, value: bytes | None, key: bytes | None = None, headers: Any = (), codec: str = "none", **more: Any
    ) -> None:
        self.producers[codec].produce(f"{self.prefix}commands.person", value, key, headers=list(headers), **more)
        self.sent += 1

    def answers(self, count: int) -> list[Answer]:
        """Wait for as many answers as records were sent."""
        for producer in self.producers.values():
            assert producer.flush(60) == 0
        found: list[Answer] = []
        while len(found) < count:
            message = self.reader.poll(60)
            assert message is not None, f"{len(found)} of {count} answers"
            assert message.error() is None, message.error()
            found.append(Answer(message.topic(), message.key(), message.value(), message.headers() or []))
        return found

    def nothing_more_comes(self) -> bool:
        """Whether one more command's answer is the next that comes."""
        self.send(_command("last", f"p-last-{self.sent}"))
        return json.loads(self.answers(1)[0].value or b"{}").get("command_id") == "last"


def _command(command_id: str, aggregate_id: str, **more: Any) -> bytes:
    data = {"name": "Ada Lovelace"}
    return json.dumps(
        {"id": command_id, "type": "RegisterPerson", "aggregate_id": aggregate_id, "data": data, **more}
    ).encode()


@pytest.fixture(scope="module")
def shore(bootstrap: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shore]:
    folder = tmp_path_factory.mktemp("worker")
    prefix, port = f"bad{os.getpid()}.", free_port()
    environment = own_environment(
        ANNALS_BOOTSTRAP_SERVERS=bootstrap,
        ANNALS_TOPIC_PREFIX=prefix,
        ANNALS_DATA_DIR=str(folder / "data"),
        ANNALS_WEB_PORT=str(port),
        ANNALS_CREATE_TOPICS="1",
        ANNALS_PARTITIONS=str(PARTITIONS),
    )
    with running([ENTRY_POINT, "worker"], environment, folder / "log") as process:
        until(lambda: is_ready(port), process, folder / "log", "the worker is ready")
        shore = Shore(bootstrap, prefix, port)
        yield shore
        shore.reader.close()
        until(lambda: is_ready(port), process, folder / "log", "it has lived through it")


def _expect(case: Case, answer: Answer) -> None:
    if isinstance(case.expected, DeadLettered):
        assert answer.topic.endswith("dead-letters")
        assert answer.header("reason") == case.expected.reason
        assert (answer.key, answer.value) == (case.key, case.value)
        assert answer.headers[: len(case.headers)] == [(name, value) for name, value in case.headers]
        assert answer.header("source-topic").endswith("commands.person")
        return
    outcome = json.loads(answer.value)
    if isinstance(case.expected, Accepted):
        assert outcome["status"] == "accepted", outcome
        return
    assert outcome["status"] == "rejected", outcome
    assert (outcome["error"]["code"], outcome["error"]["details"]) == (
        case.expected.code,
        json.loads(json.dumps(case.expected.details)),
    )


def _origin(answer: Answer) -> tuple[str | None, str | None]:
    """Where the record that it answers was sent to, as far as its headers tell."""
    source = answer.header("source-partition"), answer.header("source-offset")
    return source if source[1] is not None else (answer.header("origin-partition"), answer.header("origin-offset"))


def test_every_bad_command_of_the_table_gets_exactly_its_answer(shore: Shore) -> None:
    cases = bad_commands.CASES
    for number, case in enumerate(cases):
        # where it comes to lie is its mark: dead letters have no id
        home = partition_of(case.key, PARTITIONS) if case.key is not None else number % PARTITIONS
        shore.send(case.value, case.key, case.headers, partition=home, on_delivery=_note(case.name))
    answers = shore.answers(len(cases))
    by_place = {_origin(answer): answer for answer in answers}
    by_command = {answer.header("command-id"): answer for answer in answers if answer.header("command-id")}
    for case in cases:
        place = PLACES[case.name]
        answer = by_place.get((str(place[0]), str(place[1])))
        if answer is None:
            answer = next(
                each
                for each in by_command.values()
                if each.header("command-offset") == str(place[1])
                and partition_of(each.key, PARTITIONS) == place[0]
                and each.header("origin-offset") is None
            )
        _expect(case, answer)
    assert shore.nothing_more_comes()


PLACES: dict[str, tuple[int, int]] = {}


def _note(name: str) -> Any:
    def delivered(error: Any, message: Any) -> None:
        assert error is None, error
        PLACES[name] = message.partition(), message.offset()

    return delivered


@pytest.mark.parametrize("codec", CODECS)
def test_commands_are_read_with_each_codec(shore: Shore, codec: str) -> None:
    for number in range(50):
        aggregate_id = f"p-{codec}-{number}"
        shore.send(_command(f"{codec}-{number}", aggregate_id), aggregate_id.encode(), codec=codec)
    outcomes = [json.loads(answer.value) for answer in shore.answers(50)]
    assert {outcome["status"] for outcome in outcomes} == {"accepted"}
    assert {outcome["command_id"] for outcome in outcomes} == {f"{codec}-{number}" for number in range(50)}


def test_a_command_in_any_partition_is_answered_once_from_its_own(shore: Shore) -> None:
    for partition in range(PARTITIONS):
        shore.send(_command(f"anywhere-{partition}", "p-anywhere"), None, partition=partition)
    answers = shore.answers(PARTITIONS)
    assert {answer.key for answer in answers} == {b"p-anywhere"}
    assert sorted(json.loads(answer.value)["status"] for answer in answers) == ["accepted"] * PARTITIONS
    assert sum(len(json.loads(answer.value)["events"]) for answer in answers) == 1
    moved = [answer for answer in answers if answer.header("origin-partition") is not None]
    home = partition_of(b"p-anywhere", PARTITIONS)
    assert {answer.header("origin-partition") for answer in moved} == {
        str(partition) for partition in range(PARTITIONS) if partition != home
    }


def test_a_copy_that_is_still_misplaced_is_a_dead_letter(shore: Shore) -> None:
    wrong = (partition_of(b"p-lost", PARTITIONS) + 1) % PARTITIONS
    headers = [("origin-partition", b"0"), ("origin-offset", b"7")]
    shore.send(_command("lost", "p-lost"), b"p-lost", headers, partition=wrong)
    (answer,) = shore.answers(1)
    assert answer.header("reason") == "misrouted"


async def test_a_header_name_that_is_not_utf_8_holds_nothing_up_and_goes_along_as_it_is(shore: Shore) -> None:
    key = b"p-stray-name"
    home = partition_of(key, PARTITIONS)
    elsewhere = (home + 1) % PARTITIONS
    headers = [(b"\xff\xfename".decode(errors="surrogateescape"), b"x")]
    topic = f"{shore.prefix}commands.person"
    await _write_raw(
        shore.bootstrap, TopicPartition(topic, elsewhere), key, _command("stray-name", key.decode()), headers
    )
    (answer,) = shore.answers(1)
    assert json.loads(answer.value)["status"] == "accepted"
    copy_at, original_at = answer.header("command-offset"), answer.header("origin-offset")
    found = await _headers_at(shore.bootstrap, TopicPartition(topic, home), int(copy_at))
    assert found == [*headers, ("origin-partition", b"%d" % elsewhere), ("origin-offset", original_at.encode())]
    assert shore.nothing_more_comes()


async def _write_raw(
    bootstrap: str, where: TopicPartition, key: bytes, value: bytes, headers: list[tuple[str, bytes | None]]
) -> None:
    """Write what no client here lets one write."""
    writer = TransactionalWriter({"bootstrap_servers": bootstrap}, f"raw-{where.topic}", [where.topic])
    batches = PartitionBatches(MAX_BYTES)
    batches.add(key, value, int(time.time() * 1000), encode_headers(headers))
    try:
        await writer.fence()
        await writer.commit({where: batches.batches}, Offsets(f"raw-{where.topic}", *where, 0, ""), {})
    finally:
        await writer.close()


async def _headers_at(bootstrap: str, where: TopicPartition, offset: int) -> Headers:
    """The headers of one record."""
    client = await connect({"bootstrap_servers": bootstrap}, [where.topic])
    try:
        return [
            header
            async for records in read_range(client, where, offset, offset + 1)
            for *_, raw in records
            for header in headers_of(raw)
        ]
    finally:
        await client.close()


RECORDS = st.tuples(
    st.none() | st.binary(max_size=40) | st.text(max_size=20).map(str.encode),
    st.none() | st.binary(max_size=400) | command_texts().map(lambda text: text.encode(errors="replace")),
    st.lists(
        st.tuples(
            st.sampled_from(
                ["content-type", "ce_specversion", "ce_id", "ce_subject", "traceparent", "origin-offset", "x"]
            ),
            st.none() | st.binary(max_size=60) | st.sampled_from([b"1.0", b"application/cloudevents+json"]),
        ),
        max_size=4,
    ),
)


@settings(
    max_examples=GARBAGE_EXAMPLES,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(st.lists(st.tuples(RECORDS, st.integers(0, PARTITIONS - 1)), min_size=1, max_size=40))
def test_garbage_is_answered_record_by_record_and_the_worker_goes_on(shore: Shore, records: list[Any]) -> None:
    for (key, value, headers), partition in records:
        shore.send(value, key, headers, partition=partition)
    shore.answers(len(records))
    assert shore.nothing_more_comes()


def test_a_command_of_the_largest_size_is_taken_and_one_byte_more_is_a_dead_letter(shore: Shore) -> None:
    limit = Settings().max_command_bytes
    command = _command("largest", "p-largest", actor="hr")
    padded = command[:-1] + b" " * (limit - len(command)) + b"}"
    shore.send(padded, b"p-largest")
    shore.send(padded[:-1] + b" }", b"p-largest")
    answers = {answer.topic.rsplit(".", 1)[-1]: answer for answer in shore.answers(2)}
    assert json.loads(answers["person"].value)["status"] == "accepted"
    assert answers["dead-letters"].header("reason") == "too_large"
    assert answers["dead-letters"].value == padded[:-1] + b" }"


def test_an_invalid_command_of_a_megabyte_is_answered(shore: Shore) -> None:
    limit = Settings().max_command_bytes
    value = _command("huge", "p-huge").replace(b"Ada Lovelace", b"x" * (limit - 200))
    shore.send(value, b"p-huge")
    (answer,) = shore.answers(1)
    outcome = json.loads(answer.value)
    assert outcome["error"]["code"] == "invalid_command"
    assert outcome["error"]["details"]["errors"][0]["path"] == "data.name"
    assert len(answer.value) < 2_000


def test_the_log_never_holds_what_was_sent(shore: Shore, tmp_path_factory: pytest.TempPathFactory) -> None:
    log = next(Path(tmp_path_factory.getbasetemp()).glob("worker*/log"))
    assert "Lovelace" not in log.read_text()
