"""docs/how-to/add-an-aggregate.md, followed step by step in a copy of the project."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from processes import ENTRY_POINT, free_port, is_ready, own_environment, running, until

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/how-to/add-an-aggregate.md").read_text()
FILES = re.findall(r"^```python\n# (\S+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
PARTS = (
    "schemas",
    "topics",
    "agents",
    "workers",
    "src",
    "docs",
    "deploy",
    "examples",
    "tests",
    "pyproject.toml",
    "README.md",
    "CHANGELOG.md",
    "Makefile",
)
# What npm installs for the examples may change meanwhile: another process of the test run installs it.
IGNORED = shutil.ignore_patterns("__pycache__", ".*_cache", "node_modules")
REGISTRY = "agents/aggregates/__init__.py"
# The whole of `make check` but the tests of everything else, this one among them.
TESTS = (
    "tests/unit/agents/aggregates/test_vehicle.py tests/unit/agents/deciding/test_state_versions.py "
    "tests/unit/schemas/test_golden_events.py tests/unit/agents/test_published_schemas.py "
    "tests/unit/topics/test_asyncapi.py tests/unit/agents/deciding/test_machine.py "
    "tests/properties/test_aggregate_laws.py -k 'vehicle or golden or published or asyncapi or machine'"
)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for part in PARTS:
        source, target = ROOT / part, tmp_path / part
        if source.is_dir():
            shutil.copytree(source, target, symlinks=True, ignore=IGNORED)
        else:
            shutil.copy2(source, target)
    return tmp_path


def sources(copy: Path) -> dict[str, bytes]:
    """Every module of the four packages."""
    files = [file for part in PARTS[:4] for file in (copy / part).rglob("*.py")]
    return {str(file.relative_to(copy)): file.read_bytes() for file in files}


def environment_of(copy: Path, **settings: str) -> dict[str, str]:
    """The copy's packages in the place of the installed ones, and nothing measured."""
    environment = {name: value for name, value in own_environment(**settings).items() if name[:9] != "COVERAGE_"}
    return {**environment, "PYTHONPATH": str(copy / "src"), "PATH": f"{ENTRY_POINT.parent}:{environment['PATH']}"}


def run(command: str, copy: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """A step of the page."""
    environment = environment_of(copy, **settings)
    command = command.replace(".venv/bin", str(Path(sys.executable).parent))
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=copy,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def steps(target: str, copy: Path) -> list[str]:
    """What make would run for a target, once the environment is set up."""
    planned = subprocess.run(
        ["make", "--no-print-directory", "-n", "-o", ".venv/.synced", target],
        cwd=copy,
        capture_output=True,
        text=True,
        timeout=600,
        check=True,
    )
    lines = [line for line in planned.stdout.splitlines() if ".venv/bin" in line]
    lines = [re.sub(r"(bin/pytest) .*", rf"\1 {TESTS}", line) for line in lines]
    return [
        re.sub(r"(bin/ruff .*) \.$", r"\1 schemas agents tests/unit/agents/aggregates/test_vehicle.py", line)
        for line in lines
    ]


def register(copy: Path) -> None:
    """The two added lines of the page's difference, where the lines beside them say."""
    imported, _, _, entry = re.search(r"^```diff\n(.*?)\n```$", PAGE, re.MULTILINE | re.DOTALL)[1].split("\n")
    text = (copy / REGISTRY).read_text()
    last_import = re.findall(r"^from annals\.agents\.aggregates\.\w+ import \w+$", text, re.MULTILINE)[-1]
    text = text.replace(last_import, f"{last_import}\n{imported.removeprefix('+')}")
    opened = re.search(r"^REGISTRY: .* = \{$", text, re.MULTILINE)[0]
    (copy / REGISTRY).write_text(text.replace(opened, f"{opened}\n{entry.removeprefix('+')}"))


@pytest.mark.slow
def test_the_page_leads_to_an_aggregate_that_passes_every_check(copy: Path) -> None:
    assert [name for name, _ in FILES] == [
        "schemas/kinds/vehicle.py",
        "agents/aggregates/vehicle.py",
        "tests/unit/agents/aggregates/test_vehicle.py",
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
    assert changed == {REGISTRY, "schemas/kinds/vehicle.py", "agents/aggregates/vehicle.py"}


@pytest.mark.broker
@pytest.mark.slow
def test_the_pages_aggregate_runs_through_a_real_broker(copy: Path, bootstrap: str, topic_prefix: str) -> None:
    for name, text in FILES:
        (copy / name).write_text(text)
    register(copy)
    settings = {
        "ANNALS_BOOTSTRAP_SERVERS": bootstrap,
        "ANNALS_TOPIC_PREFIX": topic_prefix,
        "ANNALS_PARTITIONS": "1",
        "ANNALS_DATA_DIR": str(copy / "data"),
        "ANNALS_WEB_PORT": str(free_port()),
    }
    shells = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    (create, start), (send,) = (shell.splitlines() for shell in shells[1:])
    assert start == "annals worker"
    created = run(create, copy, **settings)
    assert f"created {topic_prefix}events.vehicle" in created.stdout, created.stderr
    log = copy / "worker.log"
    with running([ENTRY_POINT, "worker"], environment_of(copy, **settings), log, cwd=copy) as worker:
        until(lambda: is_ready(int(settings["ANNALS_WEB_PORT"])), worker, log, "annals worker")
        outcome = json.loads(run(send, copy, **settings).stdout)
        assert (outcome["status"], outcome["version"]) == ("accepted", 1)
    (event,) = map(json.loads, run("annals events vehicle v-1", copy, **settings).stdout.splitlines())
    assert (event["type"], event["data"], event["cid"]) == ("VehicleRegistered", {"plate": "B-KF 42"}, outcome["head"])
    assert run(f"annals verify vehicle v-1 --expect-head {outcome['head']}", copy, **settings).returncode == 0
