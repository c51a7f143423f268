"""What a worker had when it was last assigned partitions: kept in a file, which may be lost or say anything."""

from pathlib import Path

import pytest

from annals.workers.last_assignment import FILE, LastAssignment


def test_what_a_worker_had_is_there_when_it_is_started_again(tmp_path: Path) -> None:
    folder = tmp_path / "group"
    assert LastAssignment(folder).read() == {}
    LastAssignment(folder).write({"a": [1, 3], "b": [0]}, {"a": [0]})
    assert LastAssignment(folder).read() == {"a": [0, 1, 3], "b": [0]}
    LastAssignment(folder).write({}, {})
    assert LastAssignment(folder).read() == {}


@pytest.mark.parametrize("text", [b"", b"\xff", b'{"a":[', b'{"a":["1"]}', b"[" * 100_000])
def test_what_cannot_be_read_is_nothing(tmp_path: Path, text: bytes) -> None:
    (tmp_path / FILE).write_bytes(text)
    assert LastAssignment(tmp_path).read() == {}


def test_a_folder_that_takes_no_file_is_no_failure(tmp_path: Path) -> None:
    (tmp_path / "group").write_bytes(b"")
    LastAssignment(tmp_path / "group").write({"a": [1]})
    assert LastAssignment(tmp_path / "group").read() == {}
