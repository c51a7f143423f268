"""What a seed's history is: the commands that are sent, the faults that happen, and the weather on the network."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

import orjson

from annals.agents.reading.ports import RUN_EVENTS
from annals.agents.writing.restore.making import NEVER, RestorePolicy

if TYPE_CHECKING:
    from collections.abc import Sequence

KINDS: Final = ("counter", "gauge")
PARTITIONS: Final = 2
HOSTS: Final = 3
AGGREGATES: Final = 8
FAULTS: Final = (
    "crash",
    "crash_without_disk",
    "crash_with_old_disk",
    "crash_with_foreign_disk",
    "disk_full",
    "freeze",
    "zombie",
    "cut",
    "rebalance",
    "stray_marker",
    "stray_record",
    "stranger",
    "offset_reset",
    "offset_back",
    "offset_ahead",
    "journal_cut",
    "journal_cut_at_work",
    "outcomes_cut",
    "clock_step",
    "expiry",
)
RESTORE_FAULTS: Final = ("crash_without_disks", "forged_part", "forged_snapshot", "parts_gone", "snapshots_gone")
STANDBY_FAULTS: Final = ("take_over", "standby_cut", "disk_damaged", "only_the_standby_knows")
BROKER_FAULTS: Final = ("outcomes_cut_within", "batch_rots", "cut_behind_a_standby")
OPENING_FAULTS: Final = ("freeze_while_opening",)
READING_FAULTS: Final = (
    "readers_end",
    "readers_cut",
    "readers_move",
    "rows_damaged",
    "rows_refused",
    "rows_foreign",
    "journal_anew",
    "cut_behind_readers",
)
PUBLISHING_FAULTS: Final = (
    "progress_cut",
    "subscribers_cut",
    "subscription_put",
    "subscription_paused",
    "journal_lost_at_opening",
)
CHANGING_FAULTS: Final = ("subscription_changed", "subscription_deleted")
REACTING_FAULTS: Final = ("timers_cut", "reaction_paused", "new_release")
FEW_EVENTS: Final = 4
"""Of a run, so that who is behind has to catch up: no journal of a history has as many as a run of a worker."""
LONGEST_S: Final = 25.0
CLOCK_S: Final = 7_200.0
"""A clock steps by half of it at most."""
START: Final = datetime(2026, 1, 1, tzinfo=UTC)
"""When a history begins, by clocks that are right."""


class Sent(NamedTuple):
    """A record that a client sends: when, and to which partition of which kind's commands."""

    at: float
    kind: str
    partition: int
    key: bytes
    value: bytes


class Fault(NamedTuple):
    """A fault: when, which, and two numbers that choose where and how long."""

    at: float
    what: str
    where: int
    size: float


class Weather(NamedTuple):
    """How often a request is lost, an answer is lost, a request is late, a batch is refused, EndTxn comes twice."""

    lost_requests: float = 0.0
    lost_answers: float = 0.0
    late: float = 0.0
    refused: float = 0.0
    doubled_ends: float = 0.0


class Plan(NamedTuple):
    """A history before it happens.

    has_standbys: whether each partition has one, as far as there are workers; has_readers: whether journals are read;
    has_publishers: whether what is read is published; has_answers: whether a subscriber acknowledges what it gets;
    has_parking: whether that one also parks, and administrators decide about it.
    most_events: how many events who publishes asks a journal for at once.
    reacts_from: when somebody resumes the reaction for the first time; None: there is none.
    """

    seed: int
    transaction_version: int
    snapshot_every: int
    commands: tuple[Sent, ...]
    faults: tuple[Fault, ...]
    weather: Weather
    restore: RestorePolicy = NEVER
    has_standbys: bool = False
    has_readers: bool = False
    has_publishers: bool = False
    has_answers: bool = False
    has_parking: bool = False
    most_events: int = RUN_EVENTS
    reacts_from: float | None = None

    @property
    def has_reactions(self) -> bool:
        """Whether somebody resumes the reaction."""
        return self.reacts_from is not None


