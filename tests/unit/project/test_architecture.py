"""The cut of the packages: who may import whom, and what may stand at the root."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PACKAGES = ("schemas", "topics", "agents", "workers")
PURE = ("asyncio", "time", "random", "uuid", "os", "socket", "logging", "structlog")
# Files of more than about 300 lines are probably two; from here on they surely are.
LINES_AT_MOST = 400


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("lint-imports")
    environment = os.environ | {"PYTHONPATH": str(folder / "src")}
    return subprocess.run(
        [program, "--no-cache"], cwd=folder, env=environment, capture_output=True, text=True, timeout=600, check=False
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The four packages as they would be with one more file: contracts that never fail prove nothing."""
    for package in PACKAGES:
        for source in (ROOT / package).rglob("*.py"):
            target = tmp_path / source.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
    (tmp_path / "pyproject.toml").write_bytes((ROOT / "pyproject.toml").read_bytes())
    shutil.copytree(ROOT / "src", tmp_path / "src", symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_the_import_contracts_are_kept() -> None:
    result = lint_imports(ROOT)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("workers/reading/intruder.py", "import annals.workers.writing"),
        ("workers/writing/intruder.py", "import annals.workers.reading"),
        ("workers/partitions.py", "import annals.workers.writing"),
        ("schemas/intruder.py", "import annals.topics"),
        ("topics/intruder.py", "import annals.agents"),
        ("agents/intruder.py", "import annals.workers"),
        ("agents/intruder.py", "import faust"),
        ("schemas/intruder.py", "import aiokafka"),
        ("topics/intruder.py", "import rocksdict"),
        ("schemas/intruder.py", "import time"),
        ("topics/intruder.py", "import os"),
        ("agents/aggregates/intruder.py", "import random"),
        ("agents/aggregates/intruder.py", "from annals.agents.aggregates import person"),
        ("agents/aggregates/intruder.py", "import asyncio"),
        ("agents/projections/documents.py", "import annals.agents.projections.locations"),
        ("agents/projections/intruder.py", "import annals.agents.aggregates"),
        ("agents/projections/intruder.py", "import random"),
        ("schemas/values/intruder.py", "import annals.schemas.kinds"),
        ("agents/deciding/intruder.py", "import annals.agents.folding"),
        ("agents/reading/following/intruder.py", "import annals.agents.writing.shards.shard"),
        ("agents/reading/unplaced.py", "import annals.agents.reading.found"),
        ("agents/reading/keeping/intruder.py", "import annals.agents.reading.following.shard"),
        ("agents/reading/snapshots/intruder.py", "import annals.agents.reading.projecting.rows"),
        ("agents/reading/queries/intruder.py", "import annals.agents.reading.gathering.gather"),
        ("agents/reading/following/intruder.py", "import annals.agents.reading.ahead.folding"),
        ("agents/reading/gathering/merging.py", "import time"),
        ("agents/writing/unplaced.py", "import annals.agents.writing.shard_id"),
        ("agents/writing/restore/intruder.py", "import annals.agents.writing.recovery.losses"),
        ("agents/writing/batches/intruder.py", "import annals.agents.writing.recovery.opening"),
        ("agents/writing/recovery/intruder.py", "import annals.agents.writing.batches.batch"),
        ("agents/writing/recovery/intruder.py", "import annals.agents.writing.shards.shard"),
        ("agents/writing/standby.py", "import annals.agents.writing.shards.shard"),
        ("workers/kafka/read/intruder.py", "import annals.workers.kafka.write"),
        ("workers/stores/intruder.py", "import annals.workers.writing"),
        ("workers/replay/intruder.py", "import annals.workers.writing"),
        ("workers/audit/intruder.py", "import annals.workers.replay"),
        ("workers/api/routes/intruder.py", "import annals.workers.replay"),
        ("workers/api/unplaced.py", "import annals.workers.api.http"),
        ("workers/api/http/intruder.py", "import annals.workers.api.callers.tokens"),
        ("workers/api/routes/intruder.py", "import annals.workers.api.serving.kernel"),
        ("workers/writing/intruder.py", "import annals.workers.web"),
        ("workers/api/routes/intruder.py", "import annals.workers.writing"),
        ("workers/writing/intruder.py", "import annals.workers.api"),
    ],
)
def test_an_import_against_the_direction_breaks_a_contract(copy: Path, file: str, line: str) -> None:
    (copy / file).write_text(f'"""Not allowed."""\n\n{line}\n')
    result = lint_imports(copy)
    assert result.returncode == 1, result.stdout + result.stderr
    assert file.removesuffix(".py").replace("/", ".") in result.stdout


