"""A checkout of the project, and what the development environment does with it."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Final

from annals.workers.file_errors import named
from annals.workers.tools.scaffold.errors import ScaffoldError

if TYPE_CHECKING:
    from pathlib import Path

REGISTRY: Final = "agents/aggregates/__init__.py"
SHOWN_CHARACTERS: Final = 2000


class Tree:
    """A checkout: files are written below its root, and never over one that is there."""

    def __init__(self, root: Path) -> None:
        """Take the root; ScaffoldError if it is no checkout."""
        self.root = root
        self.written: list[str] = []
        for name in (REGISTRY, "tests/golden/events.py", "pyproject.toml"):
            if not (root / name).is_file():
                raise ScaffoldError(f"{root} is no checkout of the project: it has no {name}. Run this in its folder.")

    def path(self, name: str) -> Path:
        """Where a file of the project is."""
        return self.root / name

    def read(self, name: str) -> str:
        """A file's text."""
        return self.path(name).read_text(encoding="utf-8")

    def refuse_taken(self, name: str) -> None:
        """ScaffoldError if the file is there, or a test elsewhere that has its name: pytest collects one of a name."""
        taken = [name] if self.path(name).exists() else []
        if name.startswith("tests/"):
            namesakes = self.path("tests").rglob(self.path(name).name)
            taken += sorted(str(each.relative_to(self.root)) for each in namesakes)
        if taken:
            raise ScaffoldError(f"{taken[0]} is there already: choose another name, or delete it")

    def create(self, name: str, text: str) -> None:
        """Write a new file; ScaffoldError if it is there."""
        self.refuse_taken(name)
        self.change(name, text)

    def change(self, name: str, text: str) -> None:
        """Write a file."""
        self.path(name).parent.mkdir(parents=True, exist_ok=True)
        with named(self.path(name)):
            self.path(name).write_text(text, encoding="utf-8")
        if name not in self.written:
            self.written.append(name)

    def tidy(self) -> None:
        """Sort the imports of what was written, drop those that nothing uses, and format it."""
        sources = [name for name in self.written if name.endswith(".py")]
        self.run("-m", "ruff", "check", "--quiet", "--fix", "--select", "I,F401", *sources)
        self.run("-m", "ruff", "format", "--quiet", *sources)

    def run(self, *arguments: str) -> None:
        """Run Python in the checkout.

        Raises:
            ScaffoldError: it failed; the message has what it said.
        """
        words = [sys.executable, *arguments]
        done = subprocess.run(words, cwd=self.root, capture_output=True, text=True, check=False)  # noqa: S603 - our own
        if done.returncode:
            said = (done.stdout + done.stderr).strip()[-SHOWN_CHARACTERS:]
            raise ScaffoldError(f"python {' '.join(arguments)} failed: {said}. `make setup` makes what it needs.")
