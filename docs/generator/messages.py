"""docs/reference/commands.md, from the registry of aggregates: lifecycles, commands, events, members and rules."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec

from annals.agents.aggregates import REGISTRY
from annals.schemas.json_schemas.examples import example_of
from annals.schemas.values.constraints import extras, takes_null, type_hints
from generator.markdown import code, fenced, first_sentence, table
from generator.rules import rules_of
from generator.type_names import TypeNames

if TYPE_CHECKING:
    from annals.agents.deciding.decider import Decider
    from annals.agents.deciding.machine import On

INTRO = """# Commands and events

What each aggregate takes, and what follows. A command is sent to `commands.<kind>`, an event is found in
`events.<kind>`.

Members: **required**, optional, *clearable* (null clears it), and ***required, where null clears***; personal data is
marked with a †. An event has its command's data unless its own members are listed. The diagrams and the columns *open
in* and *leads to* are the tables that the deciders themselves are run by; *open in* is empty where a command is open in
each status that is neither terminal nor frozen.
"""


def page() -> str:
    """Return the page."""
    types = TypeNames()
    kinds = [_of_kind(decider, types) for decider in REGISTRY.values()]
    contents = " · ".join(f"[{kind}](#{kind})" for kind in REGISTRY)
    return "\n".join([INTRO, contents + " · [types](#types)\n", *kinds, _types(types)])


def _of_kind(decider: Decider[Any], types: TypeNames) -> str:
    machine = decider.machine
    refused = rules_of(decider.kind)
    rows = []
    for row in machine.rows.values():
        name = row.command.__name__
        rules = "; ".join(f"`{rule}`" for rule in refused.get(name, {}))
        rows.append([code(name), _members(row.command, types), _where(row), row.to or "", _events(row, decider), rules])
    examples = [_example(decider, name) for name in decider.commands]
    messages = dict.fromkeys(pair for of in refused.values() for pair in of.items())
    parts = [
        f"## {decider.kind}\n",
        fenced("mermaid", machine.mermaid()),
        table(["command", "data", "open in", "leads to", "events", "refused"], rows),
        "An example of each, as a line for `annals send`:\n",
        fenced("json", "\n".join(examples)),
        "What the rules say:\n",
        table(["rule", "message"], [[code(rule), text] for rule, text in messages]),
    ]
    own = [event for event in decider.events.values() if not _repeats_a_command(event.type, machine.rows)]
    if own:
        rows = [
            [code(spec.type.__name__), _members(spec.type, types), first_sentence(spec.type.__doc__)] for spec in own
        ]
        parts += ["Events with members of their own:\n", table(["event", "data", "says"], rows)]
    return "\n".join(parts)


def _example(decider: Decider[Any], name: str) -> str:
    data = example_of(decider.kind, decider.commands[name])
    aggregate_id = f"{decider.kind}-1"
    return json.dumps(
        {"kind": decider.kind, "type": name, "aggregate_id": aggregate_id, "data": data}, ensure_ascii=False
    )


def _repeats_a_command(event: type, rows: Any) -> bool:
    """Whether an event's members are those of the command that it follows."""
    return any(event in row.events and type_hints(event) == type_hints(row.command) for row in rows.values())


def _where(row: On) -> str:
    return ", ".join(row.where)


def _events(row: On, decider: Decider[Any]) -> str:
    versions = {spec.type: spec.schema_version for spec in decider.events.values()}
    return ", ".join(
        f"`{event.__name__}`" + (f" (v{versions[event]})" if versions[event] > 1 else "") for event in row.events
    )


def _members(struct: type, types: TypeNames) -> str:
    annotations = type_hints(struct)
    shown = []
    for field in msgspec.structs.fields(struct):
        name, annotation = field.encode_name, annotations[field.name]
        stars = "*" * ((2 if field.required else 0) + (1 if takes_null(annotation) else 0))
        text = f"{stars}{name}{stars}"
        personal = "†" if extras(annotation, "personal") else ""
        shown.append(f"{text}{personal}: {types.name(annotation)}")
    return "; ".join(shown)


def _types(types: TypeNames) -> str:
    parts = ["## Types\n", table(["type", "is"], [[name, text] for name, text in sorted(types.described.items())])]
    # Parts of parts are met while these are written.
    done: dict[str, str] = {}
    while waiting := [struct for name, struct in types.structs.items() if name not in done]:
        for struct in waiting:
            done[struct.__name__] = _members(struct, types)
    if done:
        parts += [
            "### Parts\n",
            table(["part", "members"], [[name, members] for name, members in sorted(done.items())]),
        ]
        parts[1] = table(["type", "is"], [[name, text] for name, text in sorted(types.described.items())])
    return "\n".join(parts)
