"""What a replay is asked for: which events, to which target, and how."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

Positions = dict[str, list[int | None]]
"""The next offset by kind and partition; None where nothing is known, which is the beginning."""
Behind = dict[str, list[str | None]]
"""The CID of the last event that counts before each position, in text; None where it is not known."""


class Selection(NamedTuple):
    """Which events; None and an empty tuple: any.

    since, until: `recorded_at` as blocks have it, from the one to below the other.
    """

    kinds: tuple[str, ...]
    types: tuple[str, ...] = ()
    aggregate_id: str | None = None
    since: str | None = None
    until: str | None = None

    def wants(self, event: Mapping[str, Any]) -> bool:
        """Return whether an event of these kinds is asked for."""
        return (
            (not self.types or event["type"] in self.types)
            and (self.aggregate_id is None or event["aggregate_id"] == self.aggregate_id)
            and (self.since is None or event["recorded_at"] >= self.since)
            and (self.until is None or event["recorded_at"] < self.until)
        )


class Target(NamedTuple):
    """Where the events go: one of the three, or none at all in a dry run. topic: the name behind `replays.`."""

    handler: str | None = None
    topic: str | None = None
    file: str | None = None


class Plan(NamedTuple):
    """A replay. retries: of each event that a handler fails on; rate: events per second, None for any."""

    selection: Selection
    target: Target
    retries: int = 0
    rate: float | None = None


class Step(NamedTuple):
    """How far a partition has come, and what it met since its last step.

    lines: what is to be appended to a file; behind: the CID of the last event that counts before the next offset.
    """

    kind: str
    partition: int
    next_offset: int
    events: int = 0
    passed_over: int = 0
    void: int = 0
    foreign: int = 0
    failures: int = 0
    lines: bytes = b""
    behind: str | None = None


class HandlerFailedError(Exception):
    """A handler failed for good; the message names the event. failures: how often it failed on it."""

    def __init__(self, message: str, failures: int) -> None:
        super().__init__(message, failures)  # both: so it can be sent from process to process
        self.failures = failures

    def __str__(self) -> str:
        return str(self.args[0])


class ReplayError(Exception):
    """The replay cannot be done, or go on; the message says why and what to do."""


class WrongSelectionError(ReplayError):
    """What is asked for is not there; problems: a member of the request (`positions.person`, `types[0]`) and why."""

    def __init__(self, problems: list[tuple[str, str]]) -> None:
        super().__init__("; ".join(": ".join(problem) for problem in problems))
        self.problems = problems
