"""What the code's schemas would break of what was published: each difference, and whom it breaks.

Backward compatible: what is stored is read, and what senders of today send is taken. Forward compatible: readers of
today read what is written tomorrow. Within one version of an event both must hold, since its number is all that a
reader has; what needs more gets a new version. Commands have one version: new members need a new worker, nothing else.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from annals.agents.aggregates import REGISTRY
from annals.schemas.json_schemas.compatibility import Difference, differences
from annals.schemas.json_schemas.json_schema import urn
from annals.schemas.json_schemas.wire_schemas import WIRE
from annals.workers.schema_publisher.published import ASYNCAPI, STATES, layouts, published

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from importlib.resources.abc import Traversable

    from annals.agents.deciding.decider import Decider
    from annals.agents.deciding.state_layouts import Layout
    from annals.schemas.json_schemas.json_schema import MessageSchema, Role, Schema

STORED: Final = "stored events"
NEW_READERS: Final = "new readers"
OLD_READERS: Final = "old readers"
OLD_SENDERS: Final = "old senders"
SNAPSHOTS: Final = "snapshots"
BACKWARD: Final = frozenset({STORED, NEW_READERS, OLD_SENDERS, SNAPSHOTS})
FORWARD: Final = frozenset({OLD_READERS})
AROUND: Final = {urn(WIRE, "Command", 1): "command", urn(WIRE, "Snapshot", 1): "snapshot"}
"""What is around the data is sent, disposable, or else read for ever."""
REFERENCE: Final = re.compile(r'"\$ref": "([^"#/]+/[^"#/]+\.json)"')
STATE_MEMBERS: Final = {"state_version", "layout"}
LARGEST_FILE_BYTES: Final = 64 << 20
LEVELS: Final = {"backward": BACKWARD, "forward": FORWARD, "full": BACKWARD | FORWARD}


class Finding(NamedTuple):
    """One difference between what was published and what the code says; `breaks` names whom it breaks, if anybody."""

    name: str
    path: str
    what: str
    breaks: tuple[str, ...] = ()


class Baseline(NamedTuple):
    """What was published: schemas by URN, each kind's state version and layout, and which URNs are commands'."""

    schemas: Mapping[str, Schema]
    states: Mapping[str, Any]
    commands: frozenset[str]


class BaselineError(Exception):
    """A folder is none that `annals schemas export` wrote; the message says why not."""


def read_baseline(folder: Traversable | Path) -> Baseline:
    """What a folder written by `annals schemas export` says was published.

    Raises:
        BaselineError: a file is missing, or is none of those that are written.
    """
    states, document = _read(folder.joinpath(STATES)), _read(folder.joinpath(ASYNCAPI))
    found: dict[str, tuple[str, Schema]] = {}
    for kind in folder.iterdir():
        if kind.is_dir():
            for file in kind.iterdir():
                if file.name.endswith(".json"):  # other files were left
                    schema = _read(file)
                    name = schema.get("$id")
                    if not isinstance(name, str) or not name:
                        raise BaselineError(f"{folder} has JSON files that are no schemas: {file} has no $id")
                    if name in found:
                        raise BaselineError(f"{file} and {found[name][0]} are both {name}")
                    found[name] = (f"{kind.name}/{file.name}", schema)
    _require_whole(folder, document, states, {path for path, _ in found.values()})
    return Baseline({name: schema for name, (_, schema) in found.items()}, states, _commands(folder, document))


def _require_whole(folder: Traversable, document: Any, states: Mapping[str, Any], files: set[str]) -> None:
    """Refuse a folder in which a schema or a state is missing: what is not there would pass for new.

    asyncapi.json refers to every schema in its file, those of former versions too.
    """
    wanted = set(REFERENCE.findall(json.dumps(document)))
    if missing := sorted(wanted - files):
        raise BaselineError(f"{folder} is not whole: {_counted(missing)} of {len(wanted)} schemas are missing")
    if not wanted:
        raise BaselineError(f"{folder.joinpath(ASYNCAPI)} refers to no schemas")
    kinds = {path.partition("/")[0] for path in wanted} - {WIRE}
    if missing := sorted(kinds - states.keys()):
        raise BaselineError(f"{folder} is not whole: {folder.joinpath(STATES)} lacks {_counted(missing)} of its kinds")
    for kind, state in states.items():
        if not isinstance(state, dict) or state.keys() != STATE_MEMBERS or not isinstance(state["layout"], dict):
            raise BaselineError(f"{folder.joinpath(STATES)} says of {kind} what no export says")


def _counted(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{len(names)} ({names[0]} …)"


def _commands(folder: Traversable, document: dict[str, Any]) -> frozenset[str]:
    """Which of the schemas are commands'."""
    try:
        channels = document["channels"].items()
        names = [name for channel, said in channels if channel.startswith("commands.") for name in said["messages"]]
        return frozenset(urn(kind, name, 1) for kind, _, name in (each.partition(".") for each in names))
    except (AttributeError, KeyError, TypeError):
        raise BaselineError(f"{folder.joinpath(ASYNCAPI)} has no channels as an export has them") from None


