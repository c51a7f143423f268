"""Connections to the brokers for requests that aiokafka's consumer and producer do not offer."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import random
import re
from typing import TYPE_CHECKING, Any, Final, TypeVar

from aiokafka import AIOKafkaProducer
from aiokafka.client import AIOKafkaClient, ConnectionGroup
from aiokafka.cluster import ClusterMetadata
from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import KafkaConnectionError, KafkaError
from aiokafka.protocol.group import JoinGroupRequest, SyncGroupRequest
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.structs import BrokerMetadata

from annals.workers.kafka.silent_brokers import SILENT

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable, Mapping

    from aiokafka import AIOKafkaConsumer

Asking = TypeVar("Asking")

CLUSTER: Final = "cluster"
"""The connection option that names a cluster in memory (`annals.workers.memory.client`)."""

TOPIC_WITHIN_S: Final = 5.0  # in which a topic that was made a moment ago is known to all brokers
LOOK_S: Final = 0.1

_AWAITING_OTHERS: Final = (JoinGroupRequest, SyncGroupRequest)
"""What brokers answer when the other members of a group have come, which may take longer than a request may."""

_STOPPING: Final[set[asyncio.Task[None]]] = set()  # an event loop by itself holds its tasks weakly


class MissingTopicError(Exception):
    """A topic of this deployment is not there; the message names it and says what to do. topic: its name."""

    def __init__(self, topic: str) -> None:
        """Take its name."""
        super().__init__(f"there is no topic {topic}: create it with `annals topics create`")
        self.topic = topic


def words_of(error: BaseException) -> str:
    """Return what an error of aiokafka says in words: no class before it, and addresses as somebody writes them."""
    said = re.sub(r"\('([^']+)', (\d+), <[^>]+>\)", r"\1:\2", str(error))
    said = re.sub(r"from \[(.*)\]", r"from \1", said)
    said = re.sub(rf"^(\[Error \d+\] )?{type(error).__name__}(: )?", "", said)
    return said or getattr(error, "description", None) or type(error).__name__


class _Connection(AIOKafkaConnection):
    """aiokafka's connection, but that no topic is made because somebody asks for it, and that silence is noted.

    Brokers make topics by default (`auto.create.topics.enable`), with their own partitions and settings, unless the
    question forbids it: aiokafka's does not. Brokers before 0.11, whose questions cannot say so, are too old anyway.
    """

    def send(self, request: Any, expect_response: bool = True) -> Any:  # noqa: FBT001, FBT002 - aiokafka's signature
        """Send a request, and return what will be its answer."""
        if isinstance(request, MetadataRequest):
            request = MetadataRequest(request._topics, allow_auto_topic_creation=False)  # noqa: SLF001 - as it was made
        answering = super().send(request, expect_response)
        return answering if isinstance(request, _AWAITING_OTHERS) else self._noted(answering)

    async def _noted(self, answering: Awaitable[Any]) -> Any:
        try:
            answer = await answering
        except TimeoutError:
            SILENT.note(self.host, self.port)
            raise
        SILENT.forget(self.host, self.port)
        return answer


class _Client(AIOKafkaClient):
    """aiokafka's client, but for four things.

    It creates nothing. A broker whose connection has ended, or that any client of this process found silent, is the
    last that it asks who leads or coordinates: that is mostly why it asks, and to learn that a machine which is gone
    takes no other one lasts as long as a request may; connecting to one that is known to be silent does not.
    Whoever is cancelled while it closes one ends cancelled: aiokafka's own `close` waits for a task in the background
    that it has cancelled, and suppresses every CancelledError that comes meanwhile: the caller's, too, which would then
    go on for good. And where no broker answers at an address that it knows, it looks for them at those that it was
    given (KIP-899): aiokafka's asks the former addresses for as long as the process lives.
    """

    async def close(self) -> None:
        """Disconnect."""
        task = asyncio.current_task()
        cancelled_before = task.cancelling() if task is not None else 0
        await super().close()
        if task is not None and task.cancelling() > cancelled_before:
            raise asyncio.CancelledError

    @property
    def hosts(self) -> list[Any]:
        """The addresses that were given, in any order; those of brokers that are silent are the last."""
        return sorted(super().hosts, key=lambda each: SILENT.has(*each[:2]))

    async def bootstrap(self) -> None:
        """Connect by the first of the addresses that somebody answers at, and soon; if nobody does, wait for each.

        Raises:
            KafkaConnectionError: nobody answers.
        """
        given: Any = self._bootstrap_servers  # type: ignore[has-type]  # aiokafka is untyped
        hosts = self.hosts
        try:
            if len(hosts) == 1:
                is_there = await self._bootstrapped_by(hosts, is_short=False)
            else:
                silent = (each for each in hosts if SILENT.has(*each[:2]))  # the others refused a moment ago
                is_there = await self._bootstrapped_by(hosts, is_short=True) or await self._bootstrapped_by(
                    silent, is_short=False
                )
        finally:
            self._bootstrap_servers = given
        if not is_there:
            raise KafkaConnectionError(f"Unable to bootstrap from {hosts}")

    async def _bootstrapped_by(self, hosts: Iterable[Any], *, is_short: bool) -> bool:
        """Connect by the first of some addresses that somebody answers at; False if nobody does."""
        for host, port, _ in hosts:
            self._bootstrap_servers = [f"[{host}]:{port}" if ":" in host else f"{host}:{port}"]
            if await SILENT.connected(host, port, self._bootstrapped(), is_short=is_short):
                return True
        return False

    async def _bootstrapped(self) -> bool:
        await super().bootstrap()
        return True

    async def _metadata_update(self, cluster_metadata: ClusterMetadata, topics: Iterable[str]) -> bool:
        if await self._told_by_others(cluster_metadata, topics):
            return True
        if await super()._metadata_update(cluster_metadata, topics):
            return True
        asked = {(broker.host, broker.port) for broker in self.cluster.brokers()}
        if all((host, port) in asked for host, port, _ in self.hosts):
            return False
        found = await self._brokers_anew(topics)
        if not found:
            return False
        self.cluster._brokers = found  # noqa: SLF001 - what it knows of the topics holds until they say otherwise
        return bool(await super()._metadata_update(cluster_metadata, topics))

    def get_random_node(self) -> Any:
        """Return a broker to ask for a coordinator; None: none is known."""
        others = self._others()
        return random.choice(others) if others else super().get_random_node()  # noqa: S311 - no secret

    def _others(self) -> list[Any]:
        """Return the brokers but for those whose connections have ended, and those that are silent."""
        connections = {
            each.nodeId: self._conns.get((each.nodeId, ConnectionGroup.DEFAULT))
            for each in self.cluster.brokers()
            if not SILENT.has(each.host, each.port)
        }
        return [node for node, each in connections.items() if each is None or each.connected()]

    async def _told_by_others(self, cluster_metadata: ClusterMetadata, topics: Iterable[str]) -> bool:
        """Where connections have ended, update metadata by a broker whose did not; return whether one answered."""
        others = self._others()
        if len(others) == len(self.cluster.brokers()):
            return False
        for node in random.sample(others, len(others)):  # one that is cut off from the rest says what was
            connection = await self._get_conn(node)
            if connection is None:
                continue
            try:
                metadata = await connection.send(MetadataRequest(list(topics) if topics else None))
            except (KafkaError, TimeoutError):
                continue
            if metadata.brokers:
                cluster_metadata.update_metadata(metadata)
                return True
        return False

    async def _brokers_anew(self, topics: Iterable[str]) -> dict[int, Any]:
        """Return the brokers that those at the addresses that were given name now; none where nobody answers there."""
        looking = copy.copy(self)  # with the same settings, and the same connections: whoever closes it closes them
        looking.cluster, named = ClusterMetadata(), ClusterMetadata()
        looking.cluster._brokers = {  # noqa: SLF001
            f"given {number}": BrokerMetadata(f"given {number}", host, port, None)
            for number, (host, port, _) in enumerate(self.hosts)
        }
        await AIOKafkaClient._metadata_update(looking, named, topics)  # noqa: SLF001
        return {broker.nodeId: broker for broker in named.brokers()}

    async def _get_conn(self, node: Any, *, group: Any = ConnectionGroup.DEFAULT, **how: Any) -> Any:
        connection = self._conns.get((node, group))
        if connection is not None and connection.connected():
            connection.__class__ = _Connection  # aiokafka offers no other place to say so
            return connection
        connecting, broker = super()._get_conn(node, group=group, **how), self.cluster.broker_metadata(node)
        if broker is None:
            return await connecting
        is_short = SILENT.has(broker.host, broker.port) and bool(self._others())
        connection = await SILENT.connected(broker.host, broker.port, connecting, is_short=is_short)
        if connection is None:
            self.force_metadata_update()
        else:
            connection.__class__ = _Connection
        return connection


def creating_nothing(made: Asking) -> Asking:
    """Return a consumer, a producer or an administration of aiokafka that makes no topic by asking for it.

    Whoever makes one in here has it go through this before it starts. Others of the process stay as they are.
    """
    client: Any = made.client if isinstance(made, AIOKafkaProducer) else made._client  # type: ignore[attr-defined]  # noqa: SLF001 - it is told which client to make nowhere
    client.__class__ = _Client
    return made


async def connect(options: Mapping[str, Any], topics: Iterable[str]) -> AIOKafkaClient:
    """Return a client that is connected and knows the leaders of these topics.

    Raises:
        KafkaConnectionError: no broker answered, or none at the address that the brokers name as theirs.
    """
    client = options[CLUSTER].client(**options) if CLUSTER in options else _Client(**options)
    try:
        await client.bootstrap()
        is_answered = await client.set_topics(topics)
    except BaseException:
        await client.close()
        raise
    if not is_answered:  # the topics would seem to be missing
        await client.close()
        raise KafkaConnectionError(f"{options['bootstrap_servers']}: no broker answers at its own address")
    return client


async def stop_consumer(consumer: AIOKafkaConsumer) -> None:
    """Stop a consumer and disconnect it, also when the caller is cancelled meanwhile, who then does not wait for that.

    aiokafka's own `stop`, cancelled, leaves what it has not come to as it is, and does nothing when called again: its
    client would stay connected as long as the process lives.
    """
    stopping = asyncio.create_task(_stop(consumer))
    _STOPPING.add(stopping)
    stopping.add_done_callback(_STOPPING.discard)
    await asyncio.shield(stopping)


async def _stop(consumer: AIOKafkaConsumer) -> None:
    try:
        with contextlib.suppress(asyncio.CancelledError):  # of a fetch that waits after a failure: it ends `stop`, too
            await consumer.stop()
    finally:
        await consumer._client.close()  # noqa: SLF001 - once more does no harm, and nothing else closes it then


async def look_for(client: AIOKafkaClient, topics: Iterable[str]) -> None:
    """Have a client know these topics, too, if they are there; where it knows them all, nobody is asked.

    To ask about all topics of a cluster costs as much as there are, of subscribers among them.

    Raises:
        KafkaConnectionError: no broker answers; the topics would seem to be missing.
    """
    known = client.cluster.topics()
    if lacking := set(topics) - known:
        client.set_topics(known | lacking)
        if not await client.force_metadata_update():  # by itself it does not ask again about what is missing
            raise KafkaConnectionError(f"no broker says whether there are topics {', '.join(sorted(lacking))}")


def partitions_of(client: AIOKafkaClient, topic: str) -> int:
    """Return the number of a topic's partitions, of one that the client was asked to know.

    Raises:
        MissingTopicError: there is none.
    """
    partitions = client.cluster.partitions_for_topic(topic)
    if not partitions:
        raise MissingTopicError(topic)
    return len(partitions)


async def partitions_soon(client: AIOKafkaClient, topic: str) -> int:
    """Return the number of partitions of a topic that may have been made a moment ago; 0: it is not there.

    Raises:
        KafkaConnectionError: no broker says whether it is. Whoever takes it for missing may give up for good.
    """
    if found := client.cluster.partitions_for_topic(topic):
        return len(found)
    client.add_topic(topic)
    deadline = asyncio.get_running_loop().time() + TOPIC_WITHIN_S
    is_answered = False
    while asyncio.get_running_loop().time() < deadline:
        is_answered = await client.force_metadata_update()
        if found := client.cluster.partitions_for_topic(topic):
            return len(found)
        await asyncio.sleep(LOOK_S)
    if not is_answered:
        raise KafkaConnectionError(f"no broker says whether there is a topic {topic}")
    return 0
