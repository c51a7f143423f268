"""docs/how-to/add-a-projection.md followed step by step in a copy of the project, and what the scaffold writes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from project_copy import ROOT, project_copy, run  # noqa: F401 - the fixture `copy`

if TYPE_CHECKING:
    from pathlib import Path

PAGE = (ROOT / "docs/how-to/add-a-projection.md").read_text()
FILES = re.findall(r"^```python\n# (\S+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
REGISTRY = "agents/projections/__init__.py"

pytestmark = pytest.mark.slow


def test_the_page_works_as_it_is_written_and_so_does_the_scaffold(copy: Path) -> None:
    assert "wrote agents/projections/name_list.py" in run("annals new projection name_list", copy)
    run(f"ruff format --check {REGISTRY} && ruff check {REGISTRY}", copy)
    for name, text in FILES:
        (copy / name).write_text(text)
    (lines,) = re.findall(r"^```diff\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    imported, registered = (line[1:] for line in lines.splitlines() if line.startswith("+"))
    registry = (copy / REGISTRY).read_text().replace("\n}", f"\n{registered}\n}}")
    last = re.findall(r"^from annals\.agents\.projections\.\w+ import \w+$", registry, re.MULTILINE)[-1]
    (copy / REGISTRY).write_text(registry.replace(last, f"{last}\n{imported}"))
    (commands,) = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    run(commands, copy)
    added = "agents/projections/name_list.py tests/unit/agents/projections/test_name_list.py"
    files = f"{' '.join(name for name, _ in FILES)} {added}"
    run(f"ruff format --check {files} && ruff check {files} && mypy && lint-imports", copy)
    run("pytest -q -p no:randomly tests/unit/agents/projections/test_name_list.py", copy)
    assert "## titles" in (copy / "docs/reference/projections.md").read_text()
