"""What goes wrong between a shard and the outside.

JournalError
├── FencedError      another writer has the journal now
├── UncertainError   what became of a transaction is not known; fence and read
│   ├── OutlastedError   it took longer than a transaction may: not so much at once
│   └── RefusedSizeError a topic takes no batch that large: not so much at once
├── UnreachableError the brokers do not answer; try again later
│   └── DamagedBatchError what they answer is not what was written
├── NotPermittedError the user lacks a right at the brokers, which the message names: somebody has to give it
│   ├── UncertainNotPermittedError    in the midst of a transaction: also an UncertainError
│   └── UnreachableNotPermittedError  elsewhere: also an UnreachableError
├── StaleStateError  what a shard stands on has changed under it; read again
└── StoppedError     the shard must not go on by itself; names the place and what to do
    └── LostEndError what was acknowledged is not there any more

StoreError                   a store cannot do what it was asked for; never the fault of a command
├── StoreDamagedError        what is on disk is not what was written: fold the journal anew
└── StoreUnavailableError    files, space, rights or a lock are missing, the data is not: try again later
"""

from __future__ import annotations


class JournalError(Exception):
    """Something is wrong between a shard and its journal."""


class FencedError(JournalError):
    """Another writer holds the shard's transactional id now; nothing more of ours will ever be visible.

    outlasted: the transaction had taken longer than it may, and the broker fences whoever it takes one from, too.
    """

    def __init__(self, message: str, *, outlasted: bool = False) -> None:
        """Take what happened."""
        super().__init__(message)
        self.outlasted = outlasted


class UncertainError(JournalError):
    """Whether a transaction was committed is not known: drop what was decided, fence, read the journal again."""


class OutlastedError(UncertainError):
    """A transaction took longer than it may, or would have: the same at once would again."""


class RefusedSizeError(UncertainError):
    """A topic takes no batch as large as one of the transaction's; the message names it and the setting."""


class UnreachableError(JournalError):
    """The brokers do not answer, or cannot at present; nothing was written. Try again later."""


class DamagedBatchError(UnreachableError):
    """A record batch is not what its writer sent; the message names it. Another replica may have it as it was."""


class NotPermittedError(JournalError):
    """The user of this process lacks a right at the brokers; the message names it."""


class UncertainNotPermittedError(NotPermittedError, UncertainError):
    """It was lacking in the midst of a transaction."""


class UnreachableNotPermittedError(NotPermittedError, UnreachableError):
    """It was lacking before anything was written, or where something is read."""


class StaleStateError(JournalError):
    """The journal or the commands are not as this shard, their only writer or reader, left them: read again."""


class StoppedError(JournalError):
    """The shard stops: going on would mean to guess. The message says where it is and what to do."""


class LostEndError(StoppedError):
    """A partition ends below what was acknowledged in it: it lost its end, or was made anew.

    end: where it ends now; the message names where it ended, too.
    """

    def __init__(self, message: str, end: int) -> None:
        """Take the message and the end."""
        super().__init__(message)
        self.end = end


class StoreError(Exception):
    """A store cannot do what it was asked for. The message is RocksDB's; no command is at fault."""


class StoreDamagedError(StoreError):
    """What is on disk is not what was written. A store is only a fold: set it aside and fold the journal anew.

    folder: where the store is, for the factory; empty: it is the one that was opened last.
    """

    def __init__(self, message: str, folder: str = "") -> None:
        super().__init__(message)
        self.folder = folder


class StoreUnavailableError(StoreError):
    """Files, space, rights or a lock are missing. What is on disk may be whole: keep it, and try again later."""
