"""All void events that a store knows of, page by page."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from annals.agents.ports import ShardStore


def all_voids(store: ShardStore) -> Iterator[tuple[bytes, tuple[bytes, bytes]]]:
    """Yield the CID, the record's key and the command id of each, in the order of the CIDs, a page in memory."""
    after = b""
    while page := store.voids(after):
        yield from sorted(page.items())
        after = max(page)
