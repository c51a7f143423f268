"""What may follow a settled event is looked up once: for reading many at a time, and for each of them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from annals.agents.aggregates import REGISTRY
from annals.agents.publishing.delivering.loading import Loader
from annals.agents.publishing.delivering.machine import Settled
from annals.agents.publishing.ports import Kept
from annals.agents.publishing.selection import Subscribed
from annals.schemas.cid import cid_text
from annals.schemas.delivery import Row
from annals.schemas.subscription import Definition, Record
from chained import chain
from following import soon
from publishing import World

if TYPE_CHECKING:
    from annals.agents.reading.following.shard import Shard

PEOPLE = [f"p-{number}" for number in range(3)]


class Asked:
    """A reading shard. places: how often each was asked for; runs: the offsets of each question for events."""

    def __init__(self, shard: Shard) -> None:
        self._shard = shard
        self.places: Counter[tuple[str, int]] = Counter()
        self.runs: list[list[int]] = []

    async def offset_of(self, aggregate_id: str, version: int) -> int | None:
        self.places[aggregate_id, version] += 1
        return await self._shard.offset_of(aggregate_id, version)

    async def events_at(self, offsets: list[int]) -> dict[int, Any]:
        self.runs.append(offsets)
        return await self._shard.events_at(offsets)


async def test_each_place_is_asked_for_once() -> None:
    world = World("all")
    chains = [chain(name, 2) for name in PEOPLE]
    world.journal.append([event for version in range(2) for event in (of[version] for of in chains)])
    settled = [
        Settled(Row("person", name, 1, cid_text(of[0].cid), "PersonRenamed", at, ordered=True, state="discarded"), None)
        for at, (name, of) in enumerate(zip(PEOPLE, chains, strict=True))
    ]
    kept = Kept(Record(Definition("all", kinds=["person"]), 1, {"person": [0]}), 0)
    async with world.shard() as shard:
        end = 6
        assert await shard.until_offset(end, soon())
        source = Asked(shard)
        loader = Loader(Subscribed(kept, "person", 0), source, REGISTRY["person"])  # type: ignore[arg-type]
        await loader.read_following(settled, end)
        assert [(await loader.following(each, end)).offset for each in settled] == [3, 4, 5]
        assert (source.places, source.runs) == (Counter({(name, 2): 1 for name in PEOPLE}), [[3, 4, 5]])
        loader.clear()
        await loader.read_following(settled, end)
        assert source.places["p-0", 2] == 2, "what is read on the way is forgotten"
