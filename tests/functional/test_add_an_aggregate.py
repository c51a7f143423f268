"""docs/how-to/add-an-aggregate.md, followed step by step in a copy of the project."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from processes import own_environment

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/how-to/add-an-aggregate.md").read_text()
FILES = re.findall(r"^```python\n# (\S+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
PARTS = (
    "schemas",
    "topics",
    "agents",
    "workers",
    "docs",
    "deploy",
    "tests",
    "pyproject.toml",
    "README.md",
    "CHANGELOG.md",
    "Makefile",
)
IGNORED = shutil.ignore_patterns("__pycache__", ".*_cache")
REGISTRY = "agents/aggregates/__init__.py"
# The whole of `make check` but the tests of everything else, this one among them.
TESTS = (
    "tests/unit/test_vehicle.py tests/unit/test_state_versions.py tests/unit/test_golden_events.py "
    "tests/unit/test_published_schemas.py tests/unit/test_asyncapi.py tests/unit/test_machine.py "
    "tests/properties/test_aggregate_laws.py -k 'vehicle or golden or published or asyncapi or machine'"
)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for part in PARTS:
        source, target = ROOT / part, tmp_path / part
        if source.is_dir():
            shutil.copytree(source, target, ignore=IGNORED)
        else:
            shutil.copy2(source, target)
    return tmp_path


def sources(copy: Path) -> dict[str, bytes]:
    """Every module of the four packages."""
    files = [file for part in PARTS[:4] for file in (copy / part).rglob("*.py")]
    return {str(file.relative_to(copy)): file.read_bytes() for file in files}


def run(command: str, copy: Path) -> subprocess.CompletedProcess[str]:
    """A step of the page, with the copy's packages in the place of the installed ones, and not measured."""
    environment = {name: value for name, value in own_environment().items() if not name.startswith("COVERAGE_")}
    environment["PYTHONPATH"] = str(copy)
    command = command.replace(".venv/bin", str(Path(sys.executable).parent))
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=copy,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def steps(target: str, copy: Path) -> list[str]:
    """What make would run for a target, once the environment is set up."""
    planned = subprocess.run(
        ["make", "--no-print-directory", "-n", "-o", ".venv/.synced", target],
        cwd=copy,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    lines = [line for line in planned.stdout.splitlines() if ".venv/bin" in line]
    lines = [re.sub(r"(bin/pytest) .*", rf"\1 {TESTS}", line) for line in lines]
    return [re.sub(r"(bin/ruff .*) \.$", r"\1 schemas agents tests/unit/test_vehicle.py", line) for line in lines]


def register(copy: Path) -> None:
    """The two added lines of the page's difference, where the lines beside them say."""
    imported, _, _, entry = re.search(r"^```diff\n(.*?)\n```$", PAGE, re.MULTILINE | re.DOTALL)[1].split("\n")
    text = (copy / REGISTRY).read_text()
    last_import = re.findall(r"^from agents\.aggregates\.\w+ import \w+$", text, re.MULTILINE)[-1]
    text = text.replace(last_import, f"{last_import}\n{imported.removeprefix('+')}")
    opened = re.search(r"^REGISTRY: .* = \{$", text, re.MULTILINE)[0]
    (copy / REGISTRY).write_text(text.replace(opened, f"{opened}\n{entry.removeprefix('+')}"))


@pytest.mark.slow
def test_the_page_leads_to_an_aggregate_that_passes_every_check(copy: Path) -> None:
    assert [name for name, _ in FILES] == [
        "schemas/vehicle.py",
        "agents/aggregates/vehicle.py",
        "tests/unit/test_vehicle.py",
    ]
    before = sources(copy)
    for name, text in FILES:
        assert not (copy / name).exists()
        (copy / name).write_text(text)
    register(copy)
    (shell, *_) = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    for line in shell.splitlines():
        commands = steps(line.split()[1], copy) if line.startswith("make ") else [line]
        assert commands
        for command in commands:
            result = run(command, copy)
            assert result.returncode == 0, f"{command}\n{result.stdout[-4000:]}{result.stderr[-2000:]}"
    assert (copy / "tests/golden/states/vehicle.1.json").exists()
    assert (copy / "tests/golden/events/vehicle.json").exists()
    assert (copy / "schemas/json/vehicle/VehicleRegistered.1.json").exists()
    assert "## vehicle" in (copy / "docs/reference/commands.md").read_text()
    # Nothing else was touched: the registry is the only file of the project that differs.
    after = sources(copy)
    changed = {path for path in before | after if before.get(path) != after.get(path)}
    assert changed == {REGISTRY, "schemas/vehicle.py", "agents/aggregates/vehicle.py"}
