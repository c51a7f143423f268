"""What every factory of a shard's stores promises: one suite, in memory and on disk, faults included."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import pytest

from annals.agents.ports import Changes, Position, Stored, StoreDamagedError, StoreUnavailableError
from annals.testing import MemoryStores
from annals.workers.stores.rocks import StoreBudget, identity_of
from annals.workers.writing.shard_stores import Stores

if TYPE_CHECKING:
    from pathlib import Path

    from annals.agents.ports import StoreFactory

HEAD = b"\x01\x71\x1e\x20" + bytes(32)
ADA = Stored(3, HEAD, "2026-11-21T09:30:00.000000Z", b"state")
START, SEVEN = Position(0, -1, b""), Position(7, 6, HEAD)
CHANGES = Changes({b"p-1": ADA}, {}, {}, SEVEN)


class InMemory:
    def __init__(self) -> None:
        self.stores = MemoryStores()

    def damage(self) -> None:
        self.stores.damages = [StoreDamagedError("checksum mismatch")]

    def withhold(self) -> None:
        self.stores.unavailable = [StoreUnavailableError("permission denied")]


class OnDisk:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        identity = identity_of("person", 0, 1, 1, "events.person")
        self.stores = Stores(folder, identity, StoreBudget(8 << 20, 4 << 20), "lz4")

    def damage(self) -> None:
        """Write other bytes over what tells which files are the store's."""
        (current,) = self._folder.rglob("CURRENT")
        current.write_text("MANIFEST-999999\n")

    def withhold(self) -> None:
        """Put a file where the folder of the kind's stores was."""
        shutil.move(self._folder / "person", self._folder / "elsewhere")
        (self._folder / "person").write_text("")


@pytest.fixture(params=["memory", "rocksdb"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    return InMemory() if request.param == "memory" else OnDisk(tmp_path)


async def filled(stores: StoreFactory) -> None:
    store = await stores.open()
    assert store.position() == START
    store.apply(CHANGES)
    await stores.close(store)


async def test_a_store_is_opened_again_as_it_was_closed(place: Any) -> None:
    await filled(place.stores)
    again = await place.stores.open()
    assert (again.position(), again.aggregate(b"p-1")) == (SEVEN, ADA)
    await place.stores.close(again)


async def test_renewed_it_is_empty_then_and_when_it_is_opened_again(place: Any) -> None:
    await filled(place.stores)
    renewed = await place.stores.renew(await place.stores.open())
    assert (renewed.position(), renewed.aggregate(b"p-1")) == (START, None)
    await place.stores.close(renewed)
    again = await place.stores.open()
    assert again.position() == START
    await place.stores.close(again)


async def test_a_damaged_store_makes_room_once_it_is_set_aside(place: Any) -> None:
    await filled(place.stores)
    place.damage()
    with pytest.raises(StoreDamagedError) as found:
        (await place.stores.open()).aggregate(b"p-1")
    await place.stores.set_aside(found.value)
    again = await place.stores.open()
    assert (again.position(), again.aggregate(b"p-1")) == (START, None)
    await place.stores.close(again)


async def test_a_store_beside_the_shards_own_is_another_one_and_gone_once_it_is_discarded(place: Any) -> None:
    await filled(place.stores)
    beside = await place.stores.open_beside()
    assert (beside.position(), beside.aggregate(b"p-1")) == (START, None)
    beside.apply(Changes({b"p-2": ADA}, {}, {}, Position(9, 8, HEAD)))
    own = await place.stores.open()
    assert (own.position(), own.aggregate(b"p-2")) == (SEVEN, None)
    await place.stores.close(own)
    await place.stores.discard(beside)
    another = await place.stores.open_beside()
    assert another.position() == START
    await place.stores.discard(another)
    again = await place.stores.open()
    assert (again.position(), again.aggregate(b"p-1")) == (SEVEN, ADA)
    await place.stores.close(again)


async def test_what_the_machine_lacks_is_no_damage(place: Any) -> None:
    await filled(place.stores)
    place.withhold()
    with pytest.raises(StoreUnavailableError):
        await place.stores.open()


async def test_nor_is_what_it_lacks_for_a_store_beside(place: Any) -> None:
    await filled(place.stores)
    place.withhold()
    with pytest.raises(StoreUnavailableError):
        await place.stores.open_beside()
