"""Replays that are asked for over HTTP: what may be asked, and what is told of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

from annals.schemas.subscription import MOST_KINDS, MOST_PARTITIONS, MOST_TYPES
from annals.schemas.suggestion import meant
from annals.schemas.values.ids import id_problem
from annals.schemas.values.moments import bound_of
from annals.schemas.values.numbers import From0

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from annals.schemas.job_record import JobRecord

REPLAY: Final = "replay"
"""The kind of these jobs."""

_Offsets = Annotated[list[From0 | None], Meta(max_length=MOST_PARTITIONS)]
Positions = Annotated[dict[str, _Offsets], Meta(max_length=MOST_KINDS)]


class TargetNotPermittedError(Exception):
    """A replay over HTTP may not go there; the message says where one may."""


class TopicNotPermittedError(Exception):
    """The worker may not create the topic of a replay; the message names it."""


class WrongSelectionError(Exception):
    """Positions or types that the journals do not have; problems: a member's path and a message for each."""

    def __init__(self, problems: list[tuple[str, str]]) -> None:
        """Take what is wrong."""
        super().__init__("; ".join(" ".join(problem) for problem in problems))
        self.problems = problems


class ReplayedAggregate(Struct, frozen=True, forbid_unknown_fields=True):
    """The one aggregate whose events are replayed."""

    kind: str
    id: str


class ReplayRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which events go where: all, or those that all given members ask for.

    target: `{"handler": name}` of the entry points `annals.replay_handlers`, `{"topic": "replays.<name>"}` or
    `{"file": name}` in ANNALS_REPLAY_DIR; not needed for a dry run, which verifies and counts. since, until: RFC 3339,
    from the one to below the other. positions: offsets to begin at by kind, one for each partition (null: its
    beginning). retries: of each event that a handler fails on. rate: events per second at most.
    """

    target: dict[str, Any] | None = None
    kinds: Annotated[list[str], Meta(max_length=MOST_KINDS)] = []
    types: Annotated[list[str], Meta(max_length=MOST_TYPES)] = []
    aggregate: ReplayedAggregate | None = None
    since: str | None = None
    until: str | None = None
    positions: Positions = {}
    retries: Annotated[int, Meta(ge=0, le=1_000)] = 5
    rate: Annotated[float, Meta(gt=0, le=1e9)] | None = None
    dry_run: bool = False


class ReplayProgress(Struct, frozen=True, kw_only=True):
    """How far a replay is. done, total: offsets of the journals; positions: the next offsets.

    behind: the CID of the last event that counts before each position, in text; None where it is not known.
    """

    events: int = 0
    failures: int = 0
    passed_over: int = 0
    void: int = 0
    foreign: int = 0
    done: int = 0
    total: int = 0
    rate: float = 0.0
    positions: dict[str, list[int | None]] = {}
    behind: dict[str, list[str | None]] = {}


class ReplayStatus(Struct, frozen=True, kw_only=True):
    """A replay as it stands.

    events: that were replayed; total: offsets to be read, at least as many as events, and as many as there were when it
    has ended; rate: events per second; failures: of a handler, retries included.
    """

    id: str
    status: str
    events: int
    total: int
    rate: float
    failures: int
    passed_over: int
    void: int
    foreign: int
    positions: dict[str, list[int | None]]
    target: dict[str, Any] | None
    dry_run: bool
    started_at: str
    ended_at: str | None
    error: str | None


def problems(request: ReplayRequest, kinds: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yield a member's path and a message for each fault of a request. kinds: those that there are."""
    known = f"there are the kinds {', '.join(kinds)}."
    asked = [(f"kinds[{number}]", kind) for number, kind in enumerate(request.kinds)]
    asked += [(f"positions.{kind}"[:200], kind) for kind in request.positions]
    if request.aggregate is not None:
        asked.append(("aggregate.kind", request.aggregate.kind))
    yield from ((path, known + meant(kind, kinds)) for path, kind in asked if kind not in kinds)
    if request.aggregate is not None:
        problem = id_problem(request.aggregate.id)
        if problem is not None:
            yield "aggregate.id", problem
        if request.kinds:
            yield "kinds", "aggregate names the kind: leave kinds out"
    for name in ("since", "until"):
        text = getattr(request, name)
        try:
            _ = text is None or bound_of(text)
        except ValueError as error:
            yield name, str(error)
    if request.target is None and not request.dry_run:
        yield "target", "is required, but for a dry_run"


def status_of(record: JobRecord) -> ReplayStatus:
    """Return a job's record as a replay."""
    told = progress_of(record.progress)
    target = record.request.get("target")
    return ReplayStatus(
        id=record.id,
        status=record.status,
        events=told.events,
        total=told.total,
        rate=told.rate,
        failures=told.failures,
        passed_over=told.passed_over,
        void=told.void,
        foreign=told.foreign,
        positions=told.positions,
        target=target if isinstance(target, dict) else None,
        dry_run=record.request.get("dry_run") is True,
        started_at=record.started_at,
        ended_at=record.ended_at,
        error=record.error,
    )


def progress_of(told: dict[str, Any]) -> ReplayProgress:
    """Return what a record says of how far it is; what cannot be read says nothing."""
    try:
        return msgspec.convert(told, ReplayProgress)
    except msgspec.ValidationError:
        return ReplayProgress()
