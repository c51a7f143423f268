"""What the scaffolds write, file by file; that it passes every check is shown in a copy of the whole project."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from annals.agents.aggregates import REGISTRY
from annals.agents.reactions.reaction import problem_of
from annals.workers.cli.failures import CannotAskError
from annals.workers.cli.new import new
from annals.workers.cli.versions import new_version
from annals.workers.tools.scaffold.errors import ScaffoldError
from annals.workers.tools.scaffold.reaction import TAKEN
from annals.workers.tools.scaffold.tree import Tree
from processes import own_environment

ROOT = Path(__file__).parents[4]


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files that the scaffolds read; what they would run is only noted."""
    for name in ("agents/aggregates", "agents/projections", "agents/reactions", "schemas/former", "tests/golden"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Tree, "run", lambda self, *arguments: None)
    return tmp_path


def run(command: Any, *arguments: str) -> Any:
    return CliRunner().invoke(command, arguments, standalone_mode=False, catch_exceptions=False)


def test_a_new_aggregate_has_its_three_files_and_its_registry_line(checkout: Path) -> None:
    result = run(new, "aggregate", "parking_lot", "--json")
    assert json.loads(result.stdout)["files"] == [
        "schemas/kinds/parking_lot.py",
        "agents/aggregates/parking_lot.py",
        "tests/unit/agents/aggregates/test_parking_lot.py",
        "agents/aggregates/__init__.py",
    ]
    registry = (checkout / "agents/aggregates/__init__.py").read_text()
    assert "from annals.agents.aggregates.parking_lot import PARKING_LOT\n" in registry
    assert registry.endswith('    "parking_lot": PARKING_LOT,\n}\n')
    for file in checkout.rglob("*parking_lot.py"):
        text = file.read_text()
        assert "<" not in text.replace("<=", "").replace("->", "")
        compile(text, str(file), "exec")
    assert "class ParkingLotRegistered(RegisterParkingLot):" in (checkout / "schemas/kinds/parking_lot.py").read_text()
    with pytest.raises(ScaffoldError, match="is there already"):
        run(new, "aggregate", "parking_lot")


@pytest.mark.parametrize("name", ["event", "command", "at", "state", "decider", "machine", "replace", "list", "wire"])
def test_a_name_that_the_code_around_it_uses_is_refused_and_nothing_is_written(checkout: Path, name: str) -> None:
    before = {file: file.read_bytes() for file in checkout.rglob("*.*")}
    with pytest.raises(ScaffoldError, match="is a word of the code"):
        run(new, "aggregate", name)
    assert {file: file.read_bytes() for file in checkout.rglob("*.*")} == before


@pytest.mark.parametrize("name", ["Lot", "1st", "class", "x", "a-b", "../x"])
def test_a_name_that_is_none_is_refused(checkout: Path, name: str) -> None:
    with pytest.raises(ScaffoldError, match="is no name of a kind"):
        run(new, "aggregate", name)


def test_a_folder_that_is_no_checkout_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ScaffoldError, match="is no checkout of the project"):
        run(new, "aggregate", "lot")


def test_the_first_new_version_of_a_kind_makes_its_former_types_and_uses_them(checkout: Path) -> None:
    result = run(new_version, "person", "PersonRenamed", "--json")
    assert json.loads(result.stdout)["version"] == 2
    former = (checkout / "schemas/former/person.py").read_text()
    assert 'class PersonRenamed1(Message):\n    """' in former
    assert "def upcast_person_renamed_1(data: dict[str, Any]) -> dict[str, Any]:" in former
    assert "    PersonRenamed: (Upcast(PersonRenamed1, upcast_person_renamed_1),),\n}" in former
    aggregate = (checkout / "agents/aggregates/person.py").read_text()
    assert "from annals.schemas.former.person import UPCASTERS\n" in aggregate
    assert aggregate.count("upcasters=UPCASTERS") == 1
    test = (checkout / "tests/unit/agents/aggregates/test_person_person_renamed_1.py").read_text()
    assert "def test_person_renamed_of_version_1_is_read_in_the_newest_form() -> None:" in test
    for source in (former, aggregate, test):
        compile(source, "scaffold", "exec")


def test_a_further_version_is_put_behind_those_that_are_there(checkout: Path) -> None:
    result = run(new_version, "agent", "ModelConfigured")
    assert "ModelConfigured.3" in result.stdout
    former = (checkout / "schemas/former/agent.py").read_text()
    assert "(Upcast(ModelConfigured1, split_model), Upcast(ModelConfigured2, upcast_model_configured_2))," in former
    assert (checkout / "agents/aggregates/agent.py").read_text() == (ROOT / "agents/aggregates/agent.py").read_text()


def test_a_new_version_whose_test_is_there_is_refused_and_nothing_is_written(checkout: Path) -> None:
    (checkout / "tests/unit/agents/aggregates").mkdir(parents=True)
    (checkout / "tests/unit/agents/aggregates/test_person_person_renamed_1.py").write_text("mine")
    before = {file: file.read_bytes() for file in checkout.rglob("*.*")}
    with pytest.raises(ScaffoldError, match=r"test_person_person_renamed_1\.py is there already"):
        run(new_version, "person", "PersonRenamed")
    assert {file: file.read_bytes() for file in checkout.rglob("*.*")} == before


