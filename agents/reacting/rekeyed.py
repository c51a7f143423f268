"""What copies the events of one journal partition to a re-keyed stream (`annals.agents.reading.streams.rekeyed`).

`Rekeying` stands where the processes of a reaction stand, in a reactor whose transaction holds the records and how far
the journal is copied. Every event that has the key is copied, whatever who reads the stream wants: a later version may
want more.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from annals.agents.reacting.ports import Kept, OutgoingCommand
from annals.agents.reacting.processes import Changes
from annals.schemas.reaction_rows import ACTIVE, Control
from annals.topics.headers import QUIET

if TYPE_CHECKING:
    from annals.agents.event_keys import Rekeyed
    from annals.agents.reading.found import JournalEvent
    from annals.topics.headers import Header


class Rekeying:
    """The records of one journal partition for a stream. command_bytes: of those that are to be written."""

    timers: Final = 0
    due_until: Final = ""

    def __init__(self, stream: Rekeyed) -> None:
        """Begin with none."""
        self._stream = stream
        self._records: list[OutgoingCommand] = []
        self.command_bytes = 0

    def load(self, key: bytes, value: bytes) -> None:
        """Nothing is kept, and so nothing is loaded."""

    def next_due(self) -> str | None:
        """Return that there is no timer."""
        return None

    def take(self, source: JournalEvent, *, is_quiet: bool, quiet_due: str = "") -> None:
        """Copy an event, if it has the key. is_quiet: no command is sent by it."""
        del quiet_due
        key = self._stream.key_of(source.event)
        if key is None:
            return
        headers: list[Header] = [*source.carried, (QUIET, b"1")] if is_quiet else [*source.carried]
        self._records.append(OutgoingCommand(self._stream.kind, key.encode(), source.block, headers))
        self.command_bytes += len(source.block)

    def fire(self, now: str, most: int, *, quiet_due: str = "") -> bool:
        """Return that nothing is due."""
        del now, most, quiet_due
        return False

    def changes(self) -> Changes:
        """Return what is to be written, and begin to note anew."""
        records, self._records, self.command_bytes = self._records, [], 0
        return Changes({}, records)


class AlwaysActive:
    """Which streams are copied that nobody resumes or pauses: all (the `Controls` port)."""

    _KEPT: Final = Kept(Control(ACTIVE), 0)

    def get(self, name: str) -> Kept:
        """Return that it is copied."""
        del name
        return self._KEPT

    async def until_changed(self, name: str, known: Kept | None) -> None:
        """Wait for ever."""
        del name, known
        await asyncio.Event().wait()

    async def until_current(self) -> None:
        """Nothing changes."""
