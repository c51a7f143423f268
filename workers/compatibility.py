"""What the code's schemas would break of what was published: each difference, and whom it breaks.

Backward compatible: what is stored is read, and what senders of today send is taken. Forward compatible: readers of
today read what is written tomorrow. Within one version of an event both must hold, since its number is all that a
reader has; what needs more gets a new version. Commands have one version: new members need a new worker, nothing else.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from agents.aggregates import REGISTRY
from schemas.compatibility import Difference, differences
from workers.published import STATES, layouts, published

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from importlib.resources.abc import Traversable
    from pathlib import Path

    from agents.decider import Decider
    from agents.layouts import Layout
    from schemas.json_schema import MessageSchema, Role, Schema

STORED: Final = "stored events"
NEW_READERS: Final = "new readers"
OLD_READERS: Final = "old readers"
OLD_SENDERS: Final = "old senders"
SNAPSHOTS: Final = "snapshots"
BACKWARD: Final = frozenset({STORED, NEW_READERS, OLD_SENDERS, SNAPSHOTS})
FORWARD: Final = frozenset({OLD_READERS})
LEVELS: Final = {"backward": BACKWARD, "forward": FORWARD, "full": BACKWARD | FORWARD}


class Finding(NamedTuple):
    """One difference between what was published and what the code says; `breaks` names whom it breaks, if anybody."""

    name: str
    path: str
    what: str
    breaks: tuple[str, ...] = ()


class Baseline(NamedTuple):
    """What was published: schemas by URN, and each kind's state version and layout."""

    schemas: Mapping[str, Schema]
    states: Mapping[str, Any]


def read_baseline(folder: Traversable | Path) -> Baseline:
    """What a folder written by `annals schemas export` says was published.

    Raises:
        FileNotFoundError: the folder has no states.json, so it is none.
    """
    states = json.loads(folder.joinpath(STATES).read_text(encoding="utf-8"))
    found: dict[str, Schema] = {}
    for kind in folder.iterdir():
        if kind.is_dir():
            for file in kind.iterdir():
                schema = json.loads(file.read_text(encoding="utf-8"))
                found[schema["$id"]] = schema
    return Baseline(found, states)


def compare(before: Baseline, registry: Mapping[str, Decider[Any]] = REGISTRY) -> Iterator[Finding]:
    """Every difference: schemas that are gone, new or changed, then states."""
    now = {schema.urn: schema for schema in published(registry)}
    roles = _roles(now)
    for urn in sorted(before.schemas.keys() - now.keys()):
        yield _gone(urn)
    for urn, schema in now.items():
        if urn not in before.schemas:
            yield _new(schema)
            continue
        for difference in differences(before.schemas[urn], schema.schema):
            yield Finding(urn, difference.path, difference.what, _breaks(roles[urn], difference))
    yield from _states(before.states, layouts(registry))


def _roles(now: Mapping[str, MessageSchema]) -> dict[str, Role | str]:
    """Whose rules hold: what is around the data is sent, read or disposable as its name says."""
    around = {"Command": "command", "Snapshot": "snapshot"}
    return {
        urn: around.get(schema.name, "event") if schema.role == "wire" else schema.role for urn, schema in now.items()
    }


def _breaks(role: Role | str, difference: Difference) -> tuple[str, ...]:
    if role == "command":
        return (OLD_SENDERS,) * difference.is_narrower
    if role == "snapshot":
        return ()  # ignored where it is unknown
    return (STORED, NEW_READERS) * difference.is_narrower + (OLD_READERS,) * difference.is_wider


def _gone(urn: str) -> Finding:
    """A type or version that nothing takes or reads any more."""
    return Finding(urn, "", "removed: it was published, so it is stored or sent", (STORED, NEW_READERS, OLD_SENDERS))


def _new(schema: MessageSchema) -> Finding:
    if schema.role == "event" and schema.version > 1:
        return Finding(schema.urn, "", "new version: releases before this one stop at it, and say so")
    return Finding(schema.urn, "", f"new {schema.role}: releases before this one do not know it")


def _states(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Finding]:
    for kind, state in now.items():
        old = before.get(kind)
        if old is None or old == state:
            continue
        if old["state_version"] == state["state_version"]:
            what = f"the layout changed, and state_version is still {state['state_version']}: raise it"
            yield Finding(f"state of {kind}", _first(old["layout"], state["layout"]), what, (SNAPSHOTS,))
        else:
            what = f"state_version {old['state_version']} → {state['state_version']}: older snapshots are passed over"
            yield Finding(f"state of {kind}", "", what)


def _first(old: Layout, new: Layout) -> str:
    """The first part of a state that differs."""
    return next((part for part in {**old, **new} if old.get(part) != new.get(part)), "")
