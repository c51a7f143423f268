"""The documentation, carried out: the tutorial's commands in their order, then the how-to guides' programs.

A block of shell is run as it stands. Those that start a broker or a worker in a terminal of its own are started here
for the rest of the page. What the page shows as answers is compared with what comes, but for CIDs and messages.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from processes import ENTRY_POINT, free_port, is_ready, own_environment, running, until

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
BLOCK = re.compile(r"^```(\w+)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# What the page says to do beforehand, or in a terminal of its own; a fixture has done it.
ELSEWHERE = {"make setup\nsource .venv/bin/activate", "annals broker", "annals worker"}

pytestmark = [pytest.mark.broker, pytest.mark.slow]


@pytest.fixture(scope="module")
def environment(bootstrap: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """What the reader of the tutorial has: a broker, topics and a worker, and annals on the path."""
    folder, port = tmp_path_factory.mktemp("tutorial"), free_port()
    environment = own_environment(
        ANNALS_BOOTSTRAP_SERVERS=bootstrap,
        ANNALS_TOPIC_PREFIX=f"docs-{os.getpid()}.",
        ANNALS_DATA_DIR=str(folder / "data"),
        ANNALS_WEB_PORT=str(port),
    )
    environment["PATH"] = f"{ENTRY_POINT.parent}{os.pathsep}{environment['PATH']}"
    created = subprocess.run(
        ["annals", "topics", "create"], env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert created.returncode == 0, created.stderr
    log = folder / "worker.log"
    with running([ENTRY_POINT, "worker"], environment, log) as worker:
        until(lambda: is_ready(port), worker, log, "annals worker")
        yield environment


def blocks(page: str) -> list[tuple[str, str]]:
    return [(language, body.strip("\n")) for language, body in BLOCK.findall((DOCS / page).read_text())]


def run(script: str, environment: dict[str, str], folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def json_lines(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def matches(shown: Any, found: Any) -> bool:
    """Whether an answer is as the page shows it; an ellipsis stands for what differs from run to run."""
    if isinstance(shown, dict):
        return (
            isinstance(found, dict) and shown.keys() == found.keys() and all(matches(shown[k], found[k]) for k in shown)
        )
    if isinstance(shown, list):
        return isinstance(found, list) and len(shown) == len(found) and all(map(matches, shown, found))
    if isinstance(shown, str) and "…" in shown:
        return re.fullmatch(".+".join(map(re.escape, shown.split("…"))), str(found)) is not None
    return bool(shown == found)


def test_the_tutorial_can_be_carried_out_and_answers_as_it_says(environment: dict[str, str]) -> None:
    answer = ""
    ran = compared = 0
    for language, body in blocks("tutorial/first-chain.md"):
        if language == "json":
            shown, found = json_lines(body), json_lines(answer)
            assert matches(shown, found), f"the page shows {shown}, the answer was {found}"
            compared += 1
        elif language == "sh" and body not in ELSEWHERE:
            result = run(body, environment)
            assert result.returncode == 0, f"{body}\n{result.stdout}{result.stderr}"
            answer = result.stdout
            ran += 1
    assert (ran, compared) == (6, 3)
    # What the page says of the two lines that `annals events` prints.
    first, second = json_lines(run("annals events person ada", environment).stdout)
    assert second["previous"] == {"/": first["cid"]}
    assert [first["command_id"], second["command_id"]] == ["first-1", "first-2"]


@pytest.mark.parametrize("page", ["how-to/send-commands.md"])
def test_a_how_to_guide_does_what_it_says(environment: dict[str, str], page: str, tmp_path: Path) -> None:
    # It is about p-100, whom its first block registers.
    for language, body in blocks("how-to/send-commands.md")[:1]:
        assert (language, run(body, environment).returncode) == ("sh", 0)
    programs = [body for language, body in blocks(page) if language == "python"]
    assert programs
    for number, program in enumerate(programs):
        file = tmp_path / f"program_{number}.py"
        file.write_text(program)
        result = subprocess.run(
            [sys.executable, "-W", "error", file],
            env=environment,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert result.returncode == 0, result.stdout + result.stderr
        assert result.stdout.strip()


@pytest.mark.parametrize("page", ["how-to/read-events.md", "how-to/use-the-schemas.md"])
def test_the_shell_of_a_guide_works(environment: dict[str, str], page: str, tmp_path: Path) -> None:
    sent = run(blocks("how-to/send-commands.md")[0][1], environment)
    assert sent.returncode == 0, sent.stderr
    scripts = [body for language, body in blocks(page) if language == "sh"]
    assert scripts
    for body in scripts:
        result = run(body, environment, tmp_path)
        assert result.returncode == 0, f"{body}\n{result.stdout}{result.stderr}"
        assert result.stdout.strip()
