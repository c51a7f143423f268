"""What the topics of a history hold, as its judge reads it: no code of what wrote it is used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson
from blake3 import blake3
from libipld import decode_dag_cbor, encode_dag_cbor, encode_multibase

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from annals.workers.memory.partition import Entry, Record

    Logs = Mapping[tuple[str, int], Sequence[Entry]]

MEMBERS: Final = frozenset(
    {
        "actor",
        "aggregate_id",
        "causation_id",
        "command_id",
        "correlation_id",
        "data",
        "kind",
        "previous",
        "recorded_at",
        "schema_version",
        "type",
        "version",
    }
)


def cid_text(cid: bytes) -> str:
    """Return a CID in text."""
    return str(encode_multibase("b", cid))


def cids_of(entries: Iterable[Entry]) -> set[str]:
    """Return the CIDs, in text, of the blocks in batches that were not aborted."""
    return {
        cid_of(record.value or b"")
        for entry in entries
        if not entry.is_marker and entry.status.value != "aborted"
        for record in entry.records()
        if block_of(record.value or b"") is not None
    }


def journal_cids(logs: Logs, kind: str, partition: int) -> set[str]:
    """Return the CIDs of the blocks in a journal."""
    return {
        cid_of(record.value or b"")
        for _, record in committed(logs[f"events.{kind}", partition])
        if block_of(record.value or b"") is not None
    }


def heads_handed_out(entries: Iterable[Entry]) -> list[dict[str, Any]]:
    """Return the outcomes in batches, as clients got and kept them."""
    return [orjson.loads(record.value or b"") for _, record in committed(entries)]


def answered_by(outcome: Record) -> int:
    """Return the offset of the command that an outcome is of."""
    return int(dict(outcome.headers)["command-offset"] or b"-1")


def committed(entries: Iterable[Entry]) -> Iterator[tuple[int, Record]]:
    """Yield the committed records, each with the base offset of its batch."""
    return not_aborted(entry for entry in entries if entry.status.value == "committed")


def not_aborted(entries: Iterable[Entry]) -> Iterator[tuple[int, Record]]:
    """Yield the records of batches; one that was cut off open may be of a transaction that was committed later."""
    for entry in entries:
        if not entry.is_marker and entry.status.value != "aborted":
            for record in entry.records():
                yield entry.base, record


def block_of(value: bytes) -> dict[str, Any] | None:
    """Return a block's map; None for what is no event."""
    try:
        block = decode_dag_cbor(value)
    except ValueError:
        return None
    is_event = isinstance(block, dict) and block.keys() == MEMBERS and encode_dag_cbor(block) == value
    return block if is_event else None


def cid_of(block: bytes) -> str:
    """Return the CID of a block, in text."""
    return str(encode_multibase("b", b"\x01\x71\x1e\x20" + blake3(block).digest()))