def test_an_unknown_kind_or_event_is_named(checkout: Path) -> None:
    with pytest.raises(CannotAskError, match="person has no event 'PersonTeleported': there are PersonRegistered"):
        run(new_version, "person", "PersonTeleported")
    with pytest.raises(click.BadParameter, match=f"there is no kind 'planet': there are {', '.join(REGISTRY)}"):
        run(new_version, "planet", "PlanetFound")


def test_a_tool_that_fails_is_said_with_its_words(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    with pytest.raises(ScaffoldError, match=r"(?s)python -c .* failed: .*out of paint"):
        Tree(checkout).run("-c", "raise SystemExit('out of paint')")


def test_an_aggregate_that_is_called_as_pytest_calls_tests_is_none(checkout: Path) -> None:
    """Goes red when its messages and its state are collected: with warnings as errors no test of it runs."""
    run(new, "aggregate", "testbed")
    flat = checkout / "flat"
    flat.mkdir()
    (flat / "test_messages.py").write_text((checkout / "schemas/kinds/testbed.py").read_text())
    aggregate = (checkout / "agents/aggregates/testbed.py").read_text()
    (flat / "test_aggregate.py").write_text(
        aggregate.replace("from annals.schemas.kinds import testbed as say", "import test_messages as say")
    )
    assert collected_nothing(flat)


def test_a_projection_that_is_called_as_pytest_calls_tests_is_none(checkout: Path) -> None:
    """Goes red when its row is collected wherever a test imports it."""
    run(new, "projection", "testbed")
    flat = checkout / "flat"
    flat.mkdir()
    (flat / "test_projection.py").write_text((checkout / "agents/projections/testbed.py").read_text())
    assert collected_nothing(flat)


@pytest.mark.parametrize("name", ["registry", "type_checking", "projection"])
def test_a_projections_name_that_its_registry_uses_is_refused(checkout: Path, name: str) -> None:
    with pytest.raises(ScaffoldError, match="is no name of a projection"):
        run(new, "projection", name)


def collected_nothing(flat: Path) -> bool:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "--rootdir", flat, flat],
        cwd=flat,
        env=own_environment(PYTHONPATH=str(flat)),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 5, done.stdout
    return True


def test_a_new_reaction_has_its_two_files_and_its_registry_line(checkout: Path) -> None:
    result = run(new, "reaction", "archive-drafts-2", "--json")
    assert json.loads(result.stdout) == {
        "reaction": "archive-drafts-2",
        "files": [
            "agents/reactions/archive_drafts_2.py",
            "tests/unit/agents/reactions/test_archive_drafts_2.py",
            "agents/reactions/__init__.py",
        ],
    }
    registry = (checkout / "agents/reactions/__init__.py").read_text()
    assert "from annals.agents.reactions.archive_drafts_2 import ARCHIVE_DRAFTS_2\n" in registry
    assert registry.endswith('    "archive-drafts-2": ARCHIVE_DRAFTS_2,\n}\n')
    names: dict[str, Any] = {"__name__": "annals.agents.reactions.archive_drafts_2"}
    for file in ("agents/reactions/archive_drafts_2.py", "tests/unit/agents/reactions/test_archive_drafts_2.py"):
        assert not re.search(r"<\w+>", (checkout / file).read_text())
        compile((checkout / file).read_text(), file, "exec")
    exec((checkout / "agents/reactions/archive_drafts_2.py").read_text(), names)
    assert problem_of(names["ARCHIVE_DRAFTS_2"]) is None
    assert names["ARCHIVE_DRAFTS_2"].name == "archive-drafts-2"
    assert "now change it" in run(new, "reaction", "second").stdout
    with pytest.raises(ScaffoldError, match=r"agents/reactions/second\.py is there already"):
        run(new, "reaction", "second")


@pytest.mark.parametrize(
    ("name", "why"),
    [
        *[
            (name, "is no name of a reaction")
            for name in ("Lot", "1st", "class", "a_b", "a--b", "a-", "../x", "x" * 64)
        ],
        *[(name, "is no name of a reaction") for name in ("reaction", "registry", "type-checking", "created")],
        *[(name, "already") for name in ("assign-tasks", "reactions-of-the-domain")],
    ],
)
def test_a_reactions_name_that_is_none_or_taken_is_refused_and_nothing_is_written(
    checkout: Path, name: str, why: str
) -> None:
    taken = (
        checkout / "tests/unit/workers/test_reactions_of_the_domain.py"
    )  # a test file's name is the repository's only
    taken.parent.mkdir(parents=True)
    taken.touch()
    before = {file: file.read_bytes() for file in checkout.rglob("*.*")}
    with pytest.raises(ScaffoldError, match=why):
        run(new, "reaction", name)
    assert {file: file.read_bytes() for file in checkout.rglob("*.*")} == before


def test_no_constant_around_a_reaction_has_the_name_that_one_would_have(checkout: Path) -> None:
    """Goes red when a template or the registry calls something by a name that a reaction may still have."""
    run(new, "reaction", "placeholder")
    for file in checkout.glob("**/*placeholder.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Name) and node.id.isupper() and node.id != "PLACEHOLDER":
                assert node.id.lower().replace("_", "-") in TAKEN
