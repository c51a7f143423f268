"""docs/how-to/write-a-reaction.md followed step by step in a copy of the project, and what the scaffold writes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from project_copy import ROOT, project_copy, run  # noqa: F401 - the fixture `copy`

if TYPE_CHECKING:
    from pathlib import Path

PAGE = (ROOT / "docs/how-to/write-a-reaction.md").read_text()
FILES = re.findall(r"^```python\n# (\S+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
REGISTRY = "agents/reactions/__init__.py"

pytestmark = pytest.mark.slow


def test_the_page_works_as_it_is_written_and_so_does_the_scaffold(copy: Path) -> None:
    begin, test_it = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert "wrote agents/reactions/archive_drafts.py" in run(begin, copy)
    assert [name for name, _ in FILES] == [
        "agents/reactions/archive_drafts.py",
        "tests/unit/agents/reactions/test_archive_drafts.py",
    ]
    for name, text in FILES:
        assert (copy / name).exists()
        (copy / name).write_text(text)
    (lines,) = re.findall(r"^```diff\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    for line in (line[1:] for line in lines.splitlines() if line.startswith("+")):
        assert f"{line}\n" in (copy / REGISTRY).read_text()
    run(test_it, copy)

    # One that nobody has touched, whose name is as pytest calls what it collects.
    assert "wrote agents/reactions/test_drafts.py" in run("annals new reaction test-drafts", copy)
    written = "agents/reactions/test_drafts.py tests/unit/agents/reactions/test_test_drafts.py"
    files = f"{' '.join(name for name, _ in FILES)} {written} {REGISTRY}"
    run(f"ruff format --check {files} && ruff check {files} && mypy && lint-imports", copy)
    run("mypy --config-file tests/mypy.ini tests/unit/agents/reactions/test_test_drafts.py", copy)
    run("python docs/generate.py --check && annals schemas check", copy)
    run("pytest -q -p no:randomly tests/unit/agents/reactions", copy)
    assert "there is a reaction 'test-drafts' already" in run("annals new reaction test-drafts", copy, status=2)
