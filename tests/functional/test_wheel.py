"""What `uv build` makes by way of the sdist: one top-level name, and all that a worker needs."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from processes import own_environment

ROOT = Path(__file__).parents[2]
UV = ROOT / ".uv/bin/uv"
# Not measured: what runs here is a copy of the packages.
ENVIRONMENT = {name: value for name, value in own_environment().items() if not name.startswith(("COVERAGE_", "UV_"))}
# The machine's certificates, as in the Makefile.
ENVIRONMENT["UV_SYSTEM_CERTS"] = "1"


def run(*words: object, timeout_s: int = 600) -> str:
    done = subprocess.run(
        [str(word) for word in words],
        cwd=ROOT,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert done.returncode == 0, f"{words}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    run(UV, "build", "--quiet", "--out-dir", folder, ".")
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_has_one_name_and_every_module(wheel: Path) -> None:
    files = set(zipfile.ZipFile(wheel).namelist())
    assert {name.split("/")[0].removesuffix(".dist-info").split("-")[0] for name in files} == {"annals"}
    sources = {
        f"annals/{file.relative_to(ROOT)}"
        for package in ("schemas", "topics", "agents", "workers")
        for file in (ROOT / package).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert sources <= files
    assert "annals/py.typed" in files


@pytest.mark.broker
@pytest.mark.slow
def test_the_demo_runs_where_nothing_but_the_wheel_is_installed(wheel: Path, tmp_path: Path) -> None:
    locked = tmp_path / "locked.txt"
    locked.write_text(
        run(UV, "export", "--quiet", "--frozen", "--no-dev", "--extra", "broker", "--no-emit-project", "--no-hashes")
    )
    empty = tmp_path / "empty"
    run(UV, "venv", "--quiet", "--python", sys.executable, empty)
    python = empty / "bin/python"
    run(UV, "pip", "install", "--quiet", "--python", python, "--constraint", locked, f"{wheel}[broker]")
    names = {"schemas", "topics", "agents", "workers"}
    installed = {path.name for path in (empty / "lib").glob("python3*/site-packages/*")}
    assert "annals" in installed
    assert names.isdisjoint(installed)
    said = run(empty / "bin/annals", "demo")
    assert "Everything held" in said
