"""Reads all topics of a deployment as an outsider: librdkafka, read_committed, from the first offset."""

import secrets
import time
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, NamedTuple, Self

from aiokafka.structs import TopicPartition
from chaos_workers import eventually
from confluent_kafka import OFFSET_BEGINNING, Consumer, IsolationLevel, KafkaError, KafkaException
from confluent_kafka import TopicPartition as Assigned
from confluent_kafka.admin import AdminClient, OffsetSpec

from processes import WITHIN_S
from whole_topics import known_topics


class Record(NamedTuple):
    """A committed record; of headers with the same name the last."""

    offset: int
    key: bytes | None
    value: bytes | None
    headers: dict[str, bytes]
    timestamp: int


def home_of(key: bytes, partitions: int) -> int:
    """The partition of a key, by the Java client's murmur2: written from its description, not from the project's."""
    mixed, mask = 0x5BD1E995, 0xFFFFFFFF
    value = 0x9747B28C ^ len(key)
    for at in range(0, len(key) - len(key) % 4, 4):
        word = int.from_bytes(key[at : at + 4], "little") * mixed & mask
        word = (word ^ word >> 24) * mixed & mask
        value = value * mixed & mask ^ word
    if rest := key[len(key) - len(key) % 4 :]:
        value = (value ^ int.from_bytes(rest, "little")) * mixed & mask
    value = (value ^ value >> 13) * mixed & mask
    value ^= value >> 15
    return (value & 0x7FFFFFFF) % partitions


class Records:
    """What has been read so far, by place, which has its topic without the prefix; `read` goes on from there."""

    def __init__(self, bootstrap: str, prefix: str, kinds: Iterable[str], **options: Any) -> None:
        self.by_place: dict[TopicPartition, list[Record]] = defaultdict(list)
        self.partitions: dict[str, int] = {}
        self.count = 0
        self._reached: dict[TopicPartition, int] = {}
        self._prefix = prefix
        self.kinds = tuple(kinds)
        self._admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": f"outsider-{secrets.token_hex(4)}",
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "error",
                "fetch.wait.max.ms": 20,
                "log_level": 0,
                **options,
            }
        )

    def attach(self) -> Self:
        """Take all partitions of the deployment's topics; they must exist."""
        topics = [f"{role}.{kind}" for kind in self.kinds for role in ("commands", "events", "outcomes")]
        return self.attach_to([*topics, "dead-letters"])

    def attach_to(self, topics: Iterable[str]) -> Self:
        """Take all partitions of topics, beside those of before; they must exist, for all brokers or soon."""
        for topic in topics:
            self.partitions[topic] = eventually(lambda topic=topic: self._count(topic), f"{topic} is there")
        self._consumer.assign(
            [
                Assigned(self._prefix + topic, partition, OFFSET_BEGINNING)
                for topic, count in self.partitions.items()
                for partition in range(count)
            ]
        )
        return self

    def _count(self, topic: str) -> int:
        """How many partitions a topic has, as far as the broker knows that is asked; 0: it does not know it."""
        found = known_topics(self._consumer).get(self._prefix + topic)
        return 0 if found is None else len(found.partitions)

    def read(self) -> Self:
        """Read on until what is committed now has been read, in every partition."""
        ends = self._ends()
        deadline = time.monotonic() + WITHIN_S
        while behind := [where for where, end in ends.items() if self._reached.get(where, 0) < end]:
            assert time.monotonic() < deadline, f"not read to their ends: {behind}"
            for message in self._consumer.consume(2000, 0.05):
                where = self._where(message.topic(), message.partition())
                error = message.error()
                if error is None:
                    self._take(where, message)
                    self._reached[where] = message.offset() + 1
                elif error.code() == KafkaError._PARTITION_EOF:
                    self._reached[where] = message.offset()
                elif error.fatal() or error.code() == KafkaError._AUTO_OFFSET_RESET:
                    raise KafkaException(error)
        return self

    def has_open_transactions(self, topic: str) -> bool:
        """Whether some records of a topic cannot be read yet: an abort is answered before its markers are written."""
        stable, ends = self._ends(), self._ends(IsolationLevel.READ_UNCOMMITTED)
        return any(stable[where] < end for where, end in ends.items() if where.topic == topic)

    def _ends(self, isolation: IsolationLevel = IsolationLevel.READ_COMMITTED) -> dict[TopicPartition, int]:
        """Where each partition ends, as those of an isolation level see it.

        Asked again while a broker that was away comes back.
        """
        everything = {
            Assigned(self._prefix + topic, partition): OffsetSpec.latest()
            for topic, count in self.partitions.items()
            for partition in range(count)
        }
        deadline = time.monotonic() + WITHIN_S
        while True:
            asked = self._admin.list_offsets(everything, isolation_level=isolation, request_timeout=10)
            try:
                return {self._where(tp.topic, tp.partition): future.result().offset for tp, future in asked.items()}
            except KafkaException:
                if time.monotonic() > deadline:
                    raise
                known_topics(self._admin)  # it may have asked with what it knew of another time

    def close(self) -> None:
        self._consumer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def of(self, role: str, kind: str) -> Iterable[tuple[int, list[Record]]]:
        """The partitions of a topic, with their records in order."""
        topic = f"{role}.{kind}"
        for partition in range(self.partitions[topic]):
            yield partition, self.by_place[TopicPartition(topic, partition)]

    def _where(self, topic: str, partition: int) -> TopicPartition:
        return TopicPartition(topic.removeprefix(self._prefix), partition)

    def _take(self, where: TopicPartition, message: Any) -> None:
        record = Record(
            message.offset(), message.key(), message.value(), dict(message.headers() or ()), message.timestamp()[1]
        )
        known = self.by_place[where]
        if not known or record.offset > known[-1].offset:  # a client that reconnects may bring the last ones again
            known.append(record)
            self.count += 1
