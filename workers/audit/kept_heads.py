"""Heads that somebody kept: what a chain must contain, if nothing before it was altered or cut off."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from annals.schemas.cid import parse_cid
from annals.topics.keys import partition_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from annals.workers.audit.chains import JournalId


class KeptHead(NamedTuple):
    """A head that somebody kept, of an aggregate: its binary CID."""

    aggregate_id: str
    cid: bytes

    @property
    def key(self) -> bytes:
        """The aggregate's key in its topics."""
        return self.aggregate_id.encode()


def kept_heads(lines: Iterable[Mapping[str, Any]], kind: str) -> list[KeptHead]:
    """Return the heads of a kind from JSON objects with aggregate_id and head, as outcomes are.

    Raises:
        ValueError: one is no outcome, or its head is no CID.
    """
    found = []
    for number, line in enumerate(lines, 1):
        try:
            if line.get("kind", kind) == kind and line["head"] is not None:
                found.append(KeptHead(str(line["aggregate_id"]), parse_cid(line["head"])))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"line {number}: it is no JSON object with aggregate_id and head ({error})") from None
    return found


def heads_of(place: JournalId, heads: Sequence[KeptHead]) -> list[KeptHead]:
    """Return those of a partition's aggregates."""
    return [head for head in heads if partition_of(head.key, place.partitions) == place.partition]