def _read(file: Traversable) -> dict[str, Any]:
    try:
        if not file.is_file():
            raise BaselineError(f"{file} is {'no file' if _is_there(file) else 'missing'}")
        with file.open("rb") as opened:
            content = opened.read(LARGEST_FILE_BYTES + 1)
        if len(content) > LARGEST_FILE_BYTES:
            raise BaselineError(f"{file} is too large: it has more than {LARGEST_FILE_BYTES} bytes")
        said = json.loads(content)
    except RecursionError:
        raise BaselineError(f"{file} cannot be read: it is nested too deep") from None
    except (OSError, ValueError) as error:
        raise BaselineError(f"{file} cannot be read: {error}") from error
    if not isinstance(said, dict):
        raise BaselineError(f"{file} is no JSON object")
    return said


def _is_there(file: Traversable) -> bool:
    return isinstance(file, Path) and os.path.lexists(file)


def compare(before: Baseline, registry: Mapping[str, Decider[Any]] = REGISTRY) -> Iterator[Finding]:
    """Every difference: schemas that are gone, new or changed, then states.

    Raises:
        BaselineError: a schema of the baseline is none.
    """
    now = {schema.urn: schema for schema in published(registry)}
    roles = _roles(now)
    for name in sorted(before.schemas.keys() - now.keys()):
        yield _gone(name, "command" if name in before.commands else AROUND.get(name, "event"))
    for name, schema in now.items():
        if name not in before.schemas:
            yield _new(schema)
            continue
        for difference in _differences(name, before.schemas[name], schema.schema):
            yield Finding(name, difference.path, difference.what, _breaks(roles[name], difference))
    yield from _states(before.states, layouts(registry))


def _differences(name: str, before: Schema, now: Schema) -> list[Difference]:
    try:
        return differences(before, now)
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise BaselineError(f"{name} is no schema as an export has it ({type(error).__name__}: {error})") from None


def _roles(now: Mapping[str, MessageSchema]) -> dict[str, Role | str]:
    """Whose rules hold."""
    return {name: AROUND.get(name, "event") if schema.role == "wire" else schema.role for name, schema in now.items()}


def _breaks(role: Role | str, difference: Difference) -> tuple[str, ...]:
    if role == "command":
        return (OLD_SENDERS,) * difference.is_narrower
    if role == "snapshot":
        return ()  # ignored where it is unknown
    return (STORED, NEW_READERS) * difference.is_narrower + (OLD_READERS,) * difference.is_wider


def _gone(name: str, role: str) -> Finding:
    """A type or version that nothing takes or reads any more."""
    if role == "command":
        return Finding(name, "", "removed: it was published, so it is sent", (OLD_SENDERS,))
    if role == "snapshot":
        return Finding(name, "", "removed", (SNAPSHOTS,))
    return Finding(name, "", "removed: it was published, so it is stored", (STORED, NEW_READERS))


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
