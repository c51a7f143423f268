"""What the compacted topic `projections` says of a projection: which version answers, and what was asked of its rows.

The key is the projection's name. Whoever may write to the topic may turn read models: a record is read as a stranger's.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from annals.schemas.depth import decoded
from annals.schemas.values.numbers import From0

MOST_BYTES: Final = 262_144
MOST_AGGREGATES: Final = 100

Version = Annotated[int, Meta(ge=1, le=1_000_000)]
Count = Annotated[int, Meta(ge=0, le=2**53)]
Name = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]{0,62}\Z")]
Kind = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_-]{0,31}\Z")]
Place = Annotated[str, Meta(pattern=r"^(?:[a-z][a-z0-9_-]{0,31}|rekeyed\.[a-z][a-z0-9_]{0,62})\Z")]
"""A kind, for its journal, or the re-keyed stream of a projection."""
Id = Annotated[str, Meta(min_length=1, max_length=256)]


class AggregateRebuild(Struct, frozen=True, forbid_unknown_fields=True):
    """One aggregate whose rows are built anew. number: which of all rebuilds of the projection it is, from 1."""

    number: Count
    kind: Kind
    aggregate_id: Id


class ProjectionRecord(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One projection.

    version: the one that answers. positions: the offsets that it had on all partitions of its journals, or of its
    stream (`rekeyed.<name>`), when all turned to it.
    switched_ms: when that was. previous: the version before it, which is folded on for a day so that all can turn back.
    held: a version that was turned back from; no other than a newer one follows by itself. rebuilds: how often all rows
    were asked to be built anew; resumes: how often what failed on an event was asked to try it again. aggregates: the
    newest rebuilds of single aggregates; aggregate_rebuilds: how many there were.
    """

    name: Name
    version: Version
    positions: dict[Place, Annotated[list[From0 | None], Meta(max_length=10_000)]] = {}
    switched_ms: Count
    previous: Version | None = None
    held: Version | None = None
    rebuilds: Count = 0
    resumes: Count = 0
    aggregate_rebuilds: Count = 0
    aggregates: Annotated[list[AggregateRebuild], Meta(max_length=MOST_AGGREGATES)] = []


_decoder = msgspec.json.Decoder(ProjectionRecord)


def encode_record(record: ProjectionRecord) -> bytes:
    """Return a record's value."""
    return msgspec.json.encode(record)


def decode_record(key: bytes | None, value: bytes) -> ProjectionRecord:
    """Return the record of a key and a value.

    Raises:
        ValueError: they are none; the message says why.
    """
    if len(value) > MOST_BYTES:
        raise ValueError(f"it has {len(value)} bytes, more than {MOST_BYTES}")
    record = decoded(_decoder.decode, value)
    if key != record.name.encode():
        raise ValueError("its key is not the projection's name")
    if record.previous == record.version:
        raise ValueError("its previous version is the one that answers")
    return record
