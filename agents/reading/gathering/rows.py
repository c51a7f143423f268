"""Rows of a local projection from all partitions: asked at once, merged by key, and what did not answer is named.

A page says behind which key each partition is gone on with. What was missing keeps its place, and no key passes a row
that was not shown.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from heapq import merge
from itertools import islice, repeat
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from annals.agents.reading.gathering.cursors import BadCursorError
from annals.agents.reading.gathering.gather import Lag, PartitionReason
from annals.agents.reading.ports import BrokenChainError, NotReadyError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable, Mapping, Sequence

    from annals.agents.projections.projection import Projection
    from annals.agents.reading.found import FoundRow, Rebuilds, RowPage
    from annals.agents.reading.ports import Key, ReadingShard

    Keys = Sequence[bytes | None]  # of each partition, behind which it is gone on with; None: from its first row

ANSWER_S: Final = 2.0
ANSWER_SHARE: Final = 0.1  # of what a request may take, where that is less: the others' rows are sent in the rest
NO_LAG: Final = Lag(0, 0.0)
VERSION_MISSING: Final = "version_missing"
TIMEOUT: Final = "timeout"
OTHER_ORDER: Final = "a worker of another release has it, which answers in another order"


class GatheredRows(NamedTuple):
    """Rows in the order of their keys. positions: kind -> the offset that each partition's rows rest on, or None.

    is_end: all partitions that answered had no more. rebuilds: kind -> what was built anew in each partition; None
    where it is not known. after: behind which key each partition is gone on with; None: nothing was shown of any.
    until: the key up to which those that answered have no other rows; None: they have no more, or none was asked for.
    """

    rows: list[FoundRow]
    is_end: bool
    positions: dict[str, list[int | None]]
    missing: list[PartitionReason]
    stale: list[PartitionReason]
    lag: Lag = NO_LAG
    rebuilds: Mapping[str, list[Rebuilds | None]] = MappingProxyType({})
    after: list[bytes | None] | None = None
    until: bytes | None = None


class Shards(Protocol):
    """All reading shards, here or elsewhere."""

    def of_kinds(self, kinds: Iterable[str]) -> Sequence[ReadingShard]:
        """Return the shards of all partitions of some kinds, in the order of these."""


class RowSource(Protocol):
    """Where the rows of a projection come from."""

    async def rows(
        self,
        projection: Projection[Any],
        version: int,
        index: Mapping[str, str],
        after: Keys | None,
        limit: int,
        also: Sequence[Mapping[str, str]] = (),
    ) -> GatheredRows:
        """Return a page of rows that an index finds. after: what the page before says; None: it is the first.

        also: other indexes; a row that any of them finds is wanted, too.

        Raises:
            BadCursorError: that is of another number of partitions.
        """

    async def tree(
        self, projection: Projection[Any], version: int, parent: str, root: str, after: Keys | None, limit: int
    ) -> GatheredRows:
        """Return a page of the rows below one, at any depth. parent: the index whose values are ids of rows.

        Raises:
            BadCursorError: as `rows`.
        """


class LocalRows:
    """Rows of local projections, by asking every partition of their kinds (the `RowSource` port)."""

    def __init__(self, shards: Shards, timeout_s: float = ANSWER_S / ANSWER_SHARE) -> None:
        """Take all shards, and what a request may take."""
        self._shards = shards
        self._answer_s = min(ANSWER_S, ANSWER_SHARE * timeout_s)

    async def rows(
        self,
        projection: Projection[Any],
        version: int,
        index: Mapping[str, str],
        after: Keys | None,
        limit: int,
        also: Sequence[Mapping[str, str]] = (),
    ) -> GatheredRows:
        """Return a page of rows."""
        try:
            shards = self._shards.of_kinds(projection.places)
        except NotReadyError as error:  # how many partitions its stream has is not known: it has one at least
            wheres = [(place, 0) for place in projection.places]
            unknown = gathered(wheres, [str(error)] * len(wheres), limit)
            return unknown._replace(after=None if after is None else list(after))
        keys = keys_of(after, len(shards))
        ordered_by = next((name for name in index if name in projection.ranges), None)
        asked = (
            self._ask(shard.rows(projection.name, version, index, after=key, limit=limit, also=also), ordered_by)
            for shard, key in zip(shards, keys, strict=True)
        )
        answers = await asyncio.gather(*asked)
        found = gathered([(each.kind, each.partition) for each in shards], answers, limit, keys)
        return found._replace(lag=_lag(shards, answers))

    async def tree(
        self, projection: Projection[Any], version: int, parent: str, root: str, after: Keys | None, limit: int
    ) -> GatheredRows:
        """A way down a tree crosses partitions: only a global projection can follow it."""
        del after, limit
        raise NotImplementedError(f"{projection.name} is local: {parent} of {root!r} version {version}")

    async def _ask(self, asked: Awaitable[RowPage], ordered_by: str | None) -> RowPage | str:
        """Return a partition's page, or why there is none. ordered_by: what pages must be in the order of."""
        try:
            async with asyncio.timeout(self._answer_s):
                page = await asked
                return page if page.ordered_by == ordered_by else OTHER_ORDER
        except LookupError:
            return VERSION_MISSING
        except TimeoutError:
            return TIMEOUT
        except (NotReadyError, BrokenChainError, OSError) as error:
            return str(error) or type(error).__name__


