"""What a worker had when it was last assigned partitions: kept in a file, which may be lost or say anything."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment

from annals.workers.app import create_app
from annals.workers.kafka.group.assignor import PROTOCOL_VERSION, BalancedAssignor
from annals.workers.kafka.group.membership import Membership
from annals.workers.kafka.group.sources import Sources
from annals.workers.last_assignment import FILE, LastAssignment
from annals.workers.settings import Settings

SOON_S = 20


def test_what_a_worker_had_is_there_when_it_is_started_again(tmp_path: Path) -> None:
    folder = tmp_path / "group"
    assert LastAssignment(folder).read() == {}
    LastAssignment(folder).write({"a": [1, 3], "b": [0]}, {"a": [0]})
    assert LastAssignment(folder).read() == {"a": [0, 1, 3], "b": [0]}
    LastAssignment(folder).write({}, {})
    assert LastAssignment(folder).read() == {}


@pytest.mark.parametrize("text", [b"", b"\xff", b'{"a":[', b'{"a":["1"]}', b"[" * 100_000])
def test_what_cannot_be_read_is_nothing(tmp_path: Path, text: bytes) -> None:
    (tmp_path / FILE).write_bytes(text)
    assert LastAssignment(tmp_path).read() == {}


def test_a_folder_that_takes_no_file_is_no_failure(tmp_path: Path) -> None:
    (tmp_path / "group").write_bytes(b"")
    LastAssignment(tmp_path / "group").write({"a": [1]})
    assert LastAssignment(tmp_path / "group").read() == {}


class Partitions:
    """Takes what is assigned."""

    def __init__(self) -> None:
        self.assigned: list[set[Any]] = []

    async def on_partitions_assigned(self, assigned: set[Any], _: object) -> None:
        self.assigned.append(assigned)

    async def on_partitions_revoked(self, revoked: set[Any]) -> None:
        raise AssertionError(revoked)


async def test_no_thread_is_waited_for_before_partitions_go_on(tmp_path: Path) -> None:
    """Goes red when it is: while stores are opened in all of them, the member sends no heartbeat and is put out."""
    partitions: Any = Partitions()
    assignor, last = BalancedAssignor.of_one_consumer(), LastAssignment(tmp_path)
    group = Membership("group", None), Sources(), partitions
    app = create_app(Settings(), {}, *group, {}, assignor, last)
    assignor.on_assignment(ConsumerProtocolMemberAssignment(PROTOCOL_VERSION, [("a", [1])], b""))
    are_open = threading.Event()
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    opening = asyncio.get_running_loop().run_in_executor(None, are_open.wait)
    try:
        async with asyncio.timeout(SOON_S):
            await app.on_partitions_assigned.send({("a", 1)})
    finally:
        are_open.set()
        await opening
    assert (partitions.assigned, last.read()) == ([{("a", 1)}], {"a": [1]})
