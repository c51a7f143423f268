"""What reacting asks of the outside: where it writes, and which reactions run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from annals.schemas.reaction_rows import ACTIVE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from annals.schemas.progress import Progress
    from annals.schemas.reaction_rows import Control
    from annals.topics.headers import Header


BEGIN_ANEW: Final = "or give the reaction another name, under which it begins anew where it is resumed."
"""What to do where the journal that was reacted to, or what is kept of it, is gone for good.

Its topics cannot be emptied for that: progress is in one that subscriptions share.
"""


class Kept(NamedTuple):
    """Whether a reaction runs, as the topic has it; offset: of the record."""

    control: Control
    offset: int


def is_active(kept: Kept | None) -> bool:
    """Whether a reaction is to run; it is not before somebody has resumed it."""
    return kept is not None and kept.control.status == ACTIVE


class OutgoingCommand(NamedTuple):
    """A command's record; of who copies events to a re-keyed stream, a record of that: the block under its key."""

    kind: str
    key: bytes
    value: bytes
    headers: Sequence[Header]


class ReactionWrites(NamedTuple):
    """One transaction: commands, rows by key (None: gone), and the progress that they bring."""

    commands: Sequence[OutgoingCommand]
    rows: Mapping[bytes, bytes | None]
    progress: Progress


class UnwritableError(Exception):
    """A command cannot be written: its topic is not there, or does not take it. Nothing was begun."""


class ReactionLog(Protocol):
    """The transactional writer of one reaction in one journal partition."""

    async def fence(self) -> None:
        """Become the only writer under this id; what another had under way ends here.

        Raises:
            UnreachableError: the brokers do not answer.
        """

    async def progress(self) -> Progress | None:
        """Return the newest progress, once no transaction is open; None if there is none.

        An owner asks for it before it commits: what is named then is what the next owner looks for.

        Raises:
            UnreachableError: the brokers do not answer.
            StoppedError: the topics of progress or of rows lack what was written there.
        """

    def rows(self) -> AsyncIterator[tuple[bytes, bytes | None]]:
        """Yield the rows' records of this partition, once no transaction is open, the oldest first (None: gone).

        Raises:
            UnreachableError: the brokers do not answer.
        """

    async def commit(self, writes: ReactionWrites) -> None:
        """Write it all in one transaction.

        Raises:
            FencedError: another writer has this id; nothing of this transaction will ever be visible.
            UncertainError: what became of it is not known; fence, then read progress and rows.
            UnwritableError: a command cannot be written; nothing was begun.
        """

    def throttled_s(self) -> float:
        """Return for how many seconds the brokers ask for nothing more to be written."""

    async def close(self) -> None:
        """Close the connections."""


class Horizon(Protocol):
    """Up to when a partition of a re-keyed stream is read whole: with all that the journals had then."""

    async def passed(self, due: str | None, position: int) -> str:
        """Return a time, as `recorded_at`: all that the journals had then is in the stream below a position.

        due: when the next timer is due, None if there is none; before it has come, nothing is asked. Empty: no time is
        known yet.

        Raises:
            UnreachableError: the brokers do not answer.
        """


class Controls(Protocol):
    """Which reactions run, as this process has read it."""

    def get(self, name: str) -> Kept | None:
        """Return what is known of a reaction; None if nothing was ever said of it."""

    async def until_changed(self, name: str, known: Kept | None) -> None:
        """Wait until it is no longer what somebody knows."""

    async def until_current(self) -> None:
        """Wait until every change that was answered, or is being written, is in `get`.

        What was read before this is asked is then reacted to only by what was to run when it was recorded. Where they
        cannot be read, what was known before holds.
        """


class ForeignTelemetry(Protocol):
    """What is counted of another deployment's journal."""

    def judged(self, status: str, records: int) -> None:
        """Count records by what they are by the rule of every reader: counted, void, foreign, gap."""


class ReactionTelemetry(Protocol):
    """What a reactor counts."""

    def reacted(self, commands: int, fired: int) -> None:
        """Count commands that were sent and timers that have fired, once committed."""

    def come_round(self, events: int) -> None:
        """Count events of another deployment that were passed over, since they have come through this one."""

    def standing(self, lag: int, timers: int) -> None:
        """Say how many offsets it is behind, and how many timers are set."""

    def running(self, *, is_so: bool | None) -> None:
        """Say whether the reaction runs in the partition; None: it is not to."""

    def closed(self) -> None:
        """Forget what was said of the partition: it may be somebody else's now."""
