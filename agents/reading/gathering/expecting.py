"""Read your own writes: an answer waits until the events that its asker names are folded in what answers."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Final, NamedTuple

from annals.schemas.suggestion import with_known

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from annals.agents.reading.gathering.all_shards import AllShards

# A kind has no slash, a version no at sign: what is between may have both.
_EXPECTED: Final = re.compile(r"([^/]+)/(.+)@([1-9][0-9]{0,3999})", re.DOTALL)
MOST_ID_CHARACTERS: Final = 256
GREATEST: Final = 2**63 - 1  # what a larger version is taken for: no aggregate has that many


class Expected(NamedTuple):
    """An event that must be folded before the answer is given."""

    kind: str
    aggregate_id: str
    version: int


class ExpectedAt(NamedTuple):
    """Where the journal has an expected event."""

    kind: str
    partition: int
    offset: int


class NotFoldedError(Exception):
    """An expected event did not come before the deadline; the message names it, `offset` how far its owner has read."""

    def __init__(self, expected: Expected, partition: int, offset: int) -> None:
        """Take what did not come."""
        kind, aggregate_id, version = expected
        super().__init__(f"{kind} {aggregate_id!r} version {version} did not come in time")
        self.kind, self.partition, self.offset = kind, partition, offset


def parse_expected(text: str, kinds: Collection[str]) -> Expected:
    """Return what `<kind>/<id>@<version>` names.

    Raises:
        ValueError: it is not of this form; the message says what must be.
    """
    form = _EXPECTED.fullmatch(text)
    if form is None or len(form[2]) > MOST_ID_CHARACTERS:
        raise ValueError("must be <kind>/<aggregate id>@<version>, as person/p-1@3")
    if form[1] not in kinds:
        raise ValueError(with_known("there is no kind", form[1], kinds))
    return Expected(form[1], form[2], min(int(form[3]), GREATEST))


async def until_folded(shards: AllShards, expected: Sequence[Expected], deadline: float) -> list[ExpectedAt]:
    """Wait until the owners of expected events have folded them, and return where these are in the journal.

    Whoever answers from rows that are folded elsewhere waits for these offsets there, too. deadline: of the event
    loop's clock.

    Raises:
        NotFoldedError: one did not come.
    """
    return list(await asyncio.gather(*(_folded(shards, each, deadline) for each in expected)))


async def _folded(shards: AllShards, expected: Expected, deadline: float) -> ExpectedAt:
    shard = shards.of(expected.kind, expected.aggregate_id)
    offset = None
    if await shard.until_version(expected.aggregate_id, expected.version, deadline):
        offset = await shard.offset_of(expected.aggregate_id, expected.version)
    if offset is None:
        raise NotFoldedError(expected, shard.partition, shard.status().offset)
    return ExpectedAt(shard.kind, shard.partition, offset)
