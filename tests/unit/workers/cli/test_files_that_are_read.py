"""Files that commands read: whatever they are, they are refused by name and in time, or read within bounds."""

import os
import subprocess
from pathlib import Path

import pytest

from annals.workers.cli import files
from annals.workers.cli.failures import CannotAskError
from processes import ENTRY_POINT, own_environment

EVERY_READ = ("subscriptions put billing", "journal accept person --dry-run --heads")


def as_in_a_shell(words: str) -> tuple[int, str, str]:
    command = ["bash", "-c", f'exec "$0" {words}', ENTRY_POINT]
    environment = own_environment(ANNALS_BOOTSTRAP_SERVERS="127.0.0.1:1")
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    return result.returncode, result.stdout, result.stderr


@pytest.mark.parametrize("words", EVERY_READ)
def test_a_file_is_refused_by_name_whatever_it_is(tmp_path: Path, words: str) -> None:
    """Goes red by a device that is read until memory is gone."""
    for file, why in ((tmp_path, "it is a folder"), ("/dev/zero", "it is a device"), ("/nowhere", "No such file")):
        status, output, errors = as_in_a_shell(f"{words} {file}")
        assert (status, output) == (2, "")
        assert errors.startswith(f"annals: {file} cannot be read: {why}")


@pytest.mark.parametrize("words", EVERY_READ)
def test_a_standard_input_that_is_not_there_is_named_as_that(words: str) -> None:
    """Goes red by a traceback."""
    for where in ("- <&-", "- 0>/dev/null"):
        status, output, errors = as_in_a_shell(f"{words} {where}")
        assert (status, output) == (2, "")
        assert errors.startswith("annals: there is no standard input to read ")
    assert as_in_a_shell(f"{words} - </dev/zero")[2] == "annals: standard input cannot be read: it is a device\n"


def test_a_pipe_that_nobody_writes_to_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "WITHIN_S", 0.2)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(CannotAskError, match=r"is a pipe, and nothing came from it within 0\.2 s"):
        files.whole(str(pipe), "a subscription")
    with pytest.raises(CannotAskError, match=r"is a pipe, and nothing came from it within 0\.2 s"):
        list(files.lines(str(pipe), "outcomes", 10))


def test_a_file_is_read_up_to_a_bound(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"x" * files.LARGEST_BYTES)
    assert len(files.whole(str(file), "a subscription")) == files.LARGEST_BYTES
    with file.open("ab") as opened:
        opened.write(b"x")
    with pytest.raises(CannotAskError, match="is too large: it has more than 1,048,576 bytes"):
        files.whole(str(file), "a subscription")
    file.write_bytes(b"one\n\n  \ntwo\n" + b"x" * 11)
    lines = files.lines(str(file), "outcomes", 10)
    assert [next(lines), next(lines)] == [b"one", b"two"]
    with pytest.raises(CannotAskError, match="line 5 has more than 10 bytes"):
        next(lines)