def _lag(shards: Sequence[ReadingShard], answers: Sequence[RowPage | str]) -> Lag:
    """Return how far rows are behind the journals of the partitions that answered."""
    statuses = [
        (shard.status(), page) for shard, page in zip(shards, answers, strict=True) if not isinstance(page, str)
    ]
    events = sum(max(0, status.end - page.position.offset) for status, page in statuses)
    return Lag(events, max((status.lag_s for status, _ in statuses), default=0.0))


def keys_of(after: Keys | None, count: int) -> Keys:
    """Return behind which key each of so many partitions is gone on with.

    Raises:
        BadCursorError: they are the keys of another number.
    """
    keys = [None] * count if after is None else after
    if len(keys) != count:
        raise BadCursorError("the cursor is of another number of partitions")
    return keys


def gathered(
    wheres: Sequence[Key], answers: Sequence[RowPage | str], limit: int, after: Keys | None = None
) -> GatheredRows:
    """Return one page of the pages of partitions (or of why there is none). after: behind which keys these begin."""
    positions: dict[str, list[int | None]] = {}
    rebuilds: dict[str, list[Rebuilds | None]] = {}
    missing, stale = [], []
    pages: dict[int, RowPage] = {}
    for at, ((kind, partition), answer) in enumerate(zip(wheres, answers, strict=True)):
        rebuilds.setdefault(kind, []).append(None if isinstance(answer, str) else answer.rebuilds)
        if isinstance(answer, str):
            positions.setdefault(kind, []).append(None)
            missing.append(PartitionReason(kind, partition, answer))
            continue
        positions.setdefault(kind, []).append(answer.position.offset)
        pages[at] = answer
        if answer.stale is not None:
            stale.append(PartitionReason(kind, partition, answer.stale))
    cut = min((page.until for page in pages.values() if page.until is not None), default=None)
    merged = merge(*(zip(repeat(at), page.rows) for at, page in pages.items()), key=lambda found: found[1].key)
    known = (found for found in merged if cut is None or found[1].key <= cut)  # behind it, a cut page may have others
    shown = list(islice(known, limit))
    is_full = next(known, None) is not None
    is_end = all(page.is_end for page in pages.values()) and len(shown) == sum(
        len(page.rows) for page in pages.values()
    )
    rows, counts = [row for _, row in shown], Counter(at for at, _ in shown)
    until = rows[-1].key if rows and (is_full or cut is None) else cut
    moved = [
        _moved(key, pages[at].rows, counts[at], until) if until is not None and at in pages else key
        for at, key in enumerate(keys_of(after, len(wheres)))
    ]
    until = None if is_end else until
    return GatheredRows(rows, is_end, positions, missing, stale, rebuilds=rebuilds, after=moved, until=until)


def _moved(key: bytes | None, rows: Sequence[FoundRow], count: int, last: bytes) -> bytes | None:
    """Return behind which key a partition is gone on with. count: of its rows that were shown; last: of all, the last.

    All go on behind the last one, so that cursors are short; but one that has another row of this key does not.
    """
    if count < len(rows) and rows[count].key <= last:
        return rows[count - 1].key if count else key
    return max(key or b"", last)
