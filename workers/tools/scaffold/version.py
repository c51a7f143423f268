"""A new version of an event: today's form becomes a former one, with its upcaster's skeleton and its test."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

from annals.schemas.canonical import decode
from annals.workers.tools.scaffold.members import imports, members

if TYPE_CHECKING:
    from annals.agents.deciding.decider import Decider
    from annals.workers.tools.scaffold.tree import Tree

TABLE: Final = "UPCASTERS: Final[Mapping[type[Message], tuple[Upcast, ...]]] = {"
EMPTY: Final = '''"""{kind}'s events in their older versions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from msgspec import UNSET, UnsetType

from annals.schemas.messages import Message
from annals.schemas.data.upcast import Upcast

if TYPE_CHECKING:
    from collections.abc import Mapping


{table}
}}
'''
STEP: Final = '''class {former}(Message):
    """{says}"""

{members}


def {function}(data: dict[str, Any]) -> dict[str, Any]:
    """Say here what changes; the data given are as version {version} had them, and stay so."""
    return {{**data}}


'''
TEST: Final = '''"""{name} as version {version} had it is read in the newest form."""

from __future__ import annotations

import json
from pathlib import Path

from annals.agents.aggregates import REGISTRY
from annals.schemas.canonical import decode

GOLDEN = Path(__file__).parents[3] / "golden/events/{kind}.json"
# What the stored data below become: say it as the newest form has it.
STORED = {data}
NEWEST = {data}


def test_{snake}_of_version_{version} is_read_in_the_newest_form() -> None:
    block = bytes.fromhex(json.loads(GOLDEN.read_text(encoding="utf-8"))["{name}.{version}"]["block"])
    stored = decode(block)
    assert (stored["schema_version"], stored["data"]) == ({version}, STORED)
    event = REGISTRY["{kind}"].read_event("{name}", {version}, stored["data"])
    assert REGISTRY["{kind}"].event_data(event) == NEWEST
    assert stored == decode(block)
'''.replace("{version} is_read", "{version}_is_read")


def new_version(tree: Tree, decider: Decider[Any], name: str) -> int:
    """Write it, and return the number of the new version.

    Raises:
        ScaffoldError: its test is there already; the checkout's tools fail.
    """
    version, snake = decider.events[name].schema_version, _snake(name)
    test = f"tests/unit/agents/aggregates/test_{decider.kind}_{snake}_{version}.py"
    tree.refuse_taken(test)  # before anything is written
    tree.run("tests/golden/events.py")  # today's form is frozen before it becomes a former one
    _write_former(tree, decider, name, version)
    _write_use(tree, decider.kind)
    kept = json.loads(tree.read(f"tests/golden/events/{decider.kind}.json"))[f"{name}.{version}"]
    data = decode(bytes.fromhex(kept["block"]))["data"]
    text = TEST.format(name=name, version=version, kind=decider.kind, snake=snake, data=repr(data))
    tree.create(test, text)
    tree.tidy()
    tree.run("tests/golden/events.py")
    tree.written.append(f"tests/golden/events/{decider.kind}.json")
    return version + 1


def _write_former(tree: Tree, decider: Decider[Any], name: str, version: int) -> None:
    """The type that the version had, and its upcaster's skeleton, in front of the table; and its line in that."""
    path = f"schemas/former/{decider.kind}.py"
    text = tree.read(path) if tree.path(path).exists() else EMPTY.format(kind=decider.kind, table=TABLE)
    message = decider.events[name].type
    lines = members(message)
    former, function = f"{name}{version}", f"upcast_{_snake(name)}_{version}"
    says = (message.__doc__ or "").strip()
    step = STEP.format(former=former, says=says, members="\n".join(lines), function=function, version=version)
    head, table, entries = text.partition(TABLE)
    upcast = f"Upcast({former}, {function})"
    # An entry's tuple is closed by a comma and a bracket, however it is broken into lines.
    entry = re.compile(rf"(    {name}: \((?:[^()]|\([^()]*\))*?),?\s*\),\n")
    if entry.search(entries):
        entries = entry.sub(lambda found: f"{found[1]}, {upcast}),\n", entries)
    else:
        entries = entries.replace("\n}", f"\n    {name}: ({upcast},),\n}}", 1)
    needed = [*imports(message, lines), f"from {message.__module__} import {name}"]
    marker = "from annals.schemas.data.upcast import Upcast\n"
    head = head.replace(marker, marker + "".join(f"{line}\n" for line in needed), 1)
    tree.change(path, head + step + table + entries)


def _write_use(tree: Tree, kind: str) -> None:
    """The aggregate reads its events through the table."""
    path = f"agents/aggregates/{kind}.py"
    text = tree.read(path)
    if "UPCASTERS" in text:
        return
    before = "from annals.schemas.messages import"
    text = text.replace(before, f"from annals.schemas.former.{kind} import UPCASTERS\n{before}", 1)
    tree.change(path, re.sub(r"evolve=evolve,?(\s*)\)\s*\Z", r"evolve=evolve, upcasters=UPCASTERS,\1)\n", text))


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
