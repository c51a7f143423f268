"""Damage to a broker's files while it is down: what a lost disk or a power cut leaves behind."""

import contextlib
import struct
from collections.abc import Iterator
from pathlib import Path

from annals.workers.tools.broker import Broker

HEAD = struct.Struct(">qi")  # a record batch's base offset, and its length behind these two
ATTRIBUTES_AT = 10  # the second byte of a batch's attributes, behind those
CONTROL = 0x20  # the bit of a transaction's marker


def partition_folder(broker: Broker, topic: str, partition: int = 0) -> Path:
    return broker.data_dir / "kafka" / f"{topic}-{partition}"


def cut(broker: Broker, topic: str, offset: int, partition: int = 0) -> None:
    """Cut a partition's only segment before the record batch that holds an offset. The broker must be down."""
    assert not broker.is_running
    folder = partition_folder(broker, topic, partition)
    (segment,) = folder.glob("*.log")
    data, at = segment.read_bytes(), 0
    while at < len(data):
        base, length = HEAD.unpack_from(data, at)
        if base >= offset:
            break
        at += HEAD.size + length
    assert at < len(data), f"{segment} ends before offset {offset}"
    segment.write_bytes(data[:at])
    for pattern in ("*.index", "*.timeindex", "*.txnindex", "*.snapshot", ".kafka_cleanshutdown"):
        for file in folder.glob(pattern):
            file.unlink()
    (broker.data_dir / "kafka" / ".kafka_cleanshutdown").unlink(missing_ok=True)


def newest_batch(broker: Broker, topic: str, partition: int) -> tuple[Path, int, int, int]:
    """A partition's newest batch of records: its file, its offset, where it begins there, and its length."""
    (segment,) = partition_folder(broker, topic, partition).glob("*.log")
    data, at, newest = segment.read_bytes(), 0, (0, 0, 0)
    while at + HEAD.size < len(data):
        base, length = HEAD.unpack_from(data, at)
        if length <= 0:  # room for what is to come
            break
        if not data[at + HEAD.size + ATTRIBUTES_AT] & CONTROL:
            newest = base, at, length
        at += HEAD.size + length
    return segment, *newest


@contextlib.contextmanager
def flipped(broker: Broker, topic: str, partition: int = 0) -> Iterator[int]:
    """Change a byte of a partition's newest batch of records, and change it back; its offset. The broker is down."""
    assert not broker.is_running
    segment, offset, at, length = newest_batch(broker, topic, partition)
    last = at + HEAD.size + length - 1

    def flip() -> None:
        with segment.open("r+b") as file:
            file.seek(last)
            (byte,) = file.read(1)
            file.seek(last)
            file.write(bytes([byte ^ 1]))

    flip()
    try:
        yield offset
    finally:
        flip()


@contextlib.contextmanager
def led_forward(broker: Broker, topic: str, partition: int = 0) -> Iterator[int]:
    """Lead the offset of that batch forward by one, and back; what it was. The broker is down."""
    assert not broker.is_running
    segment, offset, at, length = newest_batch(broker, topic, partition)

    def put(base: int) -> None:
        with segment.open("r+b") as file:
            file.seek(at)
            file.write(HEAD.pack(base, length))

    put(offset + 1)
    try:
        yield offset
    finally:
        put(offset)
