"""Heads that somebody kept: what a chain must contain, if nothing before it was altered or cut off."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from annals.schemas.cid import parse_cid
from annals.topics.keys import partition_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from annals.workers.audit.chains import JournalId


NO_HEAD: Final = "it is no JSON object with aggregate_id and head"


class KeptHead(NamedTuple):
    """A head that somebody kept, of an aggregate: its binary CID."""

    aggregate_id: str
    cid: bytes

    @property
    def key(self) -> bytes:
        """The aggregate's key in its topics."""
        return self.aggregate_id.encode()


def kept_heads(lines: Iterable[Mapping[str, Any]], kind: str) -> list[KeptHead]:
    """Return the heads of a kind, each once, from JSON objects with aggregate_id and head, as outcomes are.

    Raises:
        ValueError: one is no outcome, or its head is no CID.
    """
    found = dict[KeptHead, None]()
    for number, line in enumerate(lines, 1):
        try:
            if line.get("kind", kind) == kind and line["head"] is not None:
                found[KeptHead(_text(line["aggregate_id"]), parse_cid(line["head"]))] = None
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"line {number}: {NO_HEAD} ({error})") from None
    return list(found)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"aggregate_id is {value!r}")
    return value


def heads_by_place(places: Sequence[JournalId], heads: Iterable[KeptHead]) -> dict[JournalId, list[KeptHead]]:
    """Return of each partition of a kind's journal the heads of its aggregates."""
    by_place: dict[JournalId, list[KeptHead]] = {place: [] for place in places}
    for head in heads:
        by_place[places[partition_of(head.key, len(places))]].append(head)
    return by_place
