"""Positions that a replay is to begin at, held against the journals that it reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from annals.workers.audit.journals import Journal

T = TypeVar("T")


def problems_of(given: Mapping[str, Sequence[int | None]], journals: Sequence[Journal]) -> list[tuple[str, str]]:
    """Return a path and a message for each position that is not there; journals: those that the replay reads."""
    sizes = _sizes(journals)
    found = [(f"positions.{kind}", "is no kind of this replay") for kind in given if kind not in sizes]
    for kind, size in sizes.items():
        if len(given.get(kind, range(size))) != size:
            found.append((f"positions.{kind}", f"must have {size} offsets, one for each partition"))
    if found:
        return found
    for (kind, topic, partition, _), _, end in journals:
        offset = given[kind][partition] if kind in given else None
        if offset is not None and offset > end:
            message = f"must not be behind the end of {topic}-{partition}, which is {end}"
            found.append((f"positions.{kind}[{partition}]", message))
    return found


def filled(journals: Sequence[Journal], known: Mapping[str, Sequence[T | None]]) -> dict[str, list[T | None]]:
    """Return what is known by kind with a place for each partition of the journals; None where nothing is."""
    return {
        kind: [*known.get(kind, ())[:size], *[None] * (size - len(known.get(kind, ())))]
        for kind, size in _sizes(journals).items()
    }


def _sizes(journals: Sequence[Journal]) -> dict[str, int]:
    return {journal.place.kind: journal.place.partitions for journal in journals}
