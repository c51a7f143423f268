"""examples/journal_copy.py without a broker: it says what it waits for, and leaves no file that looks like a backup."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from processes import free_port

EXAMPLE = Path(__file__).parents[3] / "examples/journal_copy.py"


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("journal_copy", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "SAID_AFTER_S", 0.1)
    monkeypatch.setattr(module, "TIMEOUT_S", 1)
    return module


@pytest.mark.parametrize("what", ["save", "restore"])
def test_it_says_at_once_what_it_waits_for_and_leaves_no_file(
    example: ModuleType,
    what: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    servers, backup = f"127.0.0.1:{free_port()}", tmp_path / "person.backup"
    monkeypatch.setattr(
        sys,
        "argv",
        ["journal_copy", what, "events.person", str(backup), "--servers", servers, "--client", "log_level=0"],
    )
    with pytest.raises(SystemExit) as ended:
        example.main()
    assert ended.value.code == 1
    first, *_, last = capsys.readouterr().err.splitlines()
    assert first == f"waiting for {servers} to answer, 1 s at most"
    assert last.startswith("journal_copy: ")
    assert list(tmp_path.iterdir()) == []


def test_a_backup_is_not_written_over(example: ModuleType, tmp_path: Path) -> None:
    backup = tmp_path / "person.backup"
    backup.write_text("one of yesterday")
    with pytest.raises(FileExistsError):
        example.save("events.person", backup, {"bootstrap.servers": "nowhere:9092"})
    assert backup.read_text() == "one of yesterday"
