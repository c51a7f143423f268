"""An auditor: prove a journal without annals, with no code of this project.

Copy this one file to a machine that has Python 3.11 and nothing of this project:

    pip install blake3 dag-cbor confluent-kafka
    python auditor.py events.person --servers 127.0.0.1:9092 --head p-1 bafyr4i…

It reads the topic from its first event to its present end, applies the rule of every reader (docs/reference/wire.md),
and says what does not count and why. Each `--head ID CID` is a head that you kept: only that shows a cut-off end, an
aggregate that is gone, or a history made anew. Exit status 1 if anything is not as it should be.
"""

from __future__ import annotations

import argparse
import base64
import math
import re
import sys
from collections import Counter
from datetime import datetime
from typing import Any

import dag_cbor
from blake3 import blake3
from confluent_kafka import Consumer, TopicPartition
from multiformats import CID

WITHIN_S = 60.0
DEEPEST_DATA = 512
CID_PREFIX = bytes([0x01, 0x71, 0x1E, 32])  # CIDv1, dag-cbor, BLAKE3, 32 bytes
TEXT, TEXT_OR_NULL = (str,), (str, type(None))
MEMBERS: dict[str, tuple[type, ...]] = {
    "kind": TEXT,
    "aggregate_id": TEXT,
    "version": (int,),
    "previous": (CID, type(None)),
    "type": TEXT,
    "schema_version": (int,),
    "recorded_at": TEXT,
    "command_id": TEXT,
    "correlation_id": TEXT,
    "causation_id": TEXT_OR_NULL,
    "actor": TEXT_OR_NULL,
    "data": (dict,),
}
MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z")


class ForeignError(Exception):
    """A record is no event of this journal."""


def cid_of(block: bytes) -> str:
    """Return the CID of a block in text: multibase base32, lower case."""
    return in_text(CID_PREFIX + blake3(block).digest())


def in_text(cid: bytes) -> str:
    """Return a CID's bytes in text."""
    return "b" + base64.b32encode(cid).decode().lower().rstrip("=")


def partition_of(key: bytes, partitions: int) -> int:
    """Return the partition that a key belongs to: murmur2 as Kafka's Java client computes it."""
    mixer, mask = 0x5BD1E995, 0xFFFFFFFF
    whole = len(key) - len(key) % 4
    value = 0x9747B28C ^ len(key)
    for at in range(0, whole, 4):
        word = int.from_bytes(key[at : at + 4], "little") * mixer & mask
        value = value * mixer & mask ^ ((word ^ word >> 24) * mixer & mask)
    if key[whole:]:
        value = (value ^ int.from_bytes(key[whole:], "little")) * mixer & mask
    value = (value ^ value >> 13) * mixer & mask
    return (value ^ value >> 15) % 0x80000000 % partitions


def read_block(value: bytes | None) -> dict[str, Any]:
    """Return the event in a record's value: part (1) of the rule.

    Raises:
        ForeignError: it is no canonical DAG-CBOR of a map with exactly these members, of their types.
    """
    try:
        event = dag_cbor.decode(value or b"")
        again = dag_cbor.encode(event)
    except Exception as error:
        raise ForeignError("no canonical DAG-CBOR") from error
    if not isinstance(event, dict) or again != value:
        raise ForeignError("no canonical DAG-CBOR of a map")
    if set(event) != set(MEMBERS):
        raise ForeignError("not the members of an event")
    for name, types in MEMBERS.items():
        if type(event[name]) not in types:
            raise ForeignError(f"{name} is not of its type")
    link = event["previous"]
    if link is not None and not (bytes(link).startswith(CID_PREFIX) and len(bytes(link)) == len(CID_PREFIX) + 32):
        raise ForeignError("previous is no link to an event")
    try:
        datetime.fromisoformat(event["recorded_at"] if MOMENT.fullmatch(event["recorded_at"]) else "")
    except ValueError:
        raise ForeignError("recorded_at is no time in UTC with microseconds") from None
    if not is_json(event["data"], DEEPEST_DATA):
        raise ForeignError("data holds what is not JSON, or is too deep")
    return event


def is_json(value: object, levels: int) -> bool:
    """Whether a value has JSON types only, no negative zero (DAG-CBOR has none either), within so many levels."""
    match value:
        case dict() | list():
            inner = value.values() if isinstance(value, dict) else value
            return levels > 0 and all(is_json(each, levels - 1) for each in inner)
        case float():
            return value != 0 or math.copysign(1, value) > 0
        case _:
            return value is None or isinstance(value, str | int | bool)


