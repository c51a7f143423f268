"""Mutation testing: change one operator, constant or branch at a time, and see that a test goes red (ADR 0036).

    bench/mutants.py [MODULE ...]

Modules are files of `schemas`, `topics` or `agents`; by default those of MODULES. All happens in a copy, which the
tests import by PYTHONPATH, so that an interrupted run leaves nothing behind. The exit status is 1 where a mutant
survived that bench/MUTANTS.md does not judge.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).parents[1]
JUDGED: Final = ROOT / "bench/MUTANTS.md"
COPIED: Final = ("agents", "schemas", "topics", "workers", "src", "tests", "docs", "examples", "pyproject.toml")
COSMIC_RAY: Final = ("tool", "run", "--quiet", "--from", "cosmic-ray==8.7.0")
WARM: Final = ROOT / "bench/warm_tests.py"
LOOK_S: Final = 0.05
TIMEOUT_S: Final = 60
# The tests that are to see what a module does wrong: those of the module, not of all that stands on it.
MODULES: Final = {
    "agents/backoff.py": ("test_backoff.py",),
    "agents/deciding/comparison.py": ("test_agreement.py", "test_person.py"),
    "agents/deciding/machine.py": ("test_machine.py",),
    "agents/due_index.py": ("test_due_index.py",),
    "agents/publishing/delivering/back_off.py": ("test_deliveries.py",),
    "agents/publishing/members.py": ("test_members.py",),
    "agents/publishing/share.py": ("test_share.py",),
    "agents/publishing/webhooks/circuit.py": ("test_webhooks.py",),
    "agents/publishing/webhooks/signatures.py": ("test_webhooks.py",),
    "agents/publishing/webhooks/verdicts.py": ("test_webhooks.py",),
    "agents/reading/keeping/recent_events.py": ("test_recent_events.py",),
    "agents/reading/snapshots/policy.py": ("test_snapshot_policy.py",),
    "agents/reacting/processes.py": ("test_processes.py",),
    "agents/writing/shards/command_queue.py": ("test_command_queue.py", "test_shard.py"),
    "agents/writing/batches/decision_plan.py": ("test_batch.py", "test_shard.py"),
    "schemas/journal_reader.py": ("test_journal_reader.py",),
    "schemas/progress.py": ("test_progress.py",),
    "schemas/webhook_url.py": ("test_webhooks.py",),
    "topics/keys.py": ("test_topic_keys.py",),
}
# In these modules `|` stands in annotations alone, which nothing evaluates.
LEFT_OUT: Final = ["core/ReplaceBinaryOperator_BitOr_.*"]
PLANTED: Final = "raise AssertionError('planted')\n"


def main(modules: list[str]) -> int:
    """Run it, print every mutant that survived, and return the exit status."""
    unknown = [module for module in modules if module not in MODULES]
    if unknown:
        print(f"no tests are named for {', '.join(unknown)}: add them to MODULES in bench/mutants.py")
        return 2
    judged = JUDGED.read_text()
    survived, unjudged = 0, 0
    with tempfile.TemporaryDirectory(prefix="annals-mutants-") as folder:
        copy = Path(folder)
        for name in COPIED:
            source = ROOT / name
            (shutil.copytree if source.is_dir() else shutil.copy)(source, copy / name, **_links(source))
        for module in modules or list(MODULES):
            for line in survivors_of(copy, module):
                is_new = line not in judged
                survived, unjudged = survived + 1, unjudged + is_new
                print(f"{'NEW ' if is_new else '    '}{line}", flush=True)
    print(f"{survived} mutants survived, {unjudged} of them are not judged in bench/MUTANTS.md")
    return 1 if unjudged else 0


def survivors_of(copy: Path, module: str) -> list[str]:
    """Return a line for each mutant of a module that its tests do not see.

    Raises:
        SystemExit: the tests are red without a mutant, or green with one that is planted.
    """
    file, tests = copy / module, [f"tests/unit/{name}" for name in _found(copy, MODULES[module])]
    address = copy / "warm.socket"
    command = [sys.executable, str(WARM), "ask", str(address)]
    text = file.read_text()
    with _warm(copy, address, ["-q", "-x", "-p", "no:randomly", "-p", "no:cacheprovider", *tests]):
        if _run(copy, command).returncode:
            raise SystemExit(f"{module}: the tests are red before anything is changed")
        file.write_text(f"{text}\n{PLANTED}")
        if not _run(copy, command).returncode:
            raise SystemExit(f"{module}: a planted fault was not seen: the tests import another copy")
        file.write_text(text)
        results = _tried(copy, module, command)
    survived = [_line(item, text) for item, result in results if result["test_outcome"] == "survived"]
    print(f"{module}: {len(results)} mutants, {len(survived)} survived", flush=True)
    return survived


@contextmanager
def _warm(copy: Path, address: Path, arguments: list[str]) -> Iterator[None]:
    """Have tests run by forks of a process that has loaded the libraries: that is most of what a mutant takes."""
    address.unlink(missing_ok=True)
    words = [sys.executable, str(WARM), "serve", str(address), *arguments]
    with subprocess.Popen(words, cwd=copy, env=_environment(copy)) as server:
        try:
            while not address.exists() and server.poll() is None:
                time.sleep(LOOK_S)
            yield
        finally:
            server.terminate()


def _tried(copy: Path, module: str, command: list[str]) -> list[tuple[Any, Any]]:
    """Return the mutants of a module that were tried, each with what the tests said."""
    config, session = copy / "mutants.toml", copy / "mutants.sqlite"
    session.unlink(missing_ok=True)
    config.write_text(
        f"[cosmic-ray]\nmodule-path = {json.dumps([module])}\ntimeout = {TIMEOUT_S}.0\nexcluded-modules = []\n"
        f"test-command = {json.dumps(' '.join(command))}\n"
        '[cosmic-ray.distributor]\nname = "local"\n'
        f"[cosmic-ray.filters.operators-filter]\nexclude-operators = {json.dumps(LEFT_OUT)}\n"
    )
    uv = ROOT / ".uv/bin/uv"
    for words in (
        ("cosmic-ray", "init", config.name, session.name),
        ("cr-filter-operators", session.name, config.name),
        ("cosmic-ray", "exec", config.name, session.name),
    ):
        _run(copy, [uv, *COSMIC_RAY, *words], check=True)
    dump = _run(copy, [uv, *COSMIC_RAY, "cosmic-ray", "dump", session.name], check=True).stdout
    return [(item, result) for item, result in map(json.loads, dump.splitlines()) if _was_run(result)]


def _line(item: dict[str, object], text: str) -> str:
    """Return what tells a mutant from others wherever its line stands: module, operator and the line as it was."""
    (mutation,) = item["mutations"]  # type: ignore[misc]
    line = text.splitlines()[mutation["start_pos"][0] - 1].strip()
    operator = mutation["operator_name"].removeprefix("core/")
    return f"`{mutation['module_path']}` {operator}: `{line}`"


def _was_run(result: dict[str, object] | None) -> bool:
    return result is not None and result["worker_outcome"] != "skipped"


def _found(copy: Path, names: tuple[str, ...]) -> list[Path]:
    return [next((copy / "tests/unit").rglob(name)).relative_to(copy / "tests/unit") for name in names]


def _links(source: Path) -> dict[str, bool]:
    return {"symlinks": True} if source.is_dir() else {}


def _run(copy: Path, command: list[object], *, check: bool = False) -> subprocess.CompletedProcess[str]:
    words = [str(word) for word in command]
    return subprocess.run(words, cwd=copy, env=_environment(copy), capture_output=True, text=True, check=check)


def _environment(copy: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(copy / "src"), "PYTHONDONTWRITEBYTECODE": "1"}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
