"""What RocksDB's words mean: damage, another process's lock, or a machine that lacks something.

The binding raises bare exceptions whose text is a status of RocksDB ("IO error: While open a file for random read:
/data/7.sst: Too many open files"), or of Rust's standard library ("Permission denied (os error 13)"). The status alone
does not tell: a missing table is "Corruption", and so is a table that could not be opened for want of file handles.
"""

from __future__ import annotations

import errno
import os
import re
from typing import TYPE_CHECKING, Final

from rocksdict import DbClosedError

from annals.agents.ports import StoreDamagedError, StoreError, StoreUnavailableError

if TYPE_CHECKING:
    from pathlib import Path

LOCK: Final = re.compile(r"IO error: (lock hold by current process|While lock file)")
# Of a folder that Rust could not make; a folder where the binding keeps a file of its own is damage.
OPERATING_SYSTEM: Final = re.compile(rf"\(os error (?!{errno.EISDIR}\))\d+\)$")
PASSING: Final = ("Shutdown in progress", "Operation aborted", "Resource busy", "Result incomplete", "Timed out")
IO_ERROR: Final = "IO error"

LACKING: Final = tuple(
    os.strerror(number)
    for number in (
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EFBIG,
        errno.EACCES,
        errno.EPERM,
        errno.EROFS,
        errno.ENOMEM,
    )
)
"""What an operator gives back: files, space, rights, memory."""

LOST: Final = tuple(
    os.strerror(number)
    for number in (errno.ENOENT, errno.EIO, errno.EISDIR, errno.ENOTDIR, errno.EBADMSG, errno.EUCLEAN, errno.EILSEQ)
)
"""What no later try finds again: a file that is gone or something else, a sector that cannot be read."""


class StoreLockedError(StoreUnavailableError):
    """Another process, or another store of this one, holds the folder's lock."""


def store_error(error: Exception, folder: Path) -> StoreError:
    """Return the failure that an exception of the binding stands for.

    folder: the store's; its name is no part of what RocksDB says.
    """
    said = " ".join(str(error).split())
    words = said.replace(str(folder), "")
    if isinstance(error, DbClosedError):
        return StoreUnavailableError(f"{folder}: {said}")
    if LOCK.match(words):
        return StoreLockedError(said)
    if any(lacking in words for lacking in LACKING) or OPERATING_SYSTEM.search(words) or words.startswith(PASSING):
        return StoreUnavailableError(f"{folder}: {said}")
    if words.startswith(IO_ERROR) and not any(lost in words for lost in LOST):
        return StoreUnavailableError(f"{folder}: {said}")
    return StoreDamagedError(f"{folder}: {said}", str(folder))
