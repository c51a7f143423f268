"""What is told of a missing extra installs this project's: the bare name is another project's on PyPI."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from annals.agents.publishing.cel import Expression, ExpressionError
from annals.workers.cli.group import annals

ROOT = Path(__file__).parents[3]
WHEEL = "`pip install 'WHEEL[{}]'` for a wheel"


def test_a_filter_without_its_library_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cel_expr_python", None)
    with pytest.raises(ExpressionError) as raised:
        Expression("event.type == 'missing library'")
    assert WHEEL.format("subscribers") in str(raised.value)


def test_sql_without_its_library_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "annals.workers.projections.query", None)
    done = CliRunner().invoke(annals, ["projections", "query", "SELECT 1"])
    assert WHEEL.format("query") in str(done.exception)


def test_no_text_of_the_program_names_the_bare_distribution_as_what_to_install() -> None:
    named = re.compile(r"install annals\b|annals\[(?:broker|query|subscribers|testing)\]")
    files = [file for room in ("agents", "schemas", "topics", "workers") for file in (ROOT / room).rglob("*.py")]
    assert len(files) > 500
    assert [str(file.relative_to(ROOT)) for file in files if named.search(file.read_text())] == []
