"""Who leads what is asked of the others first where a connection has ended: a machine that is gone takes no new one."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.client import ConnectionGroup
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.group import JoinGroupRequest, SyncGroupRequest

from annals.workers.kafka import silent_brokers
from annals.workers.kafka.connections import _Client, _Connection

TRIES = 20
"""Who is asked first is drawn: a wrong rule does not pass so often."""


def metadata() -> Any:
    brokers = [(node, "kafka", 9100 + node, None) for node in (1, 2, 3)]
    return SimpleNamespace(API_VERSION=1, brokers=brokers, controller_id=1, topics=[])


class Connection:
    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.is_open = True
        self.asked = 0

    def __setattr__(self, name: str, value: object) -> None:
        if name != "__class__":  # the client makes its own of each, which asks for real
            super().__setattr__(name, value)

    def connected(self) -> bool:
        return self.is_open

    async def send(self, _: Any) -> Any:
        self.asked += 1
        if self.error is not None:
            raise self.error
        return metadata()

    def close(self, reason: Any = None) -> None:
        self.is_open = False


@pytest.fixture(autouse=True)
def _none_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the clients of other tests found."""
    monkeypatch.setattr(silent_brokers.SILENT, "_until", {})


@pytest.fixture
async def client(monkeypatch: pytest.MonkeyPatch) -> Any:
    """One that knows three brokers, and notes to whom it begins a connection; nobody is there."""
    made: Any = _Client(bootstrap_servers="127.0.0.1:1")
    made.cluster.update_metadata(metadata())
    made.begun = []

    async def create(host: str, port: int, **_: Any) -> Any:
        made.begun.append(port - 9100)
        raise KafkaConnectionError

    monkeypatch.setattr("aiokafka.client.create_conn", create)
    return made


def connect(client: Any, **by_node: Connection) -> None:
    client._conns = {(int(node[1:]), ConnectionGroup.DEFAULT): each for node, each in by_node.items()}


async def asked(client: Any) -> bool:
    return bool(await client._metadata_update(client.cluster, []))


async def test_a_broker_whose_connection_has_ended_is_asked_last(client: Any) -> None:
    """Goes red when a fetch goes to the former leader once more, since who leads now is asked of that one."""
    for _ in range(TRIES):
        gone, there = Connection(), Connection()
        gone.is_open = False
        connect(client, n1=Connection(KafkaConnectionError()), n2=gone, n3=there)
        assert await asked(client)
        assert (client.begun, gone.asked, there.asked) == ([], 0, 1)


async def test_where_no_other_answers_it_is_asked_too(client: Any) -> None:
    gone = Connection()
    gone.is_open = False
    connect(client, n1=Connection(KafkaConnectionError()), n2=gone, n3=Connection(TimeoutError()))
    assert not await asked(client)
    assert 2 in client.begun


async def test_any_of_those_that_are_there_is_asked(client: Any) -> None:
    """Goes red when it is the same one each time: what a broker says that is cut off from the others is old."""
    gone, first, second = Connection(), Connection(), Connection()
    gone.is_open = False
    for _ in range(5 * TRIES):
        connect(client, n1=first, n2=gone, n3=second)
        assert await asked(client)
    assert first.asked
    assert second.asked


async def test_who_coordinates_is_not_asked_of_it_either(client: Any) -> None:
    gone = Connection()
    gone.is_open = False
    connect(client, n2=gone, n3=Connection())
    assert {client.get_random_node() for _ in range(5 * TRIES)} == {1, 3}
    connect(client, n1=gone, n2=gone, n3=gone)
    assert client.get_random_node() in {1, 2, 3}
    client.cluster._brokers.clear()
    assert client.get_random_node() is None


def another() -> Any:
    made: Any = _Client(bootstrap_servers="127.0.0.1:1")
    made.cluster.update_metadata(metadata())
    return made


async def test_a_broker_that_one_client_found_silent_no_other_one_of_the_process_waits_for(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goes red when each client waits for it as long as a request may: a machine that is gone closes nothing."""
    monkeypatch.setattr(silent_brokers, "SOON_S", 0.01)
    is_patient = True

    async def create(*_: Any, **__: Any) -> Any:
        await (asyncio.sleep(0.02) if is_patient else asyncio.Event().wait())
        raise TimeoutError

    monkeypatch.setattr("aiokafka.client.create_conn", create)
    assert await client._get_conn(2) is None
    other = another()
    assert {other.get_random_node() for _ in range(5 * TRIES)} == {1, 3}
    connect(other, n1=Connection(), n3=Connection())
    assert await asked(other)
    is_patient = False
    assert await other._get_conn(2) is None

    is_patient = True
    monkeypatch.setattr(silent_brokers, "KNOWN_S", -1.0)
    silent_brokers.SILENT._until.clear()  # as half a minute later
    assert await other._get_conn(2) is None
    assert 2 in {other.get_random_node() for _ in range(5 * TRIES)}


async def test_a_broker_that_is_the_only_one_is_waited_for(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(silent_brokers, "SOON_S", 0.0)
    for node in (1, 2, 3):
        silent_brokers.SILENT.note("kafka", 9100 + node)

    there = Connection()

    async def create(*_: Any, **__: Any) -> Any:
        await asyncio.sleep(0.02)
        return there

    monkeypatch.setattr("aiokafka.client.create_conn", create)
    assert await client._get_conn(2) is there
    assert not silent_brokers.SILENT.has("kafka", 9102)
    assert silent_brokers.SILENT.has("kafka", 9101)


async def test_a_question_without_an_answer_and_an_answer_are_noted() -> None:
    made: Any = _Connection("kafka", 9102)

    async def never() -> Any:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        await made._noted(never())
    assert silent_brokers.SILENT.has("kafka", 9102)

    async def answers() -> str:
        return "answer"

    assert await made._noted(answers()) == "answer"
    assert not silent_brokers.SILENT.has("kafka", 9102)


@pytest.mark.parametrize("request_type", [JoinGroupRequest, SyncGroupRequest])
async def test_a_broker_that_waits_for_other_members_is_not_silent(
    monkeypatch: pytest.MonkeyPatch, request_type: Any
) -> None:
    """Goes red when all ask it last, and are cut off from it, because a member drains, or is gone without leaving."""
    made: Any = _Connection("kafka", 9102)

    async def never(*_: Any) -> Any:
        raise TimeoutError

    monkeypatch.setattr("aiokafka.conn.AIOKafkaConnection.send", never)
    with pytest.raises(TimeoutError):
        await made.send(request_type.__new__(request_type))
    assert not silent_brokers.SILENT.has("kafka", 9102)
