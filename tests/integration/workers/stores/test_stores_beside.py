"""A store beside a shard's own: empty at first, gone when it is discarded or when its process is."""

from pathlib import Path

from annals.agents.ports import Changes, Position, Stored
from annals.workers.stores.beside import discard, open_beside
from annals.workers.stores.reading import ReadingStoreFolder, reading_identity
from annals.workers.stores.rocks import StoreBudget, identity_of, open_store

BUDGET = StoreBudget(8 << 20, 4 << 20)
IDENTITY = identity_of("person", 3, 4, 1, "events.person")
HEAD = b"\x01\x71\x1e\x20" + bytes(32)
CHANGES = Changes({b"p-1": Stored(1, HEAD, "2026-11-21T09:30:00.000000Z", b"")}, {}, {}, Position(1, 0, HEAD))


async def test_what_nobody_holds_any_more_makes_room(tmp_path: Path) -> None:
    own = await open_store(tmp_path, IDENTITY, BUDGET, "lz4")
    left = await open_beside(tmp_path, IDENTITY, BUDGET, "lz4")
    left.apply(CHANGES)
    held = await open_beside(tmp_path, IDENTITY, BUDGET, "lz4")
    assert left.folder.is_dir()  # it is open
    left.close()
    another = await open_beside(tmp_path, IDENTITY, BUDGET, "lz4")
    assert not left.folder.exists()
    assert held.folder.is_dir()
    assert another.aggregate(b"p-1") is None
    for store in (held, another):
        await discard(store)
        assert not store.folder.exists()
    own.close()
    assert [path.name for path in (tmp_path / "person").iterdir()] == ["3"]


async def test_a_reading_shard_has_one_too(tmp_path: Path) -> None:
    stores = ReadingStoreFolder(tmp_path, reading_identity("person", 3, 4, "events.person"), BUDGET, "lz4")
    own = await stores.open()
    beside = await stores.open_beside()
    beside.apply({b"e": b"1"})
    assert own.get(b"e") is None
    left = await stores.open_beside()
    left.close()  # as if its process had ended
    another = await stores.open_beside()
    assert not left.folder.exists()
    await stores.discard(beside)
    await stores.discard(another)
    await stores.close(own)
    assert [path.name for path in (tmp_path / "read" / "person").iterdir()] == ["3"]
    again = await stores.open()
    assert again.get(b"e") is None
    await stores.close(again)
