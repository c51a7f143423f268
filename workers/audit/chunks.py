"""Chunks of journals, and their surveys from Kafka."""

from __future__ import annotations

import gc
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, NamedTuple

from aiokafka.structs import TopicPartition

from annals.workers.audit.scan import Survey, Unread, survey
from annals.workers.audit.unread import read_around
from annals.workers.kafka.connections import connect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
    from typing import Any

    from annals.workers.audit.chains import JournalId
    from annals.workers.audit.journals import Journal

    Surveyor = Callable[["Chunk"], Coroutine[None, None, Survey]]

CHUNK_OFFSETS: Final = 16_384
"""Offsets in a chunk: a fifth of a second of work, and 2 MB of survey where no two records are of one aggregate."""


class Chunk(NamedTuple):
    """A range of a journal, of which records of `only_key` are wanted, or all where that is None."""

    place: JournalId
    start: int
    end: int
    only_key: bytes | None


def chunks_of(journal: Journal, only_key: bytes | None = None, start: int | None = None) -> Iterator[Chunk]:
    """Cut a journal, from `start` or its beginning, into chunks."""
    first = journal.start if start is None else start
    for begin in range(first, journal.end, CHUNK_OFFSETS):
        yield Chunk(journal.place, begin, min(begin + CHUNK_OFFSETS, journal.end), only_key)


@asynccontextmanager
async def surveyor(options: Mapping[str, Any], topics: Sequence[str]) -> AsyncIterator[Surveyor]:
    """Connect, by aiokafka client options, and give a function that surveys a chunk of these topics.

    The garbage collector is off meanwhile: it would look for cycles in millions of headers that have none, for a
    quarter of the time. It runs once per chunk instead.
    """
    client = await connect(options, topics)

    async def look(chunk: Chunk) -> Survey:
        found = Survey([], [], [])
        kind, topic, partition, partitions = chunk.place
        where = TopicPartition(topic, partition)
        async for records in read_around(client, where, chunk.start, chunk.end):
            if isinstance(records, Unread):
                found.unread.append(records)
                continue
            part = survey(kind, partition, partitions, records, chunk.only_key)
            found.runs += part.runs
            found.foreign += part.foreign
        gc.collect(0)  # whatever the chunk left behind is young
        return found

    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield look
    finally:
        if was_enabled:
            gc.enable()
        await client.close()
