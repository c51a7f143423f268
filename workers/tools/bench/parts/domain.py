"""What deciding, sealing and evolving costs by itself: no Kafka, no store."""

from __future__ import annotations

from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from annals.schemas.chain import seal
from annals.schemas.values.moments import recorded_at
from annals.workers.clock import SystemClock, new_id
from annals.workers.registry import deciders
from annals.workers.tools.bench.figures import Figure, Part
from annals.workers.tools.bench.parts.drain import MICRO
from annals.workers.tools.bench.programs import BenchError
from annals.workers.tools.bench.typical import STORIES

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from annals.agents.deciding.decider import Decider
    from annals.workers.tools.bench.ground import Ground
    from annals.workers.tools.bench.plan import Plan
    from annals.workers.tools.bench.typical import Story

TIMES: Final = 50  # of a round: a clock's own step is then lost in it
MOST_US: Final = 40.0
MOST_VALIDATION_US: Final = 10.0
HEAD: Final = b"\x01\x71\x1e\x20" + bytes(32)

METHOD: Final = f"""\
In this process, without Kafka and stores: {{rounds:,}} rounds of {TIMES} times the same command on the same
state, in each run; each value is the median of its run's rounds. All: data validated, decided, the events' data
made, sealed (DAG-CBOR, BLAKE3) and the state evolved. Validated: the first step alone.
"""


class Case(NamedTuple):
    """A command on a state."""

    decider: Decider[Any]
    state: Any
    name: str
    data: dict[str, Any]
    now: datetime
    recorded_at: str
    command_id: str


async def measure_domain(ground: Ground, plan: Plan) -> Part:
    """Time the typical command of each kind."""
    figures = []
    for kind, story in STORIES.items():
        ground.say(f"domain: {kind}")
        case = case_of(kind, story)
        runs = [
            (_microseconds(answer, case, plan.domain_rounds), _microseconds(validate, case, plan.domain_rounds))
            for _ in range(plan.runs)
        ]
        whole, validated = ([run[which] for run in runs] for which in (0, 1))
        figures += [
            Figure(name=f"{kind}, {case.name}: all", unit="µs", values=whole, most=MOST_US),
            Figure(name=f"{kind}, {case.name}: validated", unit="µs", values=validated, most=MOST_VALIDATION_US),
        ]
    method = METHOD.format(rounds=plan.domain_rounds)
    return Part(name="domain", title="Deciding by itself", method=method, figures=figures)


def case_of(kind: str, story: Story) -> Case:
    """Bring an aggregate to where the story's command is typical.

    Raises:
        BenchError: a command of the story is refused, or causes nothing.
    """
    decider, now = deciders()[kind], SystemClock().now()
    state = decider.initial
    for name, data in story.before:
        for event in _events(Case(decider, state, name, data, now, "", "")):
            state = decider.evolve(state, event)
    case = Case(decider, state, *story.command, now, recorded_at(now), new_id())
    if not _events(case):
        raise BenchError(f"{case.name} causes nothing: it measures nothing")
    return case


def _events(case: Case) -> Any:
    command = case.decider.parse(case.name, case.data)
    if isinstance(command, list):
        raise BenchError(f"{case.name} is malformed: {command}")
    return case.decider.decide(command, case.state, case.now, "this-one")


def validate(case: Case) -> None:
    """Validate the data."""
    case.decider.parse(case.name, case.data)


def answer(case: Case) -> None:
    """Do all that the domain has to do with a command, as a batch does."""
    decider, state = case.decider, case.state
    command: Any = decider.parse(case.name, case.data)
    version, head = 7, HEAD
    for event in decider.decide(command, state, case.now, "this-one"):
        version += 1
        _, head = seal(
            kind=decider.kind,
            aggregate_id="this-one",
            version=version,
            previous=head,
            type=decider.event_name(event),
            schema_version=decider.schema_version(event),
            recorded_at=case.recorded_at,
            command_id=case.command_id,
            correlation_id=case.command_id,
            causation_id=None,
            actor=None,
            data=decider.event_data(event),
        )
        state = decider.evolve(state, event)


def _microseconds(step: Callable[[Case], None], case: Case, rounds: int) -> float:
    taken = []
    for _ in range(rounds):
        began = perf_counter()
        for _ in range(TIMES):
            step(case)
        taken.append((perf_counter() - began) / TIMES)
    return MICRO * median(taken)
