"""Merging events of partitions: pure, and the same on every worker.

The next event is, of the partitions' next matching ones in the order of their offsets, that with the least
`recorded_at`, then kind, then partition; descending, that with the greatest. Within a partition time may run back (a
clock was set, a worker with a slower one took over), so that `recorded_at` need not rise from one event to the next.
"""

from __future__ import annotations

from bisect import insort
from typing import TYPE_CHECKING, NamedTuple

from annals.agents.reading.gathering.places import place_at, place_behind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from annals.agents.reading.found import EventPage, FoundEvent
    from annals.agents.reading.gathering.cursors import Place
    from annals.agents.reading.ports import Key


class Merged(NamedTuple):
    """The next events of some partitions.

    keys: the partition of each event; places: where each partition is gone on with; is_end: none of them has more.
    """

    events: list[FoundEvent]
    keys: list[Key]
    places: dict[Key, Place]
    is_end: bool


def merge(pages: Mapping[Key, EventPage], limit: int, *, descending: bool) -> Merged:
    """Return the next events of pages, at most `limit`.

    It stops where a partition's page is used up and not its last one: what comes next in it is not known.
    """
    events: list[FoundEvent] = []
    keys: list[Key] = []
    used = dict.fromkeys(pages, 0)
    heads: list[tuple[str, str, int]] = []
    is_known = True
    for key, page in pages.items():
        if page.events:
            insort(heads, (page.events[0].event["recorded_at"], *key))
        else:
            is_known = is_known and page.is_end
    while heads and is_known and len(events) < limit:
        _, kind, partition = heads.pop() if descending else heads.pop(0)
        key = kind, partition
        page = pages[key]
        events.append(page.events[used[key]])
        keys.append(key)
        used[key] += 1
        if used[key] < len(page.events):
            insort(heads, (page.events[used[key]].event["recorded_at"], *key))
        else:
            is_known = page.is_end
    places = {
        key: place_at(page, page.events[used[key]]) if used[key] < len(page.events) else place_behind(page)
        for key, page in pages.items()
    }
    is_end = not heads and all(page.is_end for page in pages.values())
    return Merged(events, keys, places, is_end)
