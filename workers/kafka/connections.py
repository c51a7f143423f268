"""Connections to the brokers for requests that aiokafka's consumer and producer do not offer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiokafka.client import AIOKafkaClient

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


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
