"""A kind's aggregates over all its partitions, by id in code points, behind a cursor.

The cursor is the last id that was given; partitions that were missing then are in it with ids of their own.
"""

from __future__ import annotations

from heapq import merge
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple

from annals.agents.reading.gathering.cursors import BadCursorError
from annals.agents.reading.gathering.gather import gather
from annals.agents.reading.gathering.key_cursors import decode_keys, encode_keys
from annals.agents.reading.keeping.states import States

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from annals.agents.reading.found import AggregatePage, FoundAggregate
    from annals.agents.reading.gathering.gather import Gathered
    from annals.agents.reading.ports import ReadingShard

    Answers = Gathered[AggregatePage]

FORM: Final = 4  # the second had ids as texts


class AggregatesWanted(NamedTuple):
    """Which aggregates are wanted; since and until: of the last event."""

    status: str | None = None
    since: datetime | None = None
    until: datetime | None = None


class AggregatesFound(NamedTuple):
    """A page of aggregates; is_end: all partitions answered and had no more. A page may be empty before the end."""

    aggregates: list[FoundAggregate]
    places: list[str | None]
    is_end: bool
    gathered: Answers

    @property
    def positions(self) -> dict[str, list[int | None]]:
        """Up to where it rests on each partition."""
        return self.gathered.positions


def encode_places(kind: str, places: Sequence[str | None]) -> str:
    """Return the ids behind which each partition is gone on with, as a cursor.

    Raises:
        NotReadyError: partitions were missing so often that it does not fit into a URL.
    """
    return encode_keys(FORM, kind.encode(), [None if place is None else place.encode() for place in places])


def decode_places(text: str, kind: str, partitions: int) -> list[str | None]:
    """Return the id behind which each partition is gone on with; None: from its first.

    Raises:
        BadCursorError: the text is no cursor for this kind with this number of partitions.
    """
    of, keys = decode_keys(text, FORM)
    try:
        places = [None if key is None else key.decode() for key in keys]
    except UnicodeDecodeError:
        raise BadCursorError("the cursor has an id that is none") from None
    if of != kind.encode() or len(places) != partitions:
        raise BadCursorError("the cursor is of another kind or partition count")
    return places


async def read_aggregates(
    shards: Sequence[ReadingShard],
    wanted: AggregatesWanted,
    places: Sequence[str | None],
    limit: int,
    deadline: float,
) -> AggregatesFound:
    """Return the next page of a kind's aggregates. A partition that is missing keeps its place."""

    async def ask(shard: ReadingShard) -> AggregatePage:
        return await shard.aggregates(**wanted._asdict(), after=places[shard.partition], limit=limit)

    gathered = await gather(shards, ask, deadline, States.name)
    pages = {partition: page for (_, partition), page in gathered.answers.items()}
    cut = min((page.until for page in pages.values() if page.until is not None), default=None)
    # UTF-8 sorts as code points do, and a store sorts by UTF-8
    merged = merge(*(page.aggregates for page in pages.values()), key=lambda found: found.aggregate_id)
    known = (found for found in merged if cut is None or found.aggregate_id <= cut)  # behind it may be others
    shown = list(islice(known, limit))
    is_full = next(known, None) is not None
    is_end = cut is None and not is_full and not gathered.missing
    last = shown[-1].aggregate_id if shown and (is_full or cut is None) else cut
    moved = list(places)
    positions = {kind: list(offsets) for kind, offsets in gathered.positions.items()}
    for (kind, partition), page in gathered.answers.items():
        moved[partition] = max(places[partition] or "", last) if last is not None else places[partition]
        if page.offset is not None:
            positions[kind][partition] = page.offset
    return AggregatesFound(shown, moved, is_end, gathered._replace(positions=positions))
