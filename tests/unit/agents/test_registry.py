"""What another distribution registers wrongly is said in one line by every command; exit status 2."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from distributions import installed
from processes import ENTRY_POINT, own_environment

LAMP = Path(__file__).parents[2] / "lamp.py"


def listed(tmp_path: Path, entry: str, more: str = "") -> subprocess.CompletedProcess[str]:
    """`annals schemas list --kind lamp` beside a distribution with this entry point."""
    code = f"{LAMP.read_text()}\n\nLAMP = lamp()\n{more}"
    site = installed(tmp_path, "annals-lamp", f"[annals.aggregates]\n{entry}\n", lamp=code)
    return subprocess.run(
        [ENTRY_POINT, "schemas", "list", "--kind", "lamp"],
        env=own_environment(PYTHONPATH=site),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def test_an_aggregate_of_another_distribution_is_known(tmp_path: Path) -> None:
    done = listed(tmp_path, "lamp = lamp:LAMP")
    assert (done.returncode, done.stderr) == (0, "")
    assert "urn:annals:schema:lamp:HangLamp:1" in done.stdout


@pytest.mark.parametrize(
    ("entry", "more", "said"),
    [
        ("lamp = lamp:NONE", "", "cannot be loaded: AttributeError"),
        ("lamp = lump:LAMP", "", "cannot be loaded: ModuleNotFoundError"),
        ("lamp = lamp:LAMP", "raise SystemExit\n", "cannot be loaded: SystemExit"),
        ("lamps = lamp:LAMP", "", "is no decider of the kind 'lamps'"),
        ("lamp = lamp:OTHER", "class OTHER:\n    kind = 'lamp'\n", "is no decider of the kind 'lamp'"),
        ("person = lamp:LAMP", "LAMP.kind = 'person'\n", "registers a kind that exists already"),
        ("wire = lamp:LAMP", "LAMP.kind = 'wire'\n", "and not 'wire'"),
        ("Lamp = lamp:LAMP", "LAMP.kind = 'Lamp'\n", "a kind is 1 to 32 of a-z"),
    ],
)
def test_a_wrong_entry_point_is_named_in_one_line(tmp_path: Path, entry: str, more: str, said: str) -> None:
    done = listed(tmp_path, entry, more)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("annals: entry point ")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
