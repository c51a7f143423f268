"""Back up a journal to a file, and restore it into an empty topic: with confluent-kafka, and nothing of this project.

    python journal_copy.py save events.person person.backup
    python journal_copy.py restore events.person person.backup

A backup has each committed record of the topic, a JSON line each: its partition, timestamp, key, value and headers, in
the order of the partition. Offsets are not kept: a journal is proven by its chains. `annals verify` checks a copy.
Until it is whole, a backup is a file whose name ends in `.unfinished`.
"""

from __future__ import annotations

import argparse
import base64
import errno
import json
import os
import sys
from pathlib import Path
from typing import Any, TextIO

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

TIMEOUT_S = 60
SAID_AFTER_S = 2


class CopyError(Exception):
    """A topic or a file that cannot be copied as it is; the message says why."""


def _consumer_of(client: dict[str, str]) -> Consumer:
    return Consumer(
        {
            **client,
            "group.id": "journal-copy",  # librdkafka wants one; nobody joins it
            "enable.auto.commit": False,
            "enable.partition.eof": True,  # with read_committed, that is behind the last committed record
            "isolation.level": "read_committed",
            "auto.offset.reset": "error",
        }
    )


def _partitions_of(consumer: Consumer, topic: str, client: dict[str, str]) -> list[int]:
    try:
        metadata = consumer.list_topics(topic, SAID_AFTER_S)
    except KafkaException:
        _say_what_is_waited_for(client)
        metadata = consumer.list_topics(topic, TIMEOUT_S)
    found = metadata.topics[topic]
    if found.error is not None:
        raise CopyError(f"{topic}: {found.error.str()}")
    return sorted(found.partitions)


def _next_of(consumer: Consumer, client: dict[str, str]) -> Any:
    """Return the next record; None: nothing came."""
    record = consumer.poll(SAID_AFTER_S)
    if record is None:
        _say_what_is_waited_for(client)
        record = consumer.poll(TIMEOUT_S)
    return record


def _say_what_is_waited_for(client: dict[str, str]) -> None:
    print(f"waiting for {client['bootstrap.servers']} to answer, {TIMEOUT_S} s at most", file=sys.stderr, flush=True)


def save(topic: str, file: Path, client: dict[str, str]) -> int:
    """Write each committed record of the topic to a new file, which is there when it is whole; return how many.

    Raises:
        CopyError: the topic is not there, has lost its beginning, or does not answer.
        OSError: the file, or an unfinished one beside it, exists, or cannot be written.
    """
    if file.exists():
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(file))
    unfinished = file.with_name(f"{file.name}.unfinished")
    consumer = _consumer_of(client)
    try:
        partitions = _partitions_of(consumer, topic, client)
        with unfinished.open("x") as target:
            try:
                count = sum(_save_partition(consumer, topic, each, target, client) for each in partitions)
                target.flush()
                os.fsync(target.fileno())
            except BaseException:
                unfinished.unlink()
                raise
    finally:
        consumer.close()
    unfinished.rename(file)
    return count


def _save_partition(consumer: Consumer, topic: str, partition: int, target: TextIO, client: dict[str, str]) -> int:
    """Write each committed record of a partition; return how many there are."""
    first, _ = consumer.get_watermark_offsets(TopicPartition(topic, partition), TIMEOUT_S)
    if first > 0:
        raise CopyError(f"{topic}, partition {partition} begins at offset {first}: events are gone already")
    consumer.assign([TopicPartition(topic, partition, 0)])
    count = 0
    while (record := _next_of(consumer, client)) is not None:
        if record.error() is None:
            target.write(json.dumps(_line_of(record)) + "\n")
            count += 1
        elif record.error().name() == "_PARTITION_EOF":
            return count
        else:
            raise KafkaException(record.error())
    raise CopyError(f"{topic}, partition {partition}: nothing more came within {TIMEOUT_S} s")


def restore(topic: str, file: Path, client: dict[str, str]) -> int:
    """Write the records of a file to the topic, which must be empty; return how many there are.

    Raises:
        CopyError: the topic is not there, not empty, has other partitions, or refused a record.
    """
    consumer = _consumer_of(client)
    try:
        partitions = _partitions_of(consumer, topic, client)
        for partition in partitions:
            _, end = consumer.get_watermark_offsets(TopicPartition(topic, partition), TIMEOUT_S)
            if end > 0:
                raise CopyError(f"{topic}, partition {partition} is not empty: delete the topic and create it again")
    finally:
        consumer.close()
    producer = Producer({**client, "enable.idempotence": True, "compression.type": "zstd"})
    refused = []
    count = 0
    with file.open() as source:
        for text in source:
            line = json.loads(text)
            if line["partition"] not in partitions:
                raise CopyError(f"{topic} has {len(partitions)} partitions, and the copy is of a topic with more")
            record = {
                "key": _bytes_of(line["key"]),
                "value": _bytes_of(line["value"]),
                "headers": [(name, _bytes_of(value)) for name, value in line["headers"]],
                "partition": line["partition"],
                "timestamp": line["timestamp"],
                "on_delivery": lambda error, _: refused.append(error) if error is not None else None,
            }
            while True:
                try:
                    producer.produce(topic, **record)
                    break
                except BufferError:
                    producer.poll(1)
            producer.poll(0)
            count += 1
    if producer.flush(TIMEOUT_S) or refused:
        raise CopyError(f"{topic} was not restored: {refused[0] if refused else 'the brokers do not answer'}")
    return count


def _line_of(record: Any) -> dict[str, Any]:
    return {
        "partition": record.partition(),
        "timestamp": record.timestamp()[1],
        "key": _text_of(record.key()),
        "value": _text_of(record.value()),
        "headers": [(name, _text_of(value)) for name, value in record.headers() or ()],
    }


def _text_of(value: bytes | None) -> str | None:
    return None if value is None else base64.b64encode(value).decode()


def _bytes_of(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text)


def main() -> None:
    """Save or restore a journal, as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=["save", "restore"])
    parser.add_argument("topic", help="events.<kind>, with the topic prefix")
    parser.add_argument("file", type=Path)
    parser.add_argument("--servers", default="127.0.0.1:9092")
    parser.add_argument("--client", metavar="KEY=VALUE", action="append", default=[], help="a librdkafka setting")
    given = parser.parse_args()
    client = {"bootstrap.servers": given.servers, **dict(pair.split("=", 1) for pair in given.client)}
    try:
        count = {"save": save, "restore": restore}[given.what](given.topic, given.file, client)
    except (CopyError, KafkaException, OSError) as error:
        print(f"journal_copy: {error}", file=sys.stderr)
        sys.exit(1)
    print(f"{count} records {given.what}d")


if __name__ == "__main__":
    main()
