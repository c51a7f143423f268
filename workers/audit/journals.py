"""Which partitions a kind's journal has, and from where to where they reach."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from aiokafka.structs import TopicPartition

from annals.topics.keys import partition_of
from annals.topics.names import TopicNames
from annals.workers.audit.chains import JournalId
from annals.workers.kafka.connections import connect, partitions_of
from annals.workers.kafka.read.ranges import bounds
from annals.workers.settings import client_options

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from annals.workers.settings import Settings


class Journal(NamedTuple):
    """One partition: its first offset, and the last stable one, behind which nothing is committed yet."""

    place: JournalId
    start: int
    end: int


async def find_journals(settings: Settings, kinds: Iterable[str], key: bytes | None = None) -> list[Journal]:
    """Return the partitions of the kinds' journals, or of each only the one that a key belongs to.

    Raises:
        MissingTopicError: a kind has no journal.
        KafkaError: the brokers do not answer.
    """
    return await journals_of(client_options(settings), TopicNames(settings.topic_prefix), kinds, key)


async def journals_of(
    options: Mapping[str, Any], names: TopicNames, kinds: Iterable[str], key: bytes | None = None
) -> list[Journal]:
    """See `find_journals`; options: an aiokafka client's."""
    client = await connect(options, [])
    try:
        places = []
        for kind in kinds:
            topic = names.events(kind)
            partitions = partitions_of(client, topic)
            wanted = range(partitions) if key is None else [partition_of(key, partitions)]
            places += [JournalId(kind, topic, partition, partitions) for partition in wanted]
        wheres = [TopicPartition(place.topic, place.partition) for place in places]
        found = await bounds(client, wheres)
        return [Journal(place, *found[where]) for place, where in zip(places, wheres, strict=True)]
    finally:
        await client.close()
