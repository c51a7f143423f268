"""What a topic is, as data: its settings, and what follows when the broker has another value."""

from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """What a topic is for."""

    COMMANDS = "commands"
    EVENTS = "events"
    OUTCOMES = "outcomes"
    SNAPSHOTS = "snapshots"
    RESTORE = "restore"
    DEAD_LETTERS = "dead-letters"
    SCHEMAS = "schemas"
    AUDIT = "audit"
    PROJECTIONS = "projections"
    SUBSCRIBERS = "subscribers"
    ACKS = "acks"
    PARKED = "parked"
    DELIVERIES = "deliveries"
    SUBSCRIPTIONS = "subscriptions"
    PROGRESS = "progress"
    JOBS = "jobs"
    TIMERS = "timers"
    REKEYED = "rekeyed"
    REACTIONS = "reactions"


# A shard is a partition of each: the five of a kind have the same number of partitions.
CO_PARTITIONED = frozenset({Role.COMMANDS, Role.EVENTS, Role.OUTCOMES, Role.SNAPSHOTS, Role.RESTORE})
# What a worker that decides cannot do without. It starts without any other topic.
NEEDED_TO_WRITE = (CO_PARTITIONED - {Role.RESTORE}) | {Role.DEAD_LETTERS}
# What a worker that reads waits for.
NEEDED_TO_READ = frozenset({Role.EVENTS})
# What it reads beside, and names in its readiness where it is missing, or does less without. Topics of one subscription
# or reaction alone are not among these: no worker begins with them.
USED_TO_READ = NEEDED_TO_READ | {
    Role.RESTORE,
    Role.PROJECTIONS,
    Role.JOBS,
    Role.SUBSCRIPTIONS,
    Role.PROGRESS,
    Role.REACTIONS,
    Role.TIMERS,
    Role.REKEYED,
}


class Rule(StrEnum):
    """When a setting found on the broker is accepted, and how bad it is when it is not."""

    MUST_EQUAL = "must equal"
    MUST_BE_AT_LEAST = "must be at least"
    SHOULD_EQUAL = "should equal"
    SHOULD_BE_AT_LEAST = "should be at least"

    def accepts(self, found: str, wanted: str) -> bool:
        """Whether a value found on the broker is as good as the wanted one."""
        if self in {Rule.MUST_EQUAL, Rule.SHOULD_EQUAL}:
            # Only a list of policies has commas; their order says nothing.
            return sorted(found.split(",")) == sorted(wanted.split(","))
        # -1 means without a limit.
        return int(found) == -1 or int(found) >= int(wanted) >= 0

    @property
    def is_refused(self) -> bool:
        """Whether a value that is not accepted would break a promise, so that the worker does not start."""
        return self in {Rule.MUST_EQUAL, Rule.MUST_BE_AT_LEAST}


@dataclass(frozen=True, slots=True)
class TopicSetting:
    """One setting of a topic: its wanted value in the broker's own spelling, and the rule that another one breaks."""

    name: str
    value: str
    rule: Rule
    why: str


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """One topic: `kind` is None for those that all kinds share."""

    name: str
    role: Role
    kind: str | None
    partitions: int
    replication_factor: int
    settings: tuple[TopicSetting, ...]
    value: str
    key: str

    @property
    def config(self) -> dict[str, str]:
        """The settings that the topic is created with."""
        return {setting.name: setting.value for setting in self.settings}
