"""docs/reference/vectors.json: what a reader or producer in any language must say of blocks, keys and journals.

The verdicts are written here by hand, from the contract. The project's own readers are held to them by
tests/unit/agents/folding/test_vectors.py, as are the auditor and the examples in other languages.
"""

from __future__ import annotations

import base64
import json
from typing import Any, Final

from generator.blocks import COUNTING, FOREIGN
from generator.cbor import cid_of
from generator.journals import JOURNALS

ABOUT: Final = """\
Test vectors of the wire (wire.md). Bytes are hexadecimal; null is a record without a key or a value.
keys: (murmur2(key) & 0x7fffffff) % partitions, for several numbers of partitions.
blocks: each value is the only record in partition 0 of 1 of events.person, under its key. verdict: what the rule of
every reader says. cid: of the block, where it counts.
journals: the records of one partition of events.<kind> in order, as a read_committed consumer sees them. Offsets have
holes, as transaction markers take some. A journal with a gap ends there. heads: for each aggregate, the version and
CID of its last event that counts. kept: heads that somebody kept, and whether they are in the aggregate's chain."""
KEYS: Final = ["", "a", "ab", "abc", "abcd", "p-1", "p-2", "p-3", "\u00c4", "A\u0308", "\U0001f600", "x" * 256]
PARTITIONS: Final = (1, 2, 3, 4, 12, 100)


def document() -> str:
    """Return the JSON text."""
    return json.dumps(
        {"about": ABOUT.splitlines(), "keys": _keys(), "blocks": _blocks(), "journals": _journals()}, indent=1
    )


def _blocks() -> list[dict[str, Any]]:
    found = []
    for verdict, cases in (("counts", COUNTING), ("foreign", FOREIGN)):
        for name, value, key in cases:
            cid = in_text(cid_of(value)) if verdict == "counts" and value is not None else None
            found.append({"name": name, "key": _hex(key), "value": _hex(value), "verdict": verdict, "cid": cid})
    return found


def _journals() -> list[dict[str, Any]]:
    found = []
    for journal in JOURNALS:
        records = []
        ends: dict[str, dict[str, Any]] = {}
        for offset, (key, value, verdict) in enumerate(journal.records):
            cid = None
            if verdict == "counts" and value is not None and key is not None:
                cid = in_text(cid_of(value))
                name = key.decode()
                ends[name] = {"version": ends.get(name, {"version": 0})["version"] + 1, "head": cid}
            # A transaction for every two records, each with its marker.
            at = offset + offset // 2
            records.append({"offset": at, "key": _hex(key), "value": _hex(value), "verdict": verdict, "cid": cid})
        kept = [
            {"aggregate_id": name, "cid": in_text(cid), "is_in_chain": is_in_chain}
            for name, cid, is_in_chain in journal.kept
        ]
        found.append(
            {
                "name": journal.name,
                "kind": journal.kind,
                "partition": journal.partition,
                "partitions": journal.partitions,
                "records": records,
                "heads": ends,
                "kept": kept,
            }
        )
    return found


def _keys() -> list[dict[str, Any]]:
    return [
        {
            "key": key.encode().hex(),
            "murmur2": murmur2(key.encode()),
            "partition": {str(count): (murmur2(key.encode()) & 0x7FFFFFFF) % count for count in PARTITIONS},
        }
        for key in KEYS
    ]


def murmur2(key: bytes) -> int:
    """Return Kafka's hash of a key, unsigned; written again here, word by word."""
    mixer, mask = 0x5BD1E995, 0xFFFFFFFF
    value = 0x9747B28C ^ len(key)
    for at in range(0, len(key) - 3, 4):
        word = int.from_bytes(key[at : at + 4], "little") * mixer & mask
        value = value * mixer & mask ^ (word ^ word >> 24) * mixer & mask
    rest = key[len(key) & ~3 :]
    if rest:
        value = (value ^ int.from_bytes(rest, "little")) * mixer & mask
    value = (value ^ value >> 13) * mixer & mask
    return value ^ value >> 15


def in_text(cid: bytes) -> str:
    """Return a CID in text: multibase base32, lower case."""
    return "b" + base64.b32encode(cid).decode().lower().rstrip("=")


def _hex(value: bytes | None) -> str | None:
    return None if value is None else value.hex()