@pytest.mark.parametrize("package", PACKAGES)
def test_no_module_imports_the_tests(package: str) -> None:
    for source in (ROOT / package).rglob("*.py"):
        for node in ast.walk(ast.parse(source.read_text())):
            names = [node.module] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert not [name for name in names if name and name.split(".")[0] in {"tests", "docs", "bench"}], source


@pytest.mark.parametrize("package", PACKAGES)
def test_every_module_says_in_its_first_line_what_it_is(package: str) -> None:
    for source in (ROOT / package).rglob("*.py"):
        text = ast.get_docstring(ast.parse(source.read_text()))
        assert text, f"{source.relative_to(ROOT)} has no docstring"
        assert text.splitlines()[0].endswith((".", ":", "?")), (
            f"{source.relative_to(ROOT)}: the first line is no sentence"
        )


@pytest.mark.parametrize("package", PACKAGES)
def test_no_module_is_long(package: str) -> None:
    # Frozen tables are data, generated from well-kept libraries; their length is the world's.
    for source in (ROOT / package).rglob("*.py"):
        if "standards" in source.parts:
            continue
        lines = len(source.read_text().splitlines())
        assert lines <= LINES_AT_MOST, f"{source.relative_to(ROOT)} has {lines} lines: it is probably two"


@pytest.mark.parametrize("package", PACKAGES)
def test_no_module_has_a_name_that_says_nothing(package: str) -> None:
    nothing = {"utils", "util", "common", "base", "helpers", "misc", "types", "logging"}
    assert not [path for path in (ROOT / package).rglob("*") if path.stem in nothing]


def test_the_root_holds_no_other_python_package() -> None:
    folders = {path.parent for path in ROOT.glob("*/__init__.py")}
    assert folders == {ROOT / package for package in PACKAGES}


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_refuses_its_bare_name(package: str) -> None:
    """From the checkout's folder `import schemas` finds a folder of that name: it would be a second copy of it all."""
    result = subprocess.run(
        [sys.executable, "-c", f"import {package}"], cwd=ROOT, capture_output=True, text=True, timeout=600, check=False
    )
    assert result.returncode == 1
    assert f"ImportError: import annals.{package}: " in result.stderr


def test_the_pure_modules_are_named_in_the_contract() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    pure = next(contract for contract in contracts if contract["name"].endswith("are pure"))
    assert set(PURE) <= set(pure["forbidden_modules"])
    packages = {"annals.schemas", "annals.topics", "annals.agents.aggregates", "annals.agents.deciding"}
    assert packages <= set(pure["source_modules"])


