"""Distributions in a folder, as others install theirs beside the project."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def installed(site: Path, name: str, entry_points: str, **modules: str) -> str:
    """Install a distribution; return what PYTHONPATH is to be. modules: name -> code."""
    info = site / f"{name.replace('-', '_')}-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
    (info / "entry_points.txt").write_text(entry_points)
    for module, code in modules.items():
        (site / f"{module}.py").write_text(code)
    return str(site)
