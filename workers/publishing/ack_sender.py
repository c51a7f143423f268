"""Writes answers that came over HTTP to `acks.<name>` (the `Acks` port of the API)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from aiokafka.errors import KafkaError

from annals.agents.publishing.administration import Refused, all_kinds_of
from annals.schemas.subscription import ACKNOWLEDGED
from annals.topics.catalog import SUBSCRIBER_TOPIC_BYTES
from annals.topics.keys import partition_of
from annals.workers.kafka.connections import connect
from annals.workers.kafka.write.idempotent import IdempotentProducer
from annals.workers.publishing.subscriptions_topic import read_known

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from annals.agents.deciding.decider import Decider
    from annals.agents.publishing.ports import Kept
    from annals.topics.names import TopicNames
    from annals.workers.publishing.compacted_views import CompactedViews

WITHIN_S: Final = 10.0


class AckSender:
    """Connects with the first answer. known: the subscriptions as this process follows them, where it does."""

    def __init__(
        self,
        options: Mapping[str, Any],
        names: TopicNames,
        deciders: Mapping[str, Decider[Any]],
        known: Callable[[], Mapping[str, Kept]],
        views: CompactedViews,
    ) -> None:
        """Take aiokafka client options, the kinds that there are, and what was read for other requests."""
        self._options = options
        self._names = names
        self._deciders = deciders
        self._known = known
        self._views = views
        self._producer = IdempotentProducer(options, max_request_size=SUBSCRIBER_TOPIC_BYTES)

    async def kinds(self, name: str) -> Sequence[str]:
        """Return the kinds of a subscription that takes answers.

        Raises:
            Refused: there is none (404), or it takes none (409).
        """
        kept = self._known().get(name) or await self._read(name)
        if kept is None or kept.record.is_deleted:
            raise Refused(404, "not_found", f"there is no subscription {name!r}")
        definition = kept.record.definition
        if definition.delivery != ACKNOWLEDGED:
            what = f"{name} has delivery {definition.delivery}, which takes no answers"
            raise Refused(409, "not_acknowledged", what)
        return all_kinds_of(kept.record, self._deciders)

    async def send(self, name: str, kind: str, aggregate_id: str, value: bytes) -> None:
        """Return when all in-sync replicas have the answer.

        It goes to the partition that goes with the journal's: of those that somebody added to the topic, none is read.

        Raises:
            MissingTopicError: the topic is not there.
            KafkaError: the brokers do not say that they have it.
        """
        topic, key = self._names.acks(name), aggregate_id.encode()
        try:
            async with asyncio.timeout(WITHIN_S):
                there = await self._producer.partitions_of(topic)
                partitions = min(there, await self._producer.partitions_of(self._names.events(kind)))
                await self._producer.send_and_wait(topic, value, key, partition_of(key, partitions))
        except TimeoutError as error:
            raise KafkaError("the brokers do not say that they have the answer") from error

    async def stop(self) -> None:
        """Disconnect."""
        await self._producer.stop()

    async def _read(self, name: str) -> Kept | None:
        """Return a subscription that was put a moment ago, or that this process does not follow."""
        client = await connect(self._options, [self._names.subscriptions])
        try:
            return (await read_known(client, self._names, self._views, is_settled=False)).get(name)
        finally:
            await client.close()
