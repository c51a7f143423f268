"""A store beside a shard's own, for what a restore point says: it is never opened again."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from annals.agents.ports import StoreDamagedError, StoreError
from annals.workers.stores.failures import StoreLockedError
from annals.workers.stores.folders import machine
from annals.workers.stores.rocks import Database, RocksStore

if TYPE_CHECKING:
    from annals.workers.stores.rocks import Identity, StoreBudget

D = TypeVar("D", bound=Database)

BESIDE: Final = "restored"


async def open_beside(root: Path, identity: Identity, budget: StoreBudget, compression: str) -> RocksStore:
    """Begin an empty store beside the shard's own: as `database_beside` does."""
    return await database_beside(RocksStore, root, identity, budget, compression)


async def database_beside(type_: type[D], root: Path, identity: Identity, budget: StoreBudget, compression: str) -> D:
    """Begin an empty store beside the shard's own, and remove those that nobody holds any more.

    Raises:
        StoreUnavailableError: the machine lacks what it takes to open one.
    """
    parent = root / identity.kind
    prefix = f"{BESIDE}.{identity.partition}."
    with machine(parent):
        parent.mkdir(parents=True, exist_ok=True)
        return await asyncio.to_thread(_opened_beside, type_, parent, prefix, budget, compression)


def _opened_beside(type_: type[D], parent: Path, prefix: str, budget: StoreBudget, compression: str) -> D:
    for left in parent.glob(f"{prefix}*"):
        with suppress(StoreLockedError):
            with suppress(StoreDamagedError):
                type_(left, budget.options(compression)).close()
            shutil.rmtree(left)
    return type_(Path(tempfile.mkdtemp(prefix=prefix, dir=parent)), budget.options(compression))


async def discard(store: Database) -> None:
    """Close a store and remove its folder."""
    with machine(store.folder):
        await asyncio.to_thread(_discard, store)


def _discard(store: Database) -> None:
    with suppress(StoreError):
        store.close()
    shutil.rmtree(store.folder)
