"""The id that the brokers gave a topic when it was made: another one under the same name is another topic (KIP-516)."""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from aiokafka.errors import IncompatibleBrokerVersion

from annals.topics.wire import unsigned_at, unsigned_varint
from annals.workers.kafka.protocol.wire_requests import NO_TAGS, EncodedRequest, behind_tags, compact, compact_at

if TYPE_CHECKING:
    from io import BytesIO

    from aiokafka.client import AIOKafkaClient

NO_ID: Final = bytes(16)
MADE_ANEW: Final = "was deleted and made anew"
LOST_IT: Final = "it lost its end, was emptied or made anew"  # of a topic whose id does not tell
_NO_CREATION: Final = b"\0\0"  # of topics; nor are the operations told that are allowed
_NUMBER: Final = Struct(">i")
_ERROR: Final = Struct(">h")


class FoundTopic(NamedTuple):
    """What Metadata says of the one topic that was asked about."""

    topic_id: bytes

    @classmethod
    def decode(cls, data: BytesIO) -> FoundTopic:
        """Read what follows the header; an answer without the topic has no id."""
        view = memoryview(data.read())
        count, at = unsigned_at(view, _NUMBER.size)  # behind how long it was throttled
        for _ in range(count - 1):  # brokers
            _, at = compact_at(view, at + _NUMBER.size)
            _, at = compact_at(view, at + _NUMBER.size)
            at = behind_tags(view, at)
        _, at = compact_at(view, at)  # the cluster's id
        count, at = unsigned_at(view, at + _NUMBER.size)  # behind the controller
        if count < 2:  # one more than there are
            return cls(NO_ID)
        _, at = compact_at(view, at + _ERROR.size)
        return cls(bytes(view[at : at + len(NO_ID)]))


class TopicMetadataRequest(EncodedRequest):
    """Metadata, version 12, of one topic."""

    API_KEY = 3
    API_VERSION = 12
    IS_FLEXIBLE = True
    RESPONSE_TYPE = FoundTopic
    __slots__ = ()

    def __init__(self, topic: str) -> None:
        """Take the topic's name."""
        super().__init__(b"".join((unsigned_varint(2), NO_ID, compact(topic.encode()), NO_TAGS, _NO_CREATION, NO_TAGS)))


async def topic_id(client: AIOKafkaClient, topic: str) -> bytes | None:
    """Return a topic's id; None where the brokers have none for it, or are too old to tell.

    Raises:
        KafkaError: no broker answers.
    """
    node = client.get_random_node()
    try:
        found: Any = await client.send(node, TopicMetadataRequest(topic))
    except IncompatibleBrokerVersion:
        return None
    return None if found.topic_id == NO_ID else bytes(found.topic_id)


class SameTopic:
    """Whether a name stands for the topic that was read under it: offsets do not tell, once another one is longer."""

    def __init__(self, topic: str) -> None:
        """Take the name; nothing is read yet."""
        self._topic = topic
        self._seen: bytes | None = None
        self._read: bytes | None = None

    async def look(self, client: AIOKafkaClient) -> bool:
        """Return whether it is the one that was read; so it is where nothing was, and where the brokers have no id.

        Raises:
            KafkaError: no broker answers.
        """
        found = await topic_id(client, self._topic)
        if found is None:
            return True
        if self._read not in {None, found}:
            return False
        self._seen = found
        return True

    def was_read(self) -> None:
        """Take that the topic was read that was looked at last, and was none that another one was read in place of."""
        self._read = self._seen
