"""Which dead letters are meant."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from annals.agents.dead_letters.letter import describe

if TYPE_CHECKING:
    from collections.abc import Mapping

    from annals.agents.dead_letters.letter import DeadLetterRecord, Letter
    from annals.agents.dead_letters.settled import Settled


class Selection(NamedTuple):
    """Those that all of these hold of; None: whatever it is.

    offsets: of `partition`, which is 0 where only they are given; stop_at: those before this offset. since, until: of
    when the command was received, inclusive and exclusive.
    """

    offsets: frozenset[int] | None = None
    partition: int | None = None
    reason: str | None = None
    kind: str | None = None
    type: str | None = None
    aggregate_id: str | None = None
    since: str | None = None
    until: str | None = None
    stop_at: int | None = None

    def open_letter(self, record: DeadLetterRecord, settled: Settled, kinds: Mapping[str, str]) -> Letter | None:
        """Return a dead letter that is open and meant; None if it is not. kinds: as `describe` takes them.

        Most of a topic is settled as a rule: the bytes of those are not looked into.
        """
        place = (record.partition, record.offset)
        if settled.of(*place) is not None or not self.may_have(*place):
            return None
        letter = describe(record, kinds)
        return letter if self.has(letter) else None

    def has(self, letter: Letter) -> bool:
        """Whether a dead letter is meant."""
        return (
            self.may_have(letter.partition, letter.offset)
            and self.reason in {None, letter.reason}
            and self.kind in {None, letter.kind}
            and self.type in {None, letter.type}
            and self.aggregate_id in {None, letter.aggregate_id}
            and (self.since is None or (letter.at or "") >= self.since)
            and (self.until is None or (letter.at is not None and letter.at < self.until))
        )

    def may_have(self, partition: int, offset: int) -> bool:
        """Whether it can be one at this place."""
        return (
            self.partition in {None, partition}
            and (self.offsets is None or offset in self.offsets)
            and (self.stop_at is None or offset < self.stop_at)
        )

    def bounds(self, partition: int, start: int, end: int) -> tuple[int, int]:
        """Return the part of a partition that has to be read."""
        if self.partition not in {None, partition}:
            return start, start
        if self.stop_at is not None:
            end = min(end, self.stop_at)
        if self.offsets is not None:
            start, end = max(start, min(self.offsets, default=end)), min(end, max(self.offsets, default=-1) + 1)
        return start, max(start, end)
