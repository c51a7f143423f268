"""Writes into a journal what a second writer, a stranger or a damaged disk would leave there."""

import json
from typing import Any

import dag_cbor
from chaos_records import home_of
from confluent_kafka import Producer
from multiformats import CID

RECORDED_AT = "2020-01-01T00:00:00.000000Z"


def link(cid: str | None) -> CID | None:
    """A CID in text as a link of a block."""
    return None if cid is None else CID.decode(cid)


def block(aggregate_id: str, version: int, previous: str | None, command_id: str, name: str, **changed: Any) -> bytes:
    """A block as a worker would have sealed it: a person's registration or new name."""
    event = {
        "kind": "person",
        "aggregate_id": aggregate_id,
        "version": version,
        "previous": link(previous),
        "type": "PersonRegistered" if version == 1 else "PersonRenamed",
        "schema_version": 1,
        "recorded_at": RECORDED_AT,
        "command_id": command_id,
        "correlation_id": command_id,
        "causation_id": None,
        "actor": None,
        "data": {"name": name},
    }
    return dag_cbor.encode(event | changed)


def write(bootstrap: str, prefix: str, records: list[tuple[str, bytes]], partitions: int, **where: int) -> None:
    """Append records (key, value) to `events.person`, each to its own partition or to `partition`."""
    producer = Producer({"bootstrap.servers": bootstrap, "log_level": 0})
    for key, value in records:
        partition = where.get("partition", home_of(key.encode(), partitions))
        producer.produce(f"{prefix}events.person", key=key.encode(), value=value, partition=partition)
    assert producer.flush(30) == 0


def command_value(command_id: str, aggregate_id: str, name: str) -> bytes:
    """The value of a RenamePerson."""
    body = {"id": command_id, "type": "RenamePerson", "aggregate_id": aggregate_id, "data": {"name": name}}
    return json.dumps(body).encode()
