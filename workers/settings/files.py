"""Files that somebody named in a setting: read whole within a bound of bytes and of time, whatever they are.

A path may name a pipe that nobody writes to, a device without an end, a folder, a terminal. A pipe that is written to,
as a shell makes one of `<(command)`, is as good as a file.
"""

from __future__ import annotations

import os
import re
import select
import stat
import tomllib
from pathlib import Path
from time import monotonic
from typing import Any, Final

WITHIN_S: Final = 5.0  # for a program at the other end of a pipe
READ_BYTES: Final = 1 << 16
LARGEST_TLS_BYTES: Final = 16 << 20
LARGEST_TOML_BYTES: Final = 1 << 20
# The parser takes time and room in the square of the parts of a name; settings have names of one part, or two.
_LONG_NAME: Final = re.compile(r"""(?<![\w-])(?:(?:[\w-]+|"[^"\n]*"|'[^'\n]*')[ \t]*\.[ \t]*){100}""")


class UnreadableError(Exception):
    """A file cannot be read as a setting; the message says why, and follows its name: 'is a folder'."""


def path_of(text: str) -> Path:
    """Return the path that a text names, with `~` as the shell has it.

    Raises:
        UnreadableError: no path can be so, or there is no such user.
    """
    if "\0" in text:
        raise UnreadableError("has a null character, which no path has")
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise UnreadableError("names the home of a user that does not exist") from None


def read_whole(text: str, most_bytes: int) -> bytes:
    """Return what is in a file or pipe.

    Raises:
        UnreadableError: it is not there or may not be read, is too large, or does not end in time.
    """
    try:
        # without waiting: a pipe is opened, and found to be at its end, where nobody writes to it
        descriptor = os.open(path_of(text), os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        try:
            return _read(descriptor, most_bytes)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise UnreadableError(f"cannot be read: {error.strerror}") from None


def _read(descriptor: int, most_bytes: int) -> bytes:
    content = bytearray()
    deadline = monotonic() + WITHIN_S
    while len(content) <= most_bytes:
        try:
            read = os.read(descriptor, READ_BYTES)
        except BlockingIOError:
            select.select([descriptor], [], [], max(0.0, deadline - monotonic()))
            if monotonic() >= deadline:
                raise UnreadableError(f"does not end: nothing more came within {WITHIN_S:.0f} s") from None
            continue
        if not read:
            return bytes(content)
        content += read
    raise UnreadableError(f"is too large: it has more than {most_bytes} bytes")


def text_of(content: bytes) -> str:
    """Return the UTF-8 text of a file, without the byte order mark that editors on Windows put before it.

    Raises:
        UnicodeDecodeError: it is no such text.
    """
    return content.decode("utf-8-sig")


def read_toml(text: str) -> dict[str, Any]:
    """Return what a TOML file says.

    Raises:
        UnreadableError: as `read_whole`, or it is none. What is said names the line and never quotes more than one
            character.
    """
    try:
        document = text_of(read_whole(text, LARGEST_TOML_BYTES))
        if _LONG_NAME.search(document):
            raise UnreadableError("is no file of settings: a name in it has too many parts")
        return tomllib.loads(document)
    except RecursionError:
        raise UnreadableError("is no file of settings: its lists are nested too deep") from None
    except ValueError as error:  # no TOML, no UTF-8, or a number that Python does not read
        raise UnreadableError(f"is not TOML: {error}") from None


def regular_file(text: str) -> Path:
    """Return the path of a file for a library that reads it by itself, and would wait for a pipe or read a device.

    Raises:
        UnreadableError: it is not there or may not be read, is something else, or is too large.
    """
    path = path_of(text)
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise UnreadableError("is no file")
        if found.st_size > LARGEST_TLS_BYTES:
            raise UnreadableError(f"is too large: it has more than {LARGEST_TLS_BYTES} bytes")
        with path.open("rb"):
            return path
    except OSError as error:
        raise UnreadableError(f"cannot be read: {error.strerror}") from None
