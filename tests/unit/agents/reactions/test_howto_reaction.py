"""docs/how-to/write-a-reaction.md, as it stands: its reaction and its test run."""

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from annals.agents.reactions.reaction import problem_of

PAGE = Path(__file__).parents[4] / "docs/how-to/write-a-reaction.md"


def test_the_page_runs_as_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    written, tested = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    module = ModuleType("annals.agents.reactions.archive_drafts")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(written, str(PAGE), "exec"), vars(module))
    assert problem_of(module.ARCHIVE_DRAFTS) is None
    names = {"__name__": "test_archive_drafts"}
    exec(compile(tested, str(PAGE), "exec"), names)
    tests = [test for name, test in names.items() if name.startswith("test_")]
    assert len(tests) == 3
    for test in tests:
        test()
