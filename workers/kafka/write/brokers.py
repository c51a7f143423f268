"""Whom a transactional writer speaks to: coordinators of transactions and groups, and the leaders of its topics."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from aiokafka.client import ConnectionGroup, CoordinationType
from aiokafka.errors import (
    CoordinatorNotAvailableError,
    KafkaError,
    NotCoordinatorError,
    ProducerFenced,
    UnknownTopicOrPartitionError,
    for_code,
)
from aiokafka.structs import TopicPartition

from annals.agents.ports import UncertainError
from annals.workers.clock import loop_time
from annals.workers.kafka.connections import connect
from annals.workers.kafka.write.throttle import Throttle

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aiokafka.client import AIOKafkaClient


MOVED: Final = (CoordinatorNotAvailableError, NotCoordinatorError)
COORDINATOR_BACKOFF_S: Final = 0.05
COORDINATOR_PATIENCE_S: Final = 10.0
PRODUCER_FENCED: Final = 90  # KIP-588; aiokafka has no class for it


def error_of(code: int) -> type[Exception] | None:
    """Return the exception class of a broker's error code; None for success."""
    if code == 0:
        return None
    if code == PRODUCER_FENCED:
        return ProducerFenced  # type: ignore[no-any-return]
    return for_code(code)  # type: ignore[no-any-return]


class Brokers:
    """One client, connected when it is first needed, and the coordinators that it has found."""

    def __init__(self, options: Mapping[str, Any], topics: Sequence[str]) -> None:
        """Take aiokafka client options, and the topics whose leaders are needed."""
        self._options = options
        self._topics = topics
        self._client: AIOKafkaClient | None = None
        self.throttle = Throttle()
        self._coordinators: dict[tuple[CoordinationType, str], int] = {}

    async def client(self) -> AIOKafkaClient:
        """Return the client, which knows the leaders of the topics; connected when first asked for.

        Raises:
            KafkaConnectionError: no broker answered.
        """
        if self._client is None:
            self._client = await connect(self._options, self._topics)
        return self._client

    async def coordinator(self, kind: CoordinationType, key: str) -> int:
        """Return the node that coordinates the transactions of an id, or a group.

        Raises:
            KafkaError: the brokers do not say, or name none for COORDINATOR_PATIENCE_S.
        """
        client, end = await self.client(), loop_time() + COORDINATOR_PATIENCE_S
        while (kind, key) not in self._coordinators:
            try:
                self._coordinators[kind, key] = await client.coordinator_lookup(kind, key)
            except MOVED as error:  # the internal topic is being made, or its leader is being chosen
                if loop_time() > end:
                    raise type(error)(f"the brokers name no coordinator of {key}") from error
                await asyncio.sleep(COORDINATOR_BACKOFF_S)
            except KafkaError as error:
                if error.args:
                    raise
                raise type(error)(key) from error  # aiokafka does not say of what
        return self._coordinators[kind, key]

    def forget_coordinators(self) -> None:
        """Look them up again when they are next needed."""
        self._coordinators.clear()

    async def ask_coordinator(self, kind: CoordinationType, key: str, request: Any) -> Any:
        """Return a coordinator's answer.

        Raises:
            KafkaError, OSError: there was none; whether the request was carried out is not known.
        """
        client = await self.client()
        node = await self.coordinator(kind, key)
        try:
            answer = await client.send(node, request, group=ConnectionGroup.COORDINATION)
        except (KafkaError, OSError):
            self.forget_coordinators()
            raise
        self.throttle.note(answer)
        return answer

    async def leader(self, where: TopicPartition) -> int:
        """Return the node that leads a partition.

        Raises:
            UnknownTopicOrPartitionError: there is no such topic or partition.
            TopicAuthorizationFailedError: the user may not see the topic.
            UncertainError: none does at present.
        """
        client = await self.client()
        topic, partition = where
        try:
            await client._wait_on_metadata(topic)  # noqa: SLF001 - aiokafka's producer does the same
        except UnknownTopicOrPartitionError as error:
            raise UnknownTopicOrPartitionError(f"there is no topic {topic}") from error
        leader = client.cluster.leader_for_partition(TopicPartition(topic, partition))
        if leader is None or leader < 0:
            client.force_metadata_update()
            if leader is None:
                raise UnknownTopicOrPartitionError(f"there is no {topic}-{partition}: the topic has fewer partitions")
            raise UncertainError(f"{topic}-{partition} has no leader at present")
        return int(leader)

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            client, self._client = self._client, None
            await client.close()
