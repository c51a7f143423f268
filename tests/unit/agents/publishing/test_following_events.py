"""What may follow a settled event is looked up once: for reading many at a time, and for each of them."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

from annals.agents.aggregates import REGISTRY
from annals.agents.publishing import heavy
from annals.agents.publishing.delivering import loading
from annals.agents.publishing.delivering.loading import Loader

BEGIN, END = 10, 30


class Source:
    """A journal of which each aggregate has one more event. asked: how often each place was asked for."""

    def __init__(self) -> None:
        self.asked: Counter[tuple[str, int]] = Counter()
        self.read: list[list[int]] = []

    async def offset_of(self, aggregate_id: str, version: int) -> int | None:
        self.asked[aggregate_id, version] += 1
        return BEGIN + int(aggregate_id[2:]) if version == 2 else None

    async def events_at(self, offsets: list[int]) -> dict[int, Any]:
        self.read.append(offsets)
        return {
            offset: SimpleNamespace(offset=offset, cid=b"", block=b"", event=event(offset - BEGIN))
            for offset in offsets
        }


def event(number: int) -> dict[str, Any]:
    return {"aggregate_id": f"p-{number}", "version": 2, "type": "PersonRenamed"}


async def test_each_place_is_asked_for_once(monkeypatch) -> None:
    monkeypatch.setattr(heavy, "wanted", lambda *_: object())
    monkeypatch.setattr(loading, "cid_text", lambda cid: "")
    source = Source()
    loader = Loader(SimpleNamespace(filters_s=0.0, expressions=0), source, REGISTRY["person"])  # type: ignore[arg-type]
    settled: list[Any] = [
        SimpleNamespace(row=SimpleNamespace(aggregate_id=f"p-{number}", version=1), later=None) for number in range(3)
    ]
    await loader.read_following(settled, END)
    assert [(await loader.following(each, END)).offset for each in settled] == [10, 11, 12]
    assert (source.asked, source.read) == (Counter({(f"p-{number}", 2): 1 for number in range(3)}), [[10, 11, 12]])
    loader.clear()
    await loader.read_following(settled, END)
    assert source.asked["p-0", 2] == 2, "what is read on the way is forgotten"
