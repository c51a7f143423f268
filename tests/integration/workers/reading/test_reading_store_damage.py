"""A reading store that is damaged on disk is noticed, set aside and built anew; nobody is given what is not so."""

from pathlib import Path

import pytest

from annals.agents.aggregates import REGISTRY
from annals.agents.reading.following.shard import Shard
from annals.agents.reading.found import EventFilter
from annals.agents.reading.keeping.layout import IDENTITY_KEY
from annals.agents.reading.ports import BrokenChainError, NotReadyError
from annals.workers.stores.reading import ReadingStoreFolder, RocksReadingStore, reading_identity
from annals.workers.stores.rocks import StoreBudget
from chained import chain
from following import Clock, Damages, Journal, running, soon

PERSON = REGISTRY["person"]
EVENTS = [event for number in range(300) for event in chain(f"p-{number}", 4)]
IDENTITY = reading_identity("person", 0, 1, "events.person")


class Deployment:
    """One reading shard on a store in a folder, and its journal."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "read" / "person" / "0"
        self.budget = StoreBudget(8 << 20, 4 << 20)
        self.stores = ReadingStoreFolder(root, IDENTITY, self.budget, "lz4")
        self.journal = Journal(EVENTS)
        self.damages = Damages()

    def shard(self) -> Shard:
        return Shard(PERSON, 0, 1, self.stores, self.journal, self.journal, Clock(), self.damages)

    async def read(self) -> None:
        async with running(self.shard(), self.journal) as shard:
            assert await shard.until_offset(len(EVENTS), soon())

    async def answers(self, shard: Shard) -> list[tuple[bytes, bytes]]:
        """Everything, by several questions; each may find damage, and is asked again as a caller would."""
        found: list[tuple[bytes, bytes]] = []
        assert await shard.until_offset(len(EVENTS), soon())
        start: int | None = None
        while True:
            page = await shard.find(EventFilter(), start=start, descending=False, limit=500)
            found += [(each.cid, each.block) for each in page.events]
            if page.is_end:
                break
            start = page.next_offset
        for number in range(300):
            state = await shard.state(f"p-{number}")
            assert state is not None
            assert state.state["name"] == "Ada 4"
        return found

    async def all_is_right(self) -> None:
        async with running(self.shard(), self.journal) as shard:
            for _ in range(6):  # a store may be damaged at several places; it is set aside at the first one
                try:
                    found = await self.answers(shard)
                except NotReadyError:
                    continue
                break
            assert found == [(event.cid, event.value) for event in EVENTS]


@pytest.fixture
async def deployment(tmp_path: Path) -> Deployment:
    made = Deployment(tmp_path)
    await made.read()
    return made


def tables(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.sst"))


async def test_a_whole_store_is_gone_on_with(deployment: Deployment) -> None:
    before = {path.name for path in tables(deployment.folder)}
    await deployment.all_is_right()
    assert before <= {path.name for path in tables(deployment.folder)}
    assert deployment.damages.count == 0


@pytest.mark.parametrize("part", range(8))
async def test_flipped_bytes_in_a_table(deployment: Deployment, part: int) -> None:
    for table in tables(deployment.folder):
        content = bytearray(table.read_bytes())
        at = len(content) * part // 8 + 20
        content[at : at + 64] = bytes(255 - byte for byte in content[at : at + 64])
        table.write_bytes(content)
    await deployment.all_is_right()


@pytest.mark.parametrize("pattern", ["*.sst", "MANIFEST-*", "CURRENT"])
async def test_a_missing_file(deployment: Deployment, pattern: str) -> None:
    next(deployment.folder.glob(pattern)).unlink()
    await deployment.all_is_right()
    assert deployment.damages.count == 1
    assert (deployment.folder.parent / "damaged.0").is_dir()


@pytest.mark.parametrize("pattern", ["MANIFEST-*", "CURRENT", "*.sst"])
async def test_a_file_that_is_cut_off(deployment: Deployment, pattern: str) -> None:
    file = next(deployment.folder.glob(pattern))
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    await deployment.all_is_right()


@pytest.mark.parametrize(
    "identity",
    [
        reading_identity("person", 1, 1, "events.person"),
        reading_identity("person", 0, 1, "other.events.person"),
        IDENTITY.__class__(0, "person", 0, 1, 0, "events.person"),
    ],
    ids=["another partition's", "another journal's", "an old format"],
)
async def test_a_store_of_something_else_is_never_read(deployment: Deployment, identity: object) -> None:
    store = RocksReadingStore(deployment.folder, deployment.budget.options("lz4"))
    store.identify(identity)  # type: ignore[arg-type]
    store.apply({b"t\x00misread": b""})
    store.close()
    await deployment.all_is_right()
    store = RocksReadingStore(deployment.folder, deployment.budget.options("lz4"))
    assert store.get(b"t\x00misread") is None
    assert store.identity() == IDENTITY
    store.close()


async def test_an_identity_that_cannot_be_read(deployment: Deployment) -> None:
    store = RocksReadingStore(deployment.folder, deployment.budget.options("lz4"))
    store.apply({IDENTITY_KEY: b"?"})
    store.close()
    await deployment.all_is_right()
    assert deployment.damages.count == 1


async def test_a_row_that_is_not_as_it_was_is_told_and_not_returned(deployment: Deployment) -> None:
    async with running(deployment.shard(), deployment.journal) as shard:
        assert await shard.until_offset(len(EVENTS), soon())
        store = shard._open_store.store
        assert store is not None
        ((key, value),) = list(
            store.range(b"e\x00\x00\x00\x03p-7" + bytes(8), b"e\x00\x00\x00\x03p-7" + bytes(7) + b"\2")
        )
        store.apply({key: value[:-1] + b"?"})
        with pytest.raises(BrokenChainError, match="person 'p-7' version 1"):
            await shard.history("p-7", first=1, last=None, descending=False, limit=None)
