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

    from annals.agents.reading.found import FoundAggregate
    from annals.agents.reading.gathering.gather import Gathered
    from annals.agents.reading.ports import ReadingShard

    Answers = Gathered[tuple[list[FoundAggregate], bool]]

FORM: Final = 4  # the second had ids as texts


class AggregatesWanted(NamedTuple):
    """Which aggregates are wanted; since and until: of the last event."""

    status: str | None = None
    since: datetime | None = None
    until: datetime | None = None


class AggregatesFound(NamedTuple):
    """A page of aggregates; is_end: all partitions answered and had no more."""

    aggregates: list[FoundAggregate]
    places: list[str | None]
    is_end: bool
    gathered: Answers


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

    async def ask(shard: ReadingShard) -> tuple[list[FoundAggregate], bool]:
        return await shard.aggregates(**wanted._asdict(), after=places[shard.partition], limit=limit)

    gathered = await gather(shards, ask, deadline, States.name)
    lists = {partition: found for (_, partition), (found, _) in gathered.answers.items()}
    # UTF-8 sorts as code points do, and a store sorts by UTF-8
    page = list(islice(merge(*lists.values(), key=lambda found: found.aggregate_id), limit))
    given = len(page)
    left = sum(map(len, lists.values())) - given
    is_end = not left and not gathered.missing and all(is_end for _, is_end in gathered.answers.values())
    moved = list(places)
    if page:
        last = page[-1].aggregate_id
        for partition in lists:
            moved[partition] = max(places[partition] or "", last)
    return AggregatesFound(page, moved, is_end, gathered)
