"""Types of events that a replay is asked for, held to those that there are.

A replay hands on events of types that this release does not know, too: another release may have recorded them. Which
types others have is in the topic `schemas`; it is asked only where a type is not one of this release's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiokafka.errors import KafkaError

from annals.schemas.outcome import MOST_ERRORS
from annals.topics.names import TopicNames
from annals.topics.schemas import schema_key
from annals.workers.kafka.connections import connect
from annals.workers.registry import deciders, event_types, unknown_event
from annals.workers.schema_publisher import topic
from annals.workers.settings import client_options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from annals.workers.settings import Settings


async def problems_of_types(settings: Settings, kinds: Sequence[str], types: Sequence[str]) -> list[tuple[str, str]]:
    """Return a path (`types[0]`) and a message for each type of which these kinds have no event in any release.

    Raises:
        KafkaError: the brokers do not answer; asked only for a type that this release does not have.
    """
    ours = event_types(kinds)
    others = [(at, name) for at, name in enumerate(types) if name not in ours]
    if not others:
        return []
    published = await _published(settings)
    unknown = [(at, name) for at, name in others if not _is_event(name, kinds, published)]
    # To find what was meant takes longer than all the rest.
    return [(f"types[{at}]", unknown_event(name, kinds) or "") for at, name in unknown[:MOST_ERRORS]]


async def _published(settings: Settings) -> frozenset[str]:
    """Return the keys of the topic of schemas; none where it is not there, or may not be read."""
    options, name = client_options(settings), TopicNames(settings.topic_prefix).schemas
    client = await connect(options, [])
    try:
        if not client.cluster.partitions_for_topic(name):
            return frozenset()
    finally:
        await client.close()
    try:
        return frozenset(await topic.read(options, name, ()))
    except KafkaError as error:
        if error.retriable:
            raise
        return frozenset()


def _is_event(name: str, kinds: Sequence[str], published: frozenset[str]) -> bool:
    """Whether some release published it as a message of these kinds that is no command of this release."""
    return any(schema_key(kind, name, 1) in published and name not in deciders()[kind].commands for kind in kinds)
