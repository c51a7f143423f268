"""Where brokers cannot be reached, the address and the reason are told, and not that one has to be started."""

import asyncio
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import psutil
import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaConnectionError

from annals.workers.kafka import silent_brokers
from annals.workers.kafka.admin.provisioning import BrokersUnreachableError, check
from annals.workers.kafka.connections import connect, creating_nothing, partitions_soon
from annals.workers.settings import Settings
from annals.workers.tools.broker import Broker
from chained import make_topics
from processes import ENTRY_POINT, free_port, own_environment

pytestmark = pytest.mark.broker

WITHIN_S = 60

NOBODY = free_port()


@pytest.fixture(scope="module")
def misnamed(tmp_path_factory: pytest.TempPathFactory, cache_dir: Path | None) -> Iterator[str]:
    """A broker that names an address where nobody listens."""
    with Broker(tmp_path_factory.mktemp("misnamed"), advertised_port=NOBODY, cache_dir=cache_dir) as broker:
        yield f"127.0.0.1:{broker.port}"


async def test_an_advertised_listener_that_nobody_listens_on_is_named(misnamed: str) -> None:
    with pytest.raises(
        BrokersUnreachableError, match=rf"answers at {misnamed}, and names 127\.0\.0\.1:{NOBODY} .*advertised"
    ):
        await check(Settings(bootstrap_servers=misnamed))


async def test_brokers_that_have_another_address_are_found_at_one_that_was_given(
    tmp_path: Path, cache_dir: Path | None
) -> None:
    """Goes red when a client asks at the former address for as long as its process lives."""
    former, later = free_port(), free_port()
    options = {"bootstrap_servers": f"127.0.0.1:{former},127.0.0.1:{later}"}
    with Broker(tmp_path, former, cache_dir=cache_dir):
        client = await connect(options, [])
        assert await client.force_metadata_update()
    with Broker(tmp_path, later, cache_dir=cache_dir):
        async with asyncio.timeout(WITHIN_S):
            while not await client.force_metadata_update():
                pass
    assert {broker.port for broker in client.cluster.brokers()} == {later}
    await client.close()


FOR_EVER_MS = 10**9


class Door:
    """A way to a broker. answers: so many go through on each connection, the rest is kept; open: its connections.

    keeps: the connections of which that holds; all go through on the later ones.
    """

    def __init__(self, address: str) -> None:
        self._host, _, self._port = address.rpartition(":")
        self.answers = 1 << 30
        self.keeps = 1 << 30
        self.taken = 0
        self.open = 0

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.taken, self.open = self.taken + 1, self.open + 1
        theirs, ours = await asyncio.open_connection(self._host, int(self._port))
        is_held = self.taken <= self.keeps
        answering = asyncio.create_task(self._answer(theirs, writer, is_held=is_held))
        try:
            while said := await reader.read(1 << 16):
                ours.write(said)
        finally:
            self.open -= 1
            answering.cancel()
            for each in (writer, ours):
                each.close()

    async def _answer(self, theirs: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_held: bool) -> None:
        number = 0
        while True:
            size = await theirs.readexactly(4)
            answer = await theirs.readexactly(int.from_bytes(size, "big"))
            number += 1
            if number <= self.answers or not is_held:
                writer.write(size + answer)


@pytest.fixture
async def door(misnamed: str) -> AsyncIterator[tuple[Door, AIOKafkaClient]]:
    """A door to that broker, and a client that came in by it and knows only the address where nobody listens."""
    made = Door(misnamed)
    async with await asyncio.start_server(made.take, "127.0.0.1", 0) as server:
        (_, port), *_ = (each.getsockname() for each in server.sockets)
        consumer = creating_nothing(AIOKafkaConsumer(bootstrap_servers=f"127.0.0.1:{port}"))
        client = consumer._client
        await client.bootstrap()
        yield made, client
        await consumer.stop()


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not is_so():  # noqa: ASYNC110 - what is waited for is a count of sockets
            await asyncio.sleep(0.01)


async def test_where_no_known_broker_answers_those_that_were_given_are_asked_by_one_connection_that_is_kept(
    door: tuple[Door, AIOKafkaClient],
) -> None:
    """Goes red when nobody is asked anew, or each time by another connection, or when one outlives the client."""
    way, client = door
    await until(lambda: way.open == 0)
    for _ in range(3):
        assert not await client.force_metadata_update()
        assert (way.taken, way.open) == (2, 1)
    await client.close()
    await until(lambda: way.open == 0)