def plan_of(seed: int) -> Plan:
    """Return the plan of a seed."""
    rng = random.Random(seed)  # noqa: S311 - a history, not a secret
    length = rng.randrange(40, 240)
    pace = rng.choice((5.0, 20.0, 60.0))
    sent: list[Sent] = []
    at = 0.0
    for number in range(length):
        at += rng.expovariate(pace)
        again = rng.choice(sent) if sent and rng.random() < 0.08 else None  # of the commands
        sent.append(again._replace(at=at) if again else _command(rng, number, at))
    kinds = [what for what in FAULTS if rng.random() < 0.5]  # a random subset
    count = rng.randrange(0, 16) if kinds else 0
    end = at + 5.0
    faults = sorted(
        Fault(rng.uniform(0.0, end), rng.choice(kinds), rng.randrange(1 << 16), rng.random()) for _ in range(count)
    )
    weather = Weather(
        lost_requests=rng.choice((0.0, 0.0, 0.01, 0.05)),
        lost_answers=rng.choice((0.0, 0.0, 0.01, 0.05)),
        late=rng.choice((0.0, 0.02)),
        refused=rng.choice((0.0, 0.0, 0.02)),
        doubled_ends=rng.choice((0.0, 0.0, 0.05)),
    )
    version, every = rng.choice((1, 2, 2)), rng.choice((0, 3, 7))
    plan = Plan(seed, version, every, tuple(sent), tuple(faults), weather)
    plan = _with_restore_points(plan, random.Random(f"{seed} restore"), end)  # noqa: S311
    plan = _with_standbys(plan, random.Random(f"{seed} standbys"), end)  # noqa: S311
    plan = _with_broker_faults(plan, random.Random(f"{seed} brokers"), end)  # noqa: S311
    plan = _with_opening_faults(plan, random.Random(f"{seed} openings"), end)  # noqa: S311
    plan = _with_readers(plan, random.Random(f"{seed} readers"), end)  # noqa: S311
    plan = _with_publishers(plan, random.Random(f"{seed} publishers"), end)  # noqa: S311
    most_events = random.Random(f"{seed} runs").choice((RUN_EVENTS, FEW_EVENTS))  # noqa: S311
    has_answers = plan.has_publishers and random.Random(f"{seed} answers").random() >= 0.5  # noqa: S311
    has_parking = has_answers and random.Random(f"{seed} parking").random() >= 0.5  # noqa: S311
    plan = plan._replace(has_answers=has_answers, has_parking=has_parking, most_events=most_events)
    plan = _with_changes(plan, random.Random(f"{seed} changes"), end)  # noqa: S311
    return _with_reactions(plan, random.Random(f"{seed} reactions"), end)  # noqa: S311


def _with_restore_points(plan: Plan, rng: random.Random, end: float) -> Plan:
    """Return the plan with restore points, and with what can become of those; every other one without."""
    if rng.random() < 0.5:
        return plan
    policy = RestorePolicy(rng.choice((5, 20, 60)), rng.choice((2.0, 600.0)), rng.choice((1, 3, 1_000)), 4, 0.5)
    return _with_faults(plan._replace(restore=policy), RESTORE_FAULTS, rng, end)


def _with_standbys(plan: Plan, rng: random.Random, end: float) -> Plan:
    """Return the plan with standbys, and with what can become of those; three of five without."""
    if rng.random() < 0.6:
        return plan
    return _with_faults(plan._replace(has_standbys=True), STANDBY_FAULTS, rng, end)


def _with_broker_faults(plan: Plan, rng: random.Random, end: float) -> Plan:
    """Return the plan with what can become of single batches; three of four without."""
    return plan if rng.random() < 0.75 else _with_faults(plan, BROKER_FAULTS, rng, end)


