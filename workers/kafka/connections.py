"""Connections to the brokers for requests that aiokafka's consumer and producer do not offer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiokafka.client import AIOKafkaClient

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class MissingTopicError(Exception):
    """A topic that is asked about is not there; the message names it and says what to do."""


async def connect(options: Mapping[str, Any], topics: Iterable[str]) -> AIOKafkaClient:
    """Return a client that is connected and knows the leaders of these topics.

    Raises:
        KafkaConnectionError: no broker answered.
    """
    client = AIOKafkaClient(**options)
    try:
        await client.bootstrap()
        await client.set_topics(topics)
    except BaseException:
        await client.close()
        raise
    return client


def partitions_of(client: AIOKafkaClient, topic: str) -> int:
    """Return the number of a topic's partitions.

    The client must have been connected for no topic in particular, which is for all: a question about one that is
    missing could create it.

    Raises:
        MissingTopicError: there is none.
    """
    partitions = client.cluster.partitions_for_topic(topic)
    if not partitions:
        raise MissingTopicError(f"there is no topic {topic}: create it with `annals topics create`")
    return len(partitions)