@pytest.mark.parametrize("answers", [0, 1])
async def test_who_is_closed_while_it_asks_them_leaves_no_connection(
    door: tuple[Door, AIOKafkaClient], answers: int
) -> None:
    """Goes red when a connection stays whose broker says nothing: to which versions it has, or who the brokers are."""
    way, client = door
    await until(lambda: way.open == 0)
    way.answers = answers
    asking = client.force_metadata_update()
    await until(lambda: way.taken == 2)
    async with asyncio.timeout(WITHIN_S):
        await client.close()
        await until(lambda: way.open == 0)
    assert way.taken == 2
    asking.cancel()


async def test_a_topic_is_not_called_missing_while_no_broker_says_so(tmp_path: Path, cache_dir: Path | None) -> None:
    """Goes red when a subscription is paused for good because a broker has hung for as long as a new topic may take."""
    with Broker(tmp_path, cache_dir=cache_dir) as broker:
        await make_topics(broker.bootstrap, ["known", "there"])
        client = await connect({"bootstrap_servers": broker.bootstrap, "request_timeout_ms": 3_000}, ["known"])
        assert broker._process is not None
        process = psutil.Process(broker._process.pid)
        process.suspend()
        try:
            with pytest.raises(KafkaConnectionError, match="no broker says whether there is a topic there"):
                await partitions_soon(client, "there")
        finally:
            process.resume()
        async with asyncio.timeout(WITHIN_S):
            while not await client.force_metadata_update():
                pass
        assert await partitions_soon(client, "there") == 1
        assert await partitions_soon(client, "nowhere") == 0
        await client.close()


@pytest.mark.parametrize("words", [["topics", "check"], ["send"], ["verify"], ["events", "person", "p-1"]])
def test_every_command_names_it(misnamed: str, words: list[str]) -> None:
    done = subprocess.run(
        [ENTRY_POINT, *words],
        env=own_environment(ANNALS_BOOTSTRAP_SERVERS=misnamed),
        input='{"kind": "person", "type": "ArchivePerson", "aggregate_id": "p-1", "data": {}}',
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert f"names 127.0.0.1:{NOBODY} as the address of a broker" in done.stderr
    assert done.stderr.count("\n") == 1


async def test_a_given_address_that_one_client_found_silent_no_other_one_asks_at(
    bootstrap: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goes red when each that begins waits there, as long as a request may take, where that is asked first."""
    monkeypatch.setattr(silent_brokers, "SOON_S", 0.2)
    silent = Door(bootstrap)
    silent.answers = 0
    async with await asyncio.start_server(silent.take, "127.0.0.1", 0) as server:
        (_, port), *_ = (each.getsockname() for each in server.sockets)
        options = {"bootstrap_servers": f"127.0.0.1:{port},{bootstrap}", "request_timeout_ms": 500}

        async def begin() -> None:
            client = await connect(options, [])
            await client.close()

        async with asyncio.timeout(WITHIN_S):
            while not silent.taken:
                await begin()
        for _ in range(20):
            await begin()
        assert silent.taken == 1
        await until(lambda: silent.open == 0)


@pytest.fixture
async def silent(bootstrap: str) -> AsyncIterator[tuple[Door, int]]:
    """A door that nothing comes out of, and its port."""
    made = Door(bootstrap)
    made.answers = 0
    async with await asyncio.start_server(made.take, "127.0.0.1", 0) as server:
        (_, port), *_ = (each.getsockname() for each in server.sockets)
        yield made, port


async def test_a_given_address_where_nobody_answers_keeps_nobody_from_the_next(
    silent: tuple[Door, int], bootstrap: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goes red when the first one waits there as long as a request may take: here for ever."""
    monkeypatch.setattr(silent_brokers, "SOON_S", 0.2)
    door, port = silent
    options = {"bootstrap_servers": f"127.0.0.1:{port},{bootstrap}", "request_timeout_ms": FOR_EVER_MS}
    async with asyncio.timeout(WITHIN_S):
        while not door.taken:
            client = await connect(options, [])
            await client.close()
        await until(lambda: door.open == 0)


async def test_given_addresses_that_are_all_slow_are_waited_for(
    silent: tuple[Door, int], bootstrap: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goes red when those that took longer than a connection does are given up."""
    monkeypatch.setattr(silent_brokers, "SOON_S", 0.2)
    door, port = silent
    door.keeps = 1
    options = {"bootstrap_servers": f"127.0.0.1:{port},127.0.0.1:{NOBODY}", "request_timeout_ms": FOR_EVER_MS}
    async with asyncio.timeout(WITHIN_S):
        client = await connect(options, [])
        await client.close()
    assert door.taken == 2
