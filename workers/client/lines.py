"""Lines from a file or a pipe, as they come: numbered, bounded in length, without holding up the event loop."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

READ_BYTES: Final = 64 << 10
READ_AHEAD: Final = 4  # reads that wait to be taken; a faster source is held up


class Line(NamedTuple):
    """A line without its end; `text` is None where it is longer than is taken, and was not kept."""

    number: int
    text: bytes | None


class LineSplitter:
    """Cuts what was read into lines. Blank lines are passed over, but numbered."""

    def __init__(self, longest_bytes: int) -> None:
        """Take the length of the longest line that is kept."""
        self._longest = longest_bytes
        self._rest = bytearray()
        self._is_too_long = False
        self._number = 0

    def feed(self, read: bytes) -> list[Line]:
        """Return the lines that end in what was read; nothing read means the end, which ends a line too."""
        *ended, rest = read.split(b"\n") if read else [b"", b""]
        lines = []
        for part in ended:
            self._take(part)
            self._number += 1
            text = bytes(self._rest).strip()
            if text or self._is_too_long:
                lines.append(Line(self._number, None if self._is_too_long else text))
            self._rest.clear()
            self._is_too_long = False
        self._take(rest)
        return lines

    def _take(self, part: bytes) -> None:
        if len(self._rest) + len(part) > self._longest:
            self._is_too_long = True
            self._rest.clear()
        elif not self._is_too_long:
            self._rest += part


async def lines_of(read: Callable[[int], bytes], longest_bytes: int) -> AsyncIterator[list[Line]]:
    """Yield the lines of a source as soon as they are there, in lists.

    `read` blocks until there is something, and returns at most so many bytes, none at the end: `os.read` of a file
    descriptor. It is called by a thread of its own, which nothing waits for: a source that says nothing more must not
    keep the program alive.

    Raises:
        OSError: the source cannot be read.
    """
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[bytes | OSError] = asyncio.Queue()
    room = threading.Semaphore(READ_AHEAD)
    is_over = False

    def pump() -> None:
        while True:
            room.acquire()
            if is_over:
                return
            try:
                said: bytes | OSError = read(READ_BYTES)
            except OSError as error:
                said = error
            try:
                loop.call_soon_threadsafe(queue.put_nowait, said)
            except RuntimeError:  # the loop has ended
                return
            if not said or isinstance(said, OSError):
                return

    threading.Thread(target=pump, name="lines", daemon=True).start()
    splitter = LineSplitter(longest_bytes)
    try:
        while True:
            read_bytes = await queue.get()
            room.release()
            if isinstance(read_bytes, OSError):
                raise read_bytes
            yield splitter.feed(read_bytes)
            if not read_bytes:
                return
    finally:
        is_over = True
        room.release()