def _with_opening_faults(plan: Plan, rng: random.Random, end: float) -> Plan:
    """Return the plan with what can become of openings; half of those without standbys, and all with, without."""
    return plan if plan.has_standbys or rng.random() < 0.5 else _with_faults(plan, OPENING_FAULTS, rng, end)


def _with_readers(plan: Plan, rng: random.Random, end: float) -> Plan:
    """Return the plan with readers of the journals, and with what can become of those; three of four without."""
    return plan if rng.random() < 0.75 else _with_faults(plan._replace(has_readers=True), READING_FAULTS, rng, end)


def _with_publishers(plan: Plan, rng: random.Random, end: float) -> Plan:
    """Return the plan with publishers, and with what can become of those; half of those with readers without."""
    if not plan.has_readers or rng.random() < 0.5:
        return plan
    return _with_faults(plan._replace(has_publishers=True), PUBLISHING_FAULTS, rng, end)


def _with_changes(plan: Plan, rng: random.Random, end: float) -> Plan:
    """Return the plan with subscriptions that are changed or deleted; half of those with publishers without."""
    return plan if not plan.has_publishers or rng.random() < 0.5 else _with_faults(plan, CHANGING_FAULTS, rng, end)


def _with_reactions(plan: Plan, rng: random.Random, end: float) -> Plan:
    """Return the plan with a reaction, and with what can become of it; half of those that are read alone without."""
    if not plan.has_readers or plan.has_publishers or rng.random() < 0.5:
        return plan
    plan = plan._replace(reacts_from=rng.choice((0.0, 0.0, rng.uniform(0.0, end))))
    return _with_faults(plan, (*REACTING_FAULTS, "progress_cut"), rng, end)


def _with_faults(plan: Plan, kinds: Sequence[str], rng: random.Random, end: float) -> Plan:
    more = [
        Fault(rng.uniform(0.0, end), rng.choice(kinds), rng.randrange(1 << 16), rng.random())
        for _ in range(rng.randrange(0, 5))
    ]
    return plan._replace(faults=tuple(sorted([*plan.faults, *more])))


def _command(rng: random.Random, number: int, at: float) -> Sent:
    """Return a command: mostly one that can be accepted; now and then misplaced, in conflict, or no command at all."""
    kind, partition = rng.choice(KINDS), rng.randrange(PARTITIONS)
    aggregate = f"a{rng.randrange(AGGREGATES)}"
    key = aggregate.encode()
    if rng.random() < 0.02:
        return Sent(at, kind, partition, key, b"no command %d" % number)
    what = rng.choices(("OpenCounter", "RenameCounter", "Count", "CloseCounter"), (4, 4, 6, 0.2))[0]
    data: dict[str, object] = (
        {"name": f"n{rng.randrange(9)}"} if what.endswith(("OpenCounter", "RenameCounter")) else {}
    )
    if what == "Count":
        data = {"parts": rng.randrange(1, 6)}
    command: dict[str, object] = {"id": f"c{number}", "type": what, "aggregate_id": aggregate, "data": data}
    if rng.random() < 0.1:
        command["expected_version"] = rng.choice(("exists", "any", 0, 1, 2))
    home = home_of(key)
    place = partition if rng.random() < 0.05 else home
    return Sent(at, kind, place, key, orjson.dumps(command))


def home_of(key: bytes) -> int:
    """Return the partition that a key belongs to: the producers' own murmur2 (org.apache.kafka.common.utils.Utils)."""
    mask, multiplier = 0xFFFFFFFF, 0x5BD1E995
    value = 0x9747B28C ^ len(key)
    whole = len(key) & ~3
    for at in range(0, whole, 4):
        word = int.from_bytes(key[at : at + 4], "little") * multiplier & mask
        value = (value * multiplier & mask) ^ ((word ^ word >> 24) * multiplier & mask)
    if len(key) > whole:
        value = (value ^ int.from_bytes(key[whole:], "little")) * multiplier & mask
    value = (value ^ value >> 13) * multiplier & mask
    return (value ^ value >> 15 & mask) % 2**31 % PARTITIONS
