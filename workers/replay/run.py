"""A replay from its plan to its statistics."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from annals.schemas.journal_reader import GapError
from annals.workers.audit.journals import find_journals
from annals.workers.audit.verify import cores
from annals.workers.clock import SystemClock
from annals.workers.replay.event_types import problems_of_types
from annals.workers.replay.plan import HandlerFailedError, Positions, ReplayError, Step, WrongSelectionError
from annals.workers.replay.position_file import LineFile, PositionFile, asked_for
from annals.workers.replay.positions import filled, problems_of
from annals.workers.replay.processes import replay_in_processes
from annals.workers.replay.share import Part, replay_share

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from annals.workers.audit.journals import Journal
    from annals.workers.replay.plan import Behind, Plan, Selection
    from annals.workers.settings import Settings

    Progress = Callable[["Statistics", int, int], None]  # offsets that were read, of how many

SAVE_S: Final = 0.5
ALONE_OFFSETS: Final = 32_768  # starting processes takes as long as replaying this
COUNTS: Final = ("events", "passed_over", "void", "foreign", "failures")


class Statistics:
    """What one run of a replay did. positions: the next offsets by kind and partition; None where none was read.

    behind: the CIDs of the events before them.
    """

    def __init__(self, positions: Positions, behind: Behind) -> None:
        """Take the positions from which it goes."""
        self.positions = positions
        self.behind = behind
        self.counts = dict.fromkeys(COUNTS, 0)
        self.seconds = 0.0
        self.stopped: str | None = None

    def add(self, step: Step) -> None:
        """Count a step."""
        for name in COUNTS:
            self.counts[name] += getattr(step, name)
        self.positions[step.kind][step.partition] = step.next_offset
        self.behind[step.kind][step.partition] = step.behind

    def as_json(self) -> dict[str, Any]:
        """Return the members that `--json` prints."""
        rate = self.counts["events"] / self.seconds if self.seconds else 0.0
        return {**self.counts, "seconds": round(self.seconds, 3), "rate": round(rate, 1), "positions": self.positions}


def replay(
    settings: Settings,
    plan: Plan,
    *,
    first: Positions | None = None,
    behind: Behind | None = None,
    state: Path | None = None,
    processes: int | None = None,
    progress: Progress | None = None,
    is_cancelled: Callable[[], bool] | None = None,
) -> Statistics:
    """Replay what is committed now. The statistics say in `stopped` what ended it before that: a gap, or a handler.

    first: positions to begin at, where `state` has none yet; behind: the events before them, where they are known. A
    rate holds for one process, so there is only one then.
    is_cancelled: asked again and again; all reading is done by other processes then, as the caller has more to do.

    Raises:
        ReplayError: it cannot be done, or is cancelled; the message says why.
        WrongSelectionError: there is no such type, or a position is not in the journals.
        MissingTopicError: a kind has no journal.
        KafkaError: the brokers do not give or take what they should.
    """
    selection = plan.selection
    journals = asyncio.run(_found(settings, selection, first or {}))
    with ExitStack() as opened:
        run = _Run(settings, plan, journals, first or {}, behind or {}, state, opened, progress)
        parts = run.parts()
        count = _processes(plan, journals, processes)
        clock = SystemClock()
        began = clock.monotonic()
        try:
            if count == 1 and is_cancelled is None:
                asyncio.run(replay_share(settings, plan, parts, run.take))
            else:
                shares = [parts[number::count] for number in range(count)]
                replay_in_processes(settings, plan, shares, run.take, is_cancelled)
        except (GapError, HandlerFailedError) as error:
            run.statistics.stopped = str(error)
        finally:
            run.statistics.seconds = clock.monotonic() - began
            run.save()
        return run.statistics


async def _found(settings: Settings, selection: Selection, first: Positions) -> Sequence[Journal]:
    """Return the journals of a selection, to which it and the first positions have been held."""
    key = None if selection.aggregate_id is None else selection.aggregate_id.encode()
    journals = await find_journals(settings, selection.kinds, key)
    problems = await problems_of_types(settings, selection.kinds, selection.types) + problems_of(first, journals)
    if problems:
        raise WrongSelectionError(problems)
    return journals


def _processes(plan: Plan, journals: Sequence[Journal], wanted: int | None) -> int:
    offsets = sum(journal.end - journal.start for journal in journals)
    if plan.rate is not None or (wanted is None and offsets <= ALONE_OFFSETS):
        return 1
    return max(1, min(cores() if wanted is None else wanted, len(journals)))


class _Run:
    """Keeps the positions, and the file, of one run."""

    def __init__(
        self,
        settings: Settings,
        plan: Plan,
        journals: Sequence[Journal],
        first: Positions,
        behind: Behind,
        state: Path | None,
        opened: ExitStack,
        progress: Progress | None,
    ) -> None:
        asked = asked_for(settings, plan)
        self._kept = None if state is None else opened.enter_context(PositionFile(state, asked))
        before = None if self._kept is None else self._kept.load()
        if before is not None and _lengths(before.positions) != _lengths(filled(journals, {})):
            # Of which there is none, all events would be passed on again.
            raise ReplayError(f"{state} has not one position for each partition: begin anew, with another --state")
        self._journals = journals
        self.statistics = Statistics(
            filled(journals, first if before is None else before.positions),
            filled(journals, behind if before is None else before.behind),
        )
        self._lines: LineFile | None = None
        if plan.target.file is not None:
            length = None if before is None else before.length or 0
            self._lines = opened.enter_context(LineFile(Path(plan.target.file), length))
        self._progress = progress
        self._clock = SystemClock()
        self.save()  # from here on what is in the file is known to be of this replay

    def parts(self) -> list[Part]:
        found = []
        for journal in self._journals:
            place = journal.place
            at = self.statistics.positions[place.kind][place.partition]
            if at is not None and at > journal.end:
                raise ReplayError(
                    f"{place.topic}-{place.partition} ends at {journal.end}, before the position {at}: it is another "
                    f"journal, or lost its end; begin anew with another --state"
                )
            behind = None if at is None else self.statistics.behind[place.kind][place.partition]
            found.append(Part(journal, journal.start if at is None else at, behind))
        return found

    def take(self, step: Step) -> None:
        if self._lines is not None:
            self._lines.append(step.lines)
        self.statistics.add(step)
        if self._clock.monotonic() - self._saved >= SAVE_S:
            self.save()
            if self._progress is not None:
                self._progress(self.statistics, *self._done())

    def save(self) -> None:
        length = None if self._lines is None else self._lines.settled()
        if self._kept is not None:
            self._kept.save(self.statistics.positions, length, self.statistics.behind)
        self._saved = self._clock.monotonic()

    def _done(self) -> tuple[int, int]:
        done = total = 0
        for place, start, end in self._journals:
            at = self.statistics.positions[place.kind][place.partition]
            total += end - start
            done += 0 if at is None else max(0, min(at, end) - start)
        return done, total


def _lengths(positions: Positions) -> dict[str, int]:
    return {kind: len(offsets) for kind, offsets in positions.items()}
