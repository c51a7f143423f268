"""What a journal partition has between two offsets: read for an administrator, so never much of it."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Final, NamedTuple

from annals.schemas.chain import ForeignError, read_block
from annals.workers.kafka.read.ranges import read_range

if TYPE_CHECKING:
    from collections.abc import Collection

    from aiokafka.client import AIOKafkaClient
    from aiokafka.structs import TopicPartition


EXACT_OFFSETS: Final = 1_000  # of a longer stretch, its offsets are taken for its events
FEW_BYTES: Final = 64 << 10


class Unpublished(NamedTuple):
    """What is not published yet. events: how many; since: `recorded_at` of the first, None without any.

    Of a stretch of more than EXACT_OFFSETS it is the offsets, among which are those of transaction markers.
    """

    events: int
    since: str | None


async def unpublished(client: AIOKafkaClient, kind: str, where: TopicPartition, start: int, end: int) -> Unpublished:
    """Return what is between two offsets of a journal partition."""
    if start >= end:
        return Unpublished(0, None)
    is_exact = end - start <= EXACT_OFFSETS
    count, since = 0, None
    async with aclosing(read_range(client, where, start, end, FEW_BYTES)) as steps:
        async for records in steps:
            for _, _, value, _ in records:
                count += 1
                since = since or _recorded_at(kind, value)
            if since is not None and not is_exact:
                return Unpublished(end - start, since)
    return Unpublished(count, since)


async def latest_versions(
    client: AIOKafkaClient, kind: str, where: TopicPartition, start: int, end: int, types: Collection[str]
) -> dict[str, int]:
    """Return the latest schema version of each of some event types between two offsets."""
    found: dict[str, int] = {}
    names = [name.encode() for name in types]
    async with aclosing(read_range(client, where, start, end)) as steps:
        async for records in steps:
            for _, _, value, _ in records:
                if value is None or not any(name in value for name in names):  # spares decoding the others
                    continue
                try:
                    event = read_block(kind, value)
                except ForeignError:
                    continue
                if (name := event["type"]) in types:
                    found[name] = max(found.get(name, 0), event["schema_version"])
    return found


def _recorded_at(kind: str, value: bytes | None) -> str | None:
    try:
        return str(read_block(kind, value)["recorded_at"])
    except ForeignError:
        return None
