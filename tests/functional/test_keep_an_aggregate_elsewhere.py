"""docs/how-to/keep-an-aggregate-elsewhere.md, followed step by step beside the installed project."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from processes import ENTRY_POINT, own_environment

PAGE = (Path(__file__).parents[2] / "docs/how-to/keep-an-aggregate-elsewhere.md").read_text()
FILES = dict(re.findall(r"^```(?:python|toml)\n# (\S+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
COMMANDS = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
(NEW_DECIDER,) = re.findall(r"^```python\n(CRANE: .*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
(NEW_ALREADY_TRUE,) = re.findall(r"^```python\n(def already_true.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
ROOT = Path(__file__).parents[2]
UV = ROOT / ".uv/bin/uv"


@pytest.fixture
def harbour(tmp_path: Path) -> Path:
    """The distribution as the page has it, installed as far as Python needs."""
    project = tomllib.loads(FILES["pyproject.toml"])["project"]
    points = project["entry-points"]["annals.aggregates"]
    installed = tmp_path / f"{project['name']}-{project['version']}.dist-info"
    installed.mkdir()
    head = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    (installed / "METADATA").write_text(head)
    lines = "".join(f"{name} = {value}\n" for name, value in points.items())
    (installed / "entry_points.txt").write_text(f"[annals.aggregates]\n{lines}")
    for name in ("harbour/crane.py", "tests/test_crane.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(FILES[name])
    return tmp_path


def run(folder: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    environment = own_environment(PYTHONPATH=str(folder))
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=600, check=False)


def shell(folder: Path, command: str) -> subprocess.CompletedProcess[str]:
    name, *words = command.split()
    assert name == "annals"
    return run(folder, ENTRY_POINT, *words)


def run_its_tests(folder: Path) -> subprocess.CompletedProcess[str]:
    return run(folder, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", folder, "tests")


def second_version(harbour: Path) -> None:
    """The changes that the page says in words, and the decider that it shows."""
    module = harbour / "harbour/crane.py"
    text = module.read_text()
    for old, new in (
        ('class CraneBuilt(BuildCrane):\n    """A crane is there."""\n', _event("CraneBuilt", "    name: Text\n")),
        ('class CraneRated(RateCrane):\n    """A crane lifts another weight."""\n', _event("CraneRated", "")),
        ("    tonnes: int = 0\n", "    capacity_kg: int = 0\n"),
        (
            """def already_true(command: BuildCrane | RateCrane, crane: Crane) -> bool:
    \"\"\"Whether the command's wish is true of the crane.\"\"\"
    return matches(command, crane)
""",
            NEW_ALREADY_TRUE,
        ),
        ("[event_from(command, CraneBuilt)]", "[CraneBuilt(name=command.name, capacity_kg=1000 * command.tonnes)]"),
        ("[event_from(command, CraneRated)]", "[CraneRated(capacity_kg=1000 * command.tonnes)]"),
        ("command.tonnes > 2 * crane.tonnes", "1000 * command.tonnes > 2 * crane.capacity_kg"),
        ("tonnes=event.tonnes)\n    return", "capacity_kg=event.capacity_kg)\n    return"),
        ("replace(crane, tonnes=event.tonnes)", "replace(crane, capacity_kg=event.capacity_kg)"),
        (
            "from annals.schemas.values.fields",
            "from harbour.former import BUILT, RATED\nfrom annals.schemas.values.fields",
        ),
    ):
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    head, _, _ = text.partition("CRANE: Final")
    module.write_text(head + NEW_DECIDER)
    (harbour / "harbour/former.py").write_text(FILES["harbour/former.py"])
    tests = harbour / "tests/test_crane.py"
    tests.write_text(
        re.sub(
            r"(Crane(?:Built|Rated)\([^)]*?)tonnes=(\d+)",
            lambda found: f"{found[1]}capacity_kg={1000 * int(found[2])}",
            tests.read_text(),
        )
    )


def _event(name: str, first: str) -> str:
    return f'class {name}(Message):\n    """It is so."""\n\n{first}    capacity_kg: Annotated[int, Meta(ge=0)]\n'


def test_the_page_leads_from_the_first_version_to_the_second(harbour: Path) -> None:
    listed = shell(harbour, "annals schemas list --kind crane")
    assert "urn:annals:schema:crane:CraneBuilt:1" in listed.stdout, listed.stderr
    done = run_its_tests(harbour)
    assert (done.returncode, "4 passed" in done.stdout) == (0, True), done.stdout[-3000:]
    export, check = (command.strip() for command in COMMANDS)
    for command in (export, check):
        result = shell(harbour, command)
        assert result.returncode == 0, result.stdout + result.stderr

    second_version(harbour)
    done = run_its_tests(harbour)
    assert (done.returncode, "4 passed" in done.stdout) == (0, True), done.stdout[-3000:]
    result = shell(harbour, check)
    assert result.returncode == 0, result.stdout
    for name in ("CraneBuilt", "CraneRated"):
        assert f"urn:annals:schema:crane:{name}:2: new version: releases before this one stop at it" in result.stdout
        assert f"urn:annals:schema:crane:{name}:1:" not in result.stdout  # it is what it was
    assert "state_version 1 → 2" in result.stdout


def test_a_bare_function_as_an_upcaster_is_refused_by_every_command(harbour: Path) -> None:
    second_version(harbour)
    former = harbour / "harbour/former.py"
    former.write_text(former.read_text().replace("Upcast(CraneBuilt1, in_kilograms)", "in_kilograms"))
    result = shell(harbour, "annals schemas list")
    assert (result.returncode, result.stdout) == (2, "")
    assert "the upcasters of CraneBuilt are a tuple of Upcast(older type, function)" in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_new_version_of_such_a_kind_says_whose_it_is(harbour: Path) -> None:
    result = shell(harbour, "annals schemas new-version crane CraneBuilt")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("annals: crane is an aggregate of harbour (crane = harbour.crane:CRANE): ")


def built(folder: Path, *words: object) -> str:
    """What uv says in a folder, with the machine's certificates and without settings of an environment around it."""
    environment = {
        name: value for name, value in own_environment().items() if not name.startswith(("COVERAGE_", "UV_"))
    }
    done = subprocess.run(
        [UV, *map(str, words)],
        cwd=folder,
        env=environment | {"UV_SYSTEM_CERTS": "1", "UV_PYTHON_DOWNLOADS": "never"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, f"{words}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
    return done.stdout


@pytest.mark.slow
def test_the_distribution_is_installed_beside_a_wheel_of_annals_also_with_published_schemas(tmp_path: Path) -> None:
    """Goes red when the page leaves annals to an index that has another project's, or the build finds two packages."""
    (tmp_path / "vendor").mkdir()
    built(ROOT, "build", "--quiet", "--wheel", "--out-dir", tmp_path / "vendor")
    for name in ("pyproject.toml", "harbour/crane.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(FILES[name])
    (tmp_path / "published").mkdir()
    (tmp_path / "published/crane.json").write_text("{}")
    built(tmp_path, "sync", "--quiet", "--no-dev")
    done = run(tmp_path / "vendor", tmp_path / ".venv/bin/annals", "schemas", "list", "--kind", "crane")
    assert (done.returncode, done.stderr) == (0, "")
    assert "urn:annals:schema:crane:BuildCrane:1" in done.stdout
