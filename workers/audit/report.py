"""What verification found: counts, and each place where something is wrong."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

MOST_LISTED: Final = 10_000
"""Places that are kept: one changed byte makes every later event of its aggregate void, and that may be millions."""


class Broken(NamedTuple):
    """One place: None where it is the journal as a whole, or nothing is there."""

    kind: str
    aggregate_id: str | None
    topic: str
    partition: int
    offset: int | None
    version: int | None
    reason: str

    def __str__(self) -> str:
        """Return it in one line for people."""
        where = f"{self.topic}-{self.partition}" + ("" if self.offset is None else f" offset {self.offset}")
        what = "" if self.aggregate_id is None else f" {self.kind} {self.aggregate_id!r}"
        version = "" if self.version is None else f" version {self.version}"
        return ": ".join(part.strip() for part in (where, what + version, self.reason) if part)


@dataclass(slots=True)
class Report:
    """The findings; with `tolerates_void`, void and foreign records are counted and not listed.

    With `tolerates_differing`, headers that differ from their block are not listed: only the block is right.
    `more` is how many places are not listed for want of room; `kept_heads`, how many heads the chains were compared
    with, None where nobody gave any.
    """

    tolerates_void: bool = False
    tolerates_differing: bool = False
    events: int = 0
    aggregates: int = 0
    void: int = 0
    foreign: int = 0
    broken: list[Broken] = field(default_factory=list)
    more: int = 0
    kept_heads: int | None = None

    @property
    def is_good(self) -> bool:
        """Whether everything is as it should be."""
        return not self.broken

    def add(self, place: Broken) -> None:
        """List a place."""
        if len(self.broken) < MOST_LISTED:
            self.broken.append(place)
        else:
            self.more += 1

    def add_void(self, place: Broken) -> None:
        """Count a void record, and list it unless that is tolerated."""
        self.void += 1
        if not self.tolerates_void:
            self.add(place)

    def add_foreign(self, place: Broken) -> None:
        """Count a foreign record, and list it unless that is tolerated."""
        self.foreign += 1
        if not self.tolerates_void:
            self.add(place)

    def add_differing(self, place: Broken) -> None:
        """List an event whose headers differ from its block, unless that is tolerated."""
        if not self.tolerates_differing:
            self.add(place)

    def as_json(self) -> dict[str, Any]:
        """Return it as the contract has it; `more` and `kept_heads` only where there are any."""
        document: dict[str, Any] = {
            "events": self.events,
            "aggregates": self.aggregates,
            "void": self.void,
            "foreign": self.foreign,
            "broken": [place._asdict() for place in self.broken],
        }
        if self.more:
            document["more"] = self.more
        if self.kept_heads is not None:
            document["kept_heads"] = self.kept_heads
        return document
