"""The contract's rule of what counts in a journal, written a second time, with dag-cbor instead of libipld."""

import base64
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import dag_cbor
from blake3 import blake3
from chaos_records import Record, home_of
from multiformats import CID

MEMBERS = {
    "kind": (str,),
    "aggregate_id": (str,),
    "version": (int,),
    "previous": (CID, type(None)),
    "type": (str,),
    "schema_version": (int,),
    "recorded_at": (str,),
    "command_id": (str,),
    "correlation_id": (str,),
    "causation_id": (str, type(None)),
    "actor": (str, type(None)),
    "data": (dict,),
}
PREFIX = b"\x01\x71\x1e\x20"


class Event(NamedTuple):
    """A journal record that is an event, with its CID in text and what the rule says of it."""

    record: Record
    block: dict[str, Any]
    cid: str


def cid_of(block: bytes) -> str:
    """The CID of a block in text: CIDv1, dag-cbor, BLAKE3-256, base32 lower case."""
    return in_text(PREFIX + blake3(block).digest())


def in_text(cid: bytes) -> str:
    """A binary CID in multibase base32, lower case."""
    return "b" + base64.b32encode(cid).decode().lower().rstrip("=")


def read(kind: str, partition: int, partitions: int, record: Record) -> Event | None:
    """The event of a record; None when it is foreign."""
    value = record.value or b""
    try:
        block = dag_cbor.decode(value)
        if not isinstance(block, dict) or dag_cbor.encode(block) != value:
            return None
    except Exception:  # noqa: BLE001 - whatever the library has to say against it
        return None
    if set(block) != set(MEMBERS) or not all(type(block[name]) in types for name, types in MEMBERS.items()):
        return None
    key = record.key or b""
    if block["kind"] != kind or block["aggregate_id"].encode() != key or home_of(key, partitions) != partition:
        return None
    return Event(record, block, cid_of(value))


@dataclass
class Journal:
    """One partition's journal, judged: chains by aggregate, and what does not count."""

    chains: dict[str, list[Event]] = field(default_factory=dict)
    void: list[Event] = field(default_factory=list)
    forked: list[Event] = field(default_factory=list)
    gaps: list[Event] = field(default_factory=list)
    foreign: list[Record] = field(default_factory=list)


def judged(kind: str, partition: int, partitions: int, records: list[Record]) -> Journal:
    """Apply the rule to a partition's records, in order."""
    journal = Journal()
    void_cids: set[str] = set()
    for record in records:
        event = read(kind, partition, partitions, record)
        if event is None:
            journal.foreign.append(record)
            continue
        chain = journal.chains.setdefault(event.block["aggregate_id"], [])
        version = event.block["version"]
        previous = None if event.block["previous"] is None else in_text(bytes(event.block["previous"]))
        last = (len(chain), chain[-1].cid if chain else None)
        if (version - 1, previous) == last:
            chain.append(event)
        elif version <= last[0] + 1 or previous in void_cids:
            void_cids.add(event.cid)
            journal.void.append(event)
            if version <= last[0] and chain[version - 1].cid != event.cid:
                journal.forked.append(event)
        else:
            journal.gaps.append(event)
    return journal
