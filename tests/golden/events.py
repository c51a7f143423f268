"""Writes the golden blocks of events, for the types and versions that have none yet.

    .venv/bin/python tests/golden/events.py
    .venv/bin/python tests/golden/events.py KIND TYPE.VERSION

A block that is written is not written again: it stands for those that lie in journals. Its data are the simplest that
give every member a value. A version that no release has published yet can be named, to be written anew.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from annals.agents.deciding.decider import Decider
    from annals.schemas.messages import Message

HERE = Path(__file__).parent / "events"
PREVIOUS = bytes.fromhex("01711e20") + bytes(range(32))
"""Of the second event of an aggregate; that of the first is null."""


class Published(NamedTuple):
    """A type in a version, and the type that the version has or had."""

    name: str
    version: int
    type: type[Message]

    @property
    def key(self) -> str:
        return f"{self.name}.{self.version}"


def published(decider: Decider[Any]) -> Iterator[Published]:
    """Every type in every version, the older ones first."""
    for name, spec in decider.events.items():
        for version, upcaster in enumerate(spec.upcasters, 1):
            yield Published(name, version, upcaster.older)
        yield Published(name, spec.schema_version, spec.type)


def golden(decider: Decider[Any]) -> Path:
    """Where the blocks of a kind are kept."""
    return HERE / f"{decider.kind}.json"


def block_of(decider: Decider[Any], each: Published, data: dict[str, Any]) -> tuple[bytes, bytes]:
    """The block of an event with these data, and its CID."""
    from annals.schemas.chain import seal

    creations = {event.__name__ for row in decider.machine.rows.values() if row.is_creation for event in row.events}
    is_first = each.name in creations
    return seal(
        kind=decider.kind,
        aggregate_id="golden-1",
        version=1 if is_first else 2,
        previous=None if is_first else PREVIOUS,
        type=each.name,
        schema_version=each.version,
        recorded_at="2026-11-21T09:30:00.123456Z",
        command_id="command-1",
        correlation_id="correlation-1",
        causation_id=None if is_first else "causation-1",
        actor=None if is_first else "golden",
        data=data,
    )


def _sample(message: type[Message]) -> dict[str, Any]:
    """The simplest data in which every member has a value."""
    from hypothesis import HealthCheck, Phase, find, settings

    from annals.agents.testing.strategies import structs

    names = [field.encode_name for field in msgspec.structs.fields(message)]

    def is_full(event: Any) -> bool:
        data = msgspec.to_builtins(event)
        return all(data.get(name) not in (None, [], {}) for name in names)

    quick = settings(
        max_examples=20_000,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    data: dict[str, Any] = msgspec.to_builtins(find(structs(message), is_full, settings=quick))
    return data


def _write(decider: Decider[Any], again: str = "") -> list[str]:
    from annals.schemas.canonical import decode
    from annals.schemas.cid import cid_text

    path = golden(decider)
    kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    new = [each for each in published(decider) if each.key not in kept or each.key == again]
    for each in new:
        data = _sample(each.type)
        block, cid = block_of(decider, each, data)
        kept[each.key] = {"cid": cid_text(cid), "block": block.hex()}
    for each in published(decider):  # a new version changes what the older ones are read as, and nothing else
        if any(each.name == other.name for other in new):
            data = decode(bytes.fromhex(kept[each.key]["block"]))["data"]
            kept[each.key]["newest"] = decider.event_data(decider.read_event(each.name, each.version, data))
    if new:
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return [each.key for each in new]


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2] / "src"))
    from annals.agents.aggregates import REGISTRY

    named = {sys.argv[1]: sys.argv[2]} if len(sys.argv) == 3 else {}
    for one in REGISTRY.values():
        if written := _write(one, named.get(one.kind, "")):
            print(f"written: {golden(one).name}:", *written)  # noqa: T201 -- a script that says what it did
