"""Where a replay goes on after a kill: its positions, and how much of its file they speak of.

The file of positions is replaced whole, never changed. The file with the lines is cut to the length that is recorded
before anything is appended: what a kill left behind that is made again, and nothing is doubled.
"""

from __future__ import annotations

import fcntl
import os
import stat
from contextlib import ExitStack
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any, Final

import msgspec

from annals.schemas.depth import decoded
from annals.workers.file_errors import named
from annals.workers.replay.plan import Behind, Positions, ReplayError

if TYPE_CHECKING:
    from typing import Self

    from annals.workers.replay.plan import Plan
    from annals.workers.settings import Settings

FORMAT: Final = 1
COUNTED_BYTES: Final = 1 << 20
LARGEST_BYTES: Final = 64 << 20  # of the file of positions: ten times what all partitions take


class Kept(msgspec.Struct, forbid_unknown_fields=True):
    """What the file has. of: what was asked for, so that no other replay goes on from here; length: of the lines.

    behind: empty in files of before.
    """

    format: int
    of: dict[str, Any]
    positions: Positions
    length: Annotated[int, msgspec.Meta(ge=0)] | None = None
    behind: Behind = {}


_decode: Final = msgspec.json.Decoder(Kept).decode


def asked_for(settings: Settings, plan: Plan) -> dict[str, Any]:
    """Return what must be the same for a replay to be gone on with; retries and rate may differ."""
    asked = {**plan.selection._asdict(), **plan.target._asdict(), "topic_prefix": settings.topic_prefix}
    if plan.target.file is not None:
        asked["file"] = str(Path(plan.target.file).absolute())
    # As it comes back from the file, where a tuple is a list.
    return msgspec.json.decode(msgspec.json.encode(asked), type=dict[str, Any])


class PositionFile:
    """Reads and replaces the file of positions."""

    def __init__(self, path: Path, of: dict[str, Any]) -> None:
        """Take the file, and what is asked for."""
        self._path = path
        self._of = of
        self._claimed: IO[bytes] | None = None

    def __enter__(self) -> Self:
        """Claim the file: two replays that go on from it would each do what the other does, and write over it.

        Raises:
            ReplayError: another replay has it, or it is no file.
            OSError: it cannot be written.
        """
        while self._claimed is None:
            if self._path.exists():
                _require_file(self._path, self._path.stat())
            with named(self._path):
                file = self._path.open("ab")
            if not _is_locked(file):
                file.close()
                raise ReplayError(f"another replay goes on from {self._path}: wait for it, or name another --state")
            if os.path.samestat(os.fstat(file.fileno()), self._path.stat()):
                self._claimed = file
            else:  # who had it has just replaced it
                file.close()
        return self

    def __exit__(self, *_: object) -> None:
        if self._claimed is not None:
            self._claimed.close()

    def load(self) -> Kept | None:
        """Return what was kept; None at the first run, also where that was killed before anything was kept.

        Raises:
            ReplayError: it is no such file, or of another replay.
        """
        try:
            _require_file(self._path, self._path.stat())
            if self._path.stat().st_size > LARGEST_BYTES:
                raise ReplayError(f"{self._path} is too large to have positions: more than {LARGEST_BYTES:,} bytes")
            text = self._path.read_bytes()
            if not text:
                return None
            kept = decoded(_decode, text)
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise ReplayError(f"{self._path} has no positions of a replay: {error}") from None
        if kept.format != FORMAT:
            raise ReplayError(f"{self._path} is of format {kept.format}, this release reads {FORMAT}")
        if kept.of != self._of:
            names = kept.of.keys() | self._of.keys()
            differ = sorted(name for name in names if kept.of.get(name) != self._of.get(name))
            raise ReplayError(
                f"{self._path} is of another replay ({', '.join(differ)} differ): repeat its options, or name a "
                "new file"
            )
        return kept

    def lines_in(self, path: Path) -> int:
        """Return how many lines of a file are gone on with: what is behind the recorded length will be cut off.

        Raises:
            ReplayError: as for `load`.
            OSError: the file cannot be read.
        """
        kept = self.load()
        left, lines = 0 if kept is None else kept.length or 0, 0
        if not left:
            return 0
        with path.open("rb") as file:
            while part := file.read(min(left, COUNTED_BYTES)):
                left -= len(part)
                lines += part.count(b"\n")
        return lines

    def save(self, positions: Positions, length: int | None, behind: Behind) -> None:
        """Replace the file, which is claimed.

        Raises:
            OSError: it cannot be written; the error names the file, and the former one stays.
        """
        assert self._claimed is not None  # noqa: S101 - nobody else may write it
        beside = self._path.with_name(self._path.name + ".new")
        try:
            with named(beside), ExitStack() as opened:
                file = opened.enter_context(beside.open("wb"))
                file.write(msgspec.json.encode(Kept(FORMAT, self._of, positions, length, behind)) + b"\n")
                file.flush()
                os.fsync(file.fileno())
                _is_locked(file)  # nobody else has it: it gets its name with the claim
                beside.replace(self._path)
                opened.pop_all()
        except OSError:
            beside.unlink(missing_ok=True)
            raise
        self._claimed.close()
        self._claimed = file


class LineFile:
    """The file that lines are appended to, by one replay at a time. Nothing of it is kept in memory."""

    def __init__(self, path: Path, length: int | None) -> None:
        """Open it, cut to the length that was recorded; None: nothing was, and there must be nothing in it.

        Raises:
            ReplayError: another replay writes it, or it is not what was recorded.
            OSError: it cannot be written.
        """
        self._path = path
        self._length = 0
        self._file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o644), "r+b", buffering=0)
        try:
            _require_file(path, os.fstat(self._file.fileno()))
            self._claim(path, length)
        except BaseException:
            self._file.close()
            raise

    def _claim(self, path: Path, length: int | None) -> None:
        if not _is_locked(self._file):
            raise ReplayError(f"another replay writes to {path}")
        there = self._file.seek(0, os.SEEK_END)
        if length is None and there:
            raise ReplayError(f"{path} has something in it: name another file, or the --state that it was written with")
        if there < (length or 0):
            raise ReplayError(f"{path} has {there} bytes and had {length}: remove it and its --state, and begin anew")
        self._cut(length or 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def append(self, lines: bytes) -> None:
        """Append lines, all of them or none; they are on disk after `settled`.

        Raises:
            OSError: they cannot be written; the error names the file.
        """
        rest = memoryview(lines)
        try:
            with named(self._path):
                while rest:
                    rest = rest[self._file.write(rest) :]
        except OSError:
            self._cut(self._length)  # a part of them would be there twice once the replay goes on
            raise
        self._length += len(lines)

    def settled(self) -> int:
        """Bring what was appended to the disk, and return the length."""
        with named(self._path):
            os.fsync(self._file.fileno())
        return self._length

    def _cut(self, length: int) -> None:
        with named(self._path):
            self._file.truncate(length)
            self._file.seek(length)
        self._length = length


def _is_locked(file: IO[bytes]) -> bool:
    """Lock a file until it is closed; False where another process has it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _require_file(path: Path, status: os.stat_result) -> None:
    """Refuse what is no file: a pipe would be waited for, a device has no end and is not replaced or cut."""
    if not stat.S_ISREG(status.st_mode):
        raise ReplayError(f"{path} is a folder, a pipe or a device: name a file")
