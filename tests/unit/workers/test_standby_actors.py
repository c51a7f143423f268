"""Standbys beside owners: closed before an owner opens the same store, and the other way round."""

import asyncio

import pytest
from aiokafka.structs import TopicPartition

from annals.workers.open_files import RESERVED, needed
from annals.workers.partitions import Partitions

TOPIC = "commands.person"


class Folders:
    """What is open of each partition; two at once are a fault."""

    def __init__(self):
        self.open, self.told, self.suspended = {}, [], []


class Opened:
    def __init__(self, folders, role, key):
        assert key not in folders.open, f"{key} is open as {folders.open[key]}"
        self.folders, self.role, self.key = folders, role, key
        folders.open[key] = role
        folders.told.append(f"open {role} {key[1]}")

    async def run(self):
        await asyncio.Event().wait()

    async def suspend(self):
        self.folders.suspended.append((self.role, self.key[1]))

    def resume(self):
        self.folders.told.append(f"resume {self.role} {self.key[1]}")

    async def close(self):
        await asyncio.sleep(0)
        assert self.folders.open.pop(self.key) == self.role
        self.folders.told.append(f"close {self.role} {self.key[1]}")


class Role:
    def __init__(self, folders, role):
        self.folders, self.role, self.gone = folders, role, []

    def open(self, key):
        return Opened(self.folders, self.role, key)

    def closed(self, key, actor):
        self.gone.append((key[1], actor.role))

    def problem(self, key, actor):
        return None


class Scene:
    def __init__(self, *, files=100_000, standbys=True):
        self.folders = Folders()
        self.standing = Role(self.folders, "standby")
        self.partitions = Partitions(
            {TOPIC: "person"},
            Role(self.folders, "owner"),
            files,
            "shards",
            self.standing if standbys else None,
        )

    async def assign(self, owned, standby=()):
        await self.partitions.on_partitions_revoked(())
        self.folders.told.clear()
        given = [TopicPartition(TOPIC, partition) for partition in owned]
        await self.partitions.on_partitions_assigned(given, {TOPIC: list(standby), "another.topic": [0]})
        return {partition: role for (_, partition), role in sorted(self.folders.open.items())}


@pytest.fixture
async def scene():
    made = Scene()
    yield made
    await made.partitions.close()
    assert not made.folders.open


async def test_what_others_own_is_opened_as_a_standby(scene):
    assert await scene.assign([0], [1]) == {0: "owner", 1: "standby"}
    assert scene.folders.told == ["open owner 0", "open standby 1"], "who owns a partition comes first"
    assert [actor.key for actor in scene.partitions.standbys()] == [("person", 1)]
    assert [actor.key for actor in scene.partitions.all()] == [("person", 0)]


async def test_a_standby_gives_up_its_store_before_the_owner_opens_it_and_the_other_way_round(scene):
    await scene.assign([0], [1])
    assert await scene.assign([1], [0]) == {0: "standby", 1: "owner"}
    assert set(scene.folders.told[:2]) == {"close owner 0", "close standby 1"}
    assert scene.folders.told[2:] == ["open owner 1", "open standby 0"]
    assert scene.standing.gone == [(1, "standby")]


async def test_what_stays_a_standby_goes_on_through_a_rebalance(scene):
    await scene.assign([0], [1])
    assert await scene.assign([0], [1]) == {0: "owner", 1: "standby"}
    assert scene.folders.told == ["resume owner 0"]
    assert ("standby", 1) not in scene.folders.suspended


async def test_what_is_neither_is_closed(scene):
    await scene.assign([0], [1, 2])
    assert await scene.assign([], [2]) == {2: "standby"}


async def test_who_owns_a_partition_is_no_standby_of_it(scene):
    assert await scene.assign([0, 1], [1]) == {0: "owner", 1: "owner"}


async def test_a_role_without_standbys_opens_none():
    scene = Scene(standbys=False)
    assert await scene.assign([0], [1]) == {0: "owner"}
    await scene.partitions.close()


async def test_standbys_have_the_files_that_owners_leave():
    scene = Scene(files=needed(3))
    assert await scene.assign([0], [1, 2, 3]) == {0: "owner", 1: "standby", 2: "standby"}
    assert await scene.assign([0, 3], [1, 2]) == {0: "owner", 1: "standby", 3: "owner"}, "one makes room"
    assert await scene.assign([0], [4, 1, 2]) == {0: "owner", 1: "standby", 2: "standby"}, "what is open stays"
    await scene.partitions.close()


async def test_without_files_there_are_no_standbys():
    scene = Scene(files=RESERVED)
    assert await scene.assign([], [1]) == {}


async def test_readiness_does_not_ask_standbys(scene):
    await scene.assign([], [1])
    assert scene.partitions.not_ready() == []
