"""A data folder is one worker's: made, written and locked, or refused by the setting's name."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from annals.workers.data_folder import LOCK, DataFolder, UnusableFolderError
from annals.workers.settings import values

TRY = """
import sys
from pathlib import Path
from annals.workers.data_folder import DataFolder
sys.exit(not DataFolder(Path(sys.argv[1])).claim())
"""


def can_another_process_claim(folder: Path) -> bool:
    return subprocess.run([sys.executable, "-c", TRY, folder], check=False).returncode == 0


def test_the_folder_is_made_and_locked_as_long_as_its_owner_has_it(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path / "not/there/yet")
    assert folder.claim()
    assert not can_another_process_claim(tmp_path / "not/there/yet")
    folder.release()
    assert can_another_process_claim(tmp_path / "not/there/yet")


def test_the_one_who_comes_second_is_told_who_has_it(tmp_path: Path) -> None:
    first, second = DataFolder(tmp_path), DataFolder(tmp_path)
    assert first.claim()
    assert not second.claim()
    assert f"process {os.getpid()}" in second.in_use()
    (tmp_path / LOCK).write_bytes(b"\xff")
    assert "process unknown" in second.in_use()
    first.release()
    assert second.claim()


@pytest.mark.parametrize("folder", ["/proc/nope", "/dev/null/below", "/dev/full"])
def test_what_cannot_be_made_or_written_is_refused_by_the_name_of_the_setting(folder: str) -> None:
    with pytest.raises(UnusableFolderError, match=r"^ANNALS_DATA_DIR: "):
        DataFolder(Path(folder)).claim()


def test_a_full_disk_is_noticed(tmp_path: Path) -> None:
    (tmp_path / LOCK).symlink_to("/dev/full")
    with pytest.raises(UnusableFolderError, match=r"ANNALS_DATA_DIR: .*\((No space left|Invalid argument)"):
        DataFolder(tmp_path).claim()


def test_a_folder_that_cannot_be_entered_is_a_wrong_value(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_path: Path) -> bool:  # as for a user other than root, who these tests may not be
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "exists", refuse)
    with pytest.raises(ValueError, match="Permission denied"):
        values.folder("/locked/data")
