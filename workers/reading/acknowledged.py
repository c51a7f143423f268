"""What those who write acknowledged of a journal: asked of the offset that their group committed (`Acknowledged`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog
from aiokafka.errors import GroupAuthorizationFailedError, TopicAuthorizationFailedError

from annals.topics.group_metadata import NOTHING_KNOWN, decode_metadata
from annals.workers.kafka.read.offsets import committed
from annals.workers.kafka.write.failures import reaching

if TYPE_CHECKING:
    from aiokafka.client import AIOKafkaClient
    from aiokafka.structs import TopicPartition

    from annals.topics.group_metadata import GroupMetadata


log = structlog.get_logger(__name__)


class KafkaAcknowledged:
    """The offset of those who write, of one partition of commands."""

    def __init__(self, client: AIOKafkaClient, group: str, commands: TopicPartition) -> None:
        """Take a client, their group, and the partition of commands that goes with the journal's."""
        self._client = client
        self._group = group
        self._commands = commands

    async def __call__(self) -> GroupMetadata:
        """Return what its metadata says; nothing where there is no such offset, or where it may not be asked for.

        Raises:
            UnreachableError: the brokers do not answer.
        """
        with reaching("the offset of those who write"):
            try:
                found = await committed(self._client, self._group, self._commands)
            except (GroupAuthorizationFailedError, TopicAuthorizationFailedError) as error:
                log.warning("a lost end may go unnoticed", group=self._group, reason=f"{type(error).__name__}: {error}")
                return NOTHING_KNOWN
        return NOTHING_KNOWN if found is None else decode_metadata(found[1])
