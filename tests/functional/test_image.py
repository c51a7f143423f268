"""The Dockerfile's own installation, carried out without Docker: what it copies is enough for a worker."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from processes import own_environment

ROOT = Path(__file__).parents[2]
UV = ROOT / ".uv/bin/uv"
_, BUILD, _ = (ROOT / "Dockerfile").read_text().split("\nFROM ")
# Not measured: what runs here is a copy of the packages.
ENVIRONMENT = {name: value for name, value in own_environment().items() if not name.startswith("COVERAGE_")}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the image has in /opt/annals."""
    assert UV.exists(), "uv is not there: `make setup` installs it"
    source, target = tmp_path_factory.mktemp("src"), tmp_path_factory.mktemp("opt") / "annals"
    declared = dict(re.findall(r"(UV_\w+)=(\S+)", BUILD))
    assert declared["UV_PROJECT_ENVIRONMENT"] == "/opt/annals"
    # The system's certificates are the image's affair; here it may be a company's own.
    environment = {**ENVIRONMENT, **declared, "UV_PROJECT_ENVIRONMENT": str(target), "UV_SYSTEM_CERTS": "1"}
    environment.pop("VIRTUAL_ENV", None)
    for words in [line.split() for line in re.findall(r"^COPY (.*)$", BUILD, re.MULTILINE)]:
        for word in words[:-1]:
            if (ROOT / word).is_dir():
                shutil.copytree(
                    ROOT / word, source / words[-1], symlinks=True, ignore=shutil.ignore_patterns("__pycache__")
                )
            else:
                shutil.copy(ROOT / word, source / words[-1])
    for command in re.findall(r"^RUN uv (.*)$", BUILD, re.MULTILINE)[-1:]:
        subprocess.run([UV, *command.split()], cwd=source, env=environment, check=True, timeout=600)
    shutil.rmtree(source)
    return target / "bin/annals"


def run(image: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = {**ENVIRONMENT, **settings, "PATH": f"{image.parent}{os.pathsep}{os.environ['PATH']}"}
    environment.pop("PYTHONPATH", None)
    return subprocess.run(
        [image, *arguments], cwd=image.parent, env=environment, capture_output=True, text=True, timeout=600, check=False
    )


def test_the_image_has_the_worker_and_every_command(image: Path) -> None:
    assert run(image, "--version").stdout.startswith("annals, version ")
    listed = re.findall(r"^  ([a-z]+)  ", run(image, "--help").stdout, re.MULTILINE)
    assert {"worker", "topics", "broker"} <= set(listed)
    for name in listed:
        assert run(image, name, "--help").returncode == 0, name


def test_a_command_that_needs_an_extra_says_so_in_a_line(image: Path, tmp_path: Path) -> None:
    result = run(image, "broker", "--port", "0", "--data-dir", str(tmp_path), "--cache-dir", str(tmp_path / "cache"))
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert "annals: " in result.stderr


def test_a_command_without_a_broker_says_so_and_is_no_traceback(image: Path, tmp_path: Path) -> None:
    result = run(image, "topics", "create", ANNALS_BOOTSTRAP_SERVERS="127.0.0.1:9", ANNALS_DATA_DIR=str(tmp_path))
    assert result.returncode == 2
    assert "127.0.0.1:9" in result.stderr
    assert "Traceback" not in result.stderr