class Journal:
    """One partition of a kind's journal, judged record by record."""

    def __init__(self, kind: str, partition: int, partitions: int) -> None:
        """Begin at the start, where no aggregate has a version."""
        self.place = kind, partition, partitions
        self.heads: dict[str, tuple[int, str | None]] = {}
        self._void: set[str | None] = set()

    def judge(self, key: bytes | None, value: bytes | None) -> tuple[str, str, str]:
        """Return what a record is (`counts`, `foreign`, `void`, `gap`); and whose event with which CID, or why not."""
        kind, partition, partitions = self.place
        try:
            event = read_block(value)
        except ForeignError as error:
            return "foreign", str(error), ""
        name, version = event["aggregate_id"], event["version"]
        own_key: bytes = name.encode()
        if event["kind"] != kind or own_key != key or partition_of(own_key, partitions) != partition:
            return "foreign", f"{event['kind']} {name} does not belong here", ""
        cid = cid_of(value or b"")
        previous = None if event["previous"] is None else in_text(bytes(event["previous"]))
        last, head = self.heads.get(name, (0, None))
        if (version, previous) == (last + 1, head):
            self.heads[name] = version, cid
            return "counts", name, cid
        why = f"{name} version {version} after {previous}, where version {last} with {head} is the last that counts"
        if version <= last + 1 or previous in self._void:
            self._void.add(cid)
            return "void", why, cid
        return "gap", why, cid


def audit(consumer: Consumer, topic: str, kept: list[tuple[str, str]]) -> bool:
    """Read the topic, print what is not as it should be, and return whether nothing is."""
    numbers = consumer.list_topics(topic, WITHIN_S).topics[topic].partitions
    if not numbers:
        sys.exit(f"there is no topic {topic}")
    journals = {number: Journal(topic.rpartition(".")[2], number, len(numbers)) for number in numbers}
    consumer.assign([TopicPartition(topic, number, 0) for number in numbers])
    missing, found, is_open = set(kept), Counter[str](), set(numbers)
    while is_open:
        record = consumer.poll(WITHIN_S)
        if record is None:
            sys.exit("the brokers do not answer")
        number = record.partition()
        if record.error():
            if record.error().name() != "_PARTITION_EOF":
                sys.exit(record.error().str())
            is_open.discard(number)
            continue
        verdict, what, cid = journals[number].judge(record.key(), record.value())
        found[verdict] += 1
        if verdict == "counts":
            missing.discard((what, cid))
        else:
            print(f"partition {number} offset {record.offset()}: {verdict}: {what}")
    for name, head in sorted(missing):
        print(f"{name}: the head {head} that you kept is not in its chain")
    aggregates = sum(len(journal.heads) for journal in journals.values())
    print(
        f"{counted(found['counts'], 'event')} of {counted(aggregates, 'aggregate')} count; "
        f"{found['void']} void, {found['foreign']} foreign, "
        f"{found['gap']} after a gap; {len(kept) - len(missing)} of {len(kept)} kept heads found"
    )
    return found["counts"] == found.total() and not missing


def counted(number: int, what: str) -> str:
    """Return a number with what is counted, given in the singular."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def main() -> None:
    """Audit one topic."""
    sys.setrecursionlimit(10_000)  # dag-cbor goes into its values by recursion
    parser = argparse.ArgumentParser(description="Prove a journal without annals.")
    parser.add_argument("topic", help="events.<kind>, with its prefix")
    parser.add_argument("--servers", default="127.0.0.1:9092", help="host:port, several with commas between them")
    parser.add_argument("--head", nargs=2, action="append", default=[], metavar=("ID", "CID"), help="a head you kept")
    parser.add_argument("--client", action="append", default=[], metavar="KEY=VALUE", help="a setting of librdkafka's")
    given = parser.parse_args()
    consumer = Consumer(
        {
            **dict(setting.split("=", 1) for setting in given.client),
            "bootstrap.servers": given.servers,
            "group.id": "auditor",  # never joined: partitions are assigned, and no offset is committed
            "enable.auto.commit": False,
            "isolation.level": "read_committed",  # or you see what was aborted
            "auto.offset.reset": "error",  # a journal that does not begin at 0 has lost events
            "enable.partition.eof": True,
        }
    )
    try:
        is_whole = audit(consumer, given.topic, [(name, cid) for name, cid in given.head])
    finally:
        consumer.close()
    sys.exit(0 if is_whole else 1)


if __name__ == "__main__":
    main()
