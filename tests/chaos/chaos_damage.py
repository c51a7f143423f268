"""Damage to a broker's files while it is down: what a lost disk or a power cut leaves behind."""

import struct
from pathlib import Path

from annals.workers.tools.broker import Broker

HEAD = struct.Struct(">qi")  # a record batch's base offset, and its length behind these two


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