def test_no_two_test_files_have_one_name() -> None:
    """The test folders are no packages: pytest takes a second file of a name for the first, and collects neither."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize("mirror", ["unit", "integration"])
def test_tests_lie_in_folders_that_are_named_after_the_rooms_that_they_test(mirror: str) -> None:
    tests = ROOT / "tests" / mirror
    folders = {path.parent.relative_to(tests) for path in tests.rglob("test_*.py")} - {Path("project")}
    assert Path() not in folders, "it belongs to the folder of the room that it tests"
    assert [str(folder) for folder in sorted(folders) if not list((ROOT / folder).glob("*.py"))] == []


def test_mypy_looks_into_every_folder_of_tests() -> None:
    named = (ROOT / "tests" / "mypy.ini").read_text().split()
    folders = {path.parent.relative_to(ROOT / "tests") for path in (ROOT / "tests").rglob("test_*.py")}
    assert [str(folder) for folder in sorted(folders) if f"$MYPY_CONFIG_FILE_DIR/{folder}," not in named] == []


def is_there(name: str) -> bool:
    """Whether a dotted name below `annals` is a package, a module, or something that a module has."""
    path = ROOT / name.replace(".", "/")
    module = path.parent.with_suffix(".py")
    has_it = module.exists() and re.search(
        rf"^(?:async )?(?:def |class )?{path.name}\b", module.read_text(), re.MULTILINE
    )
    return path.is_dir() or path.with_suffix(".py").exists() or bool(has_it)


def test_modules_that_docstrings_and_pages_name_are_there() -> None:
    """Whoever moves a module moves its name: in prose no tool follows it."""
    sources = [source for package in PACKAGES for source in (ROOT / package).rglob("*.py")]
    pages = [page for folder in ("adr", "explanation") for page in (ROOT / "docs" / folder).rglob("*.md")]
    roots = "|".join(PACKAGES)
    dotted = [
        (path, name)
        for path in sources + pages
        for name in re.findall(rf"`annals\.((?:{roots})[\w.]*)`", path.read_text())
    ]
    files = [
        (path, name) for path in pages for name in re.findall(rf"`((?:{roots})/[\w/]+(?:\.py)?)`", path.read_text())
    ]
    assert len(dotted) > 50
    assert len(files) > 50
    assert [(str(path), name) for path, name in dotted if not is_there(name)] == []
    assert [(str(path), name) for path, name in files if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("package", ["agents", "workers"])
def test_the_map_of_a_package_has_each_of_its_rooms(package: str) -> None:
    """Whoever adds a room adds it to the map: a reader who begins there would never come to it."""
    folder = ROOT / package
    told = ast.get_docstring(ast.parse((folder / "__init__.py").read_text())) or ""
    rooms = sorted(path.parent.name for path in folder.glob("*/__init__.py"))
    assert len(rooms) > 10
    assert [room for room in rooms if f"`annals.{package}.{room}`" not in told] == []


ASKING = {"AIOKafkaConsumer", "AIOKafkaProducer", "AIOKafkaAdminClient", "AIOKafkaClient"}


def uncovered(source: str) -> list[int]:
    """The lines on which a class of aiokafka that asks brokers is used for more than `creating_nothing(Class(...))`."""
    tree = ast.parse(source)
    covered = {
        each.args[0].func
        for each in ast.walk(tree)
        if isinstance(each, ast.Call)
        and isinstance(each.func, ast.Name)
        and each.func.id == "creating_nothing"
        and isinstance(each.args[0], ast.Call)
    }
    made = [each.func for each in ast.walk(tree) if isinstance(each, ast.Call)]
    names = [(each, each.id if isinstance(each, ast.Name) else getattr(each, "attr", "")) for each in made]
    return [each.lineno for each, name in names if name in ASKING and each not in covered]


def test_whoever_asks_brokers_makes_no_topic_by_it() -> None:
    """By default brokers make a topic that is asked for: `kafka/connections.py` forbids it for all in here."""
    files = [file for package in PACKAGES for file in (ROOT / package).rglob("*.py")]
    found = {str(file.relative_to(ROOT)): lines for file in files if (lines := uncovered(file.read_text()))}
    assert found == {}


@pytest.mark.parametrize(
    "source", ["AIOKafkaProducer()", "aiokafka.AIOKafkaConsumer(topic)", "AIOKafkaClient()", "f(AIOKafkaAdminClient())"]
)
def test_one_that_is_made_beside_it_is_found(source: str) -> None:
    assert uncovered(source) == [1]
    assert uncovered("creating_nothing(AIOKafkaProducer(acks=1))") == []
