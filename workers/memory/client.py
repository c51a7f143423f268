"""A client of a cluster in memory: what `annals.workers.kafka` asks of aiokafka's, with the same names."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from annals.workers.memory.consumer import MemoryConsumer
from annals.workers.memory.server import FETCH, VERSIONS, Server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from annals.workers.memory.cluster import MemoryCluster

NODE: Final = 0


class Network(Protocol):
    """How a request comes to the broker, and its answer back."""

    async def ask(self, request: Any, serve: Callable[[Any], Any]) -> Any:
        """Return the answer; raise what aiokafka raises where there is none."""
        ...


class Direct:
    """A network on which nothing is lost or late."""

    async def ask(self, request: Any, serve: Callable[[Any], Any]) -> Any:
        """Return the answer, after others had their turn."""
        await asyncio.sleep(0)
        return serve(request)


class Cluster:
    """A cluster in memory as the `cluster` of connection options: makes clients and consumers."""

    def __init__(self, cluster: MemoryCluster, network: Network | None = None) -> None:
        """Take the model, and the network between it and its clients."""
        self.model = cluster
        self._server = Server(cluster)
        self._network = network or Direct()

    def client(self, **options: Any) -> MemoryClient:
        """Return a client; the options of a connection say nothing here."""
        del options
        return MemoryClient(self.model, self._server, self._network)

    def consumer(self, **options: Any) -> MemoryConsumer:
        """Return a consumer of partitions that it is assigned by hand."""
        del options
        return MemoryConsumer(self.client())


class _Broker(NamedTuple):
    nodeId: int  # noqa: N815 - aiokafka's name


class _Metadata:
    """Who leads which partition: the only broker all of them. wanted: topics that are known, none: all."""

    def __init__(self, cluster: MemoryCluster) -> None:
        self._cluster = cluster
        self.wanted: set[str] = set()

    def leader_for_partition(self, partition: Any) -> int | None:
        return NODE if tuple(partition) in self._cluster.logs and self._is_known(partition[0]) else None

    def topics(self) -> set[str]:
        return set(filter(self._is_known, self._cluster.topics))

    def available_partitions_for_topic(self, topic: str) -> set[int] | None:
        return self.partitions_for_topic(topic)

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        found = self._cluster.topics.get(topic)
        return set(range(found.partitions)) if found and self._is_known(topic) else None

    def brokers(self) -> list[_Broker]:
        return [_Broker(NODE)]

    def _is_known(self, topic: str) -> bool:
        return not self.wanted or topic in self.wanted


class MemoryClient:
    """Stands where an `AIOKafkaClient` would."""

    def __init__(self, cluster: MemoryCluster, server: Server, network: Network) -> None:
        """Take the model, what answers for it, and the way there."""
        self.cluster = _Metadata(cluster)
        self._server = server
        self._network = network

    async def bootstrap(self) -> None:
        """Connect: nothing is to be done."""

    def set_topics(self, topics: Iterable[str]) -> asyncio.Future[bool]:
        """Learn about topics and no others; none: about all. Return whether a broker answered."""
        self.cluster.wanted = set(topics)
        return self.force_metadata_update()

    def add_topic(self, topic: str) -> None:
        """Want to know about a topic, too."""
        self.cluster.wanted.add(topic)

    async def _wait_on_metadata(self, topic: str) -> None:
        """Wait until a topic is known: each is that somebody wants to know about."""
        if topic not in self.cluster.topics():
            self.add_topic(topic)

    def force_metadata_update(self) -> asyncio.Future[bool]:
        """Learn about topics anew."""
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        done.set_result(True)
        return done

    def get_random_node(self) -> int:
        """Return a node that may be asked."""
        return NODE

    async def coordinator_lookup(self, kind: Any, key: str) -> int:
        """Return the node that coordinates an id or a group."""
        del kind, key
        return NODE

    async def send(self, node: int, request: Any, *, group: Any = None) -> Any:
        """Return the broker's answer to a request."""
        del node, group
        prepared = request.prepare(VERSIONS)
        answer = await self._network.ask(prepared, self._server.answer)
        if prepared.API_KEY == FETCH and prepared.max_wait_time and _is_empty(answer):
            # As long as a broker waits for something to come.
            await asyncio.sleep(prepared.max_wait_time / 1000)
            answer = await self._network.ask(prepared, self._server.answer)
        return answer

    async def close(self) -> None:
        """Disconnect: nothing is to be done."""


def _is_empty(answer: Any) -> bool:
    return not any(code or data for _, partitions in answer.topics for _, code, *_, data in partitions)
