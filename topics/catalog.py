"""The catalogue: every topic with its settings, from which provisioning, checks and the reference are made."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from annals.schemas.kinds import KINDS
from annals.topics.names import TopicNames
from annals.topics.spec import Role, Rule, TopicSetting, TopicSpec

DAY_MS: Final = 86_400_000
UNLIMITED: Final = "-1"
NO_DIFFERENCE_TOO_LARGE: Final = "9223372036854775807"  # the largest 64-bit integer, in milliseconds

COMMAND_TOPIC_BYTES: Final = 8_388_608
EVENT_TOPIC_BYTES: Final = 4_194_304
OUTCOME_TOPIC_BYTES: Final = 4_194_304
SNAPSHOT_TOPIC_BYTES: Final = 4_194_304
RESTORE_TOPIC_BYTES: Final = 4_194_304
RESTORE_SEGMENT_BYTES: Final = 16 << 20
# The largest command, and the headers that say why it could not be read.
DEAD_LETTER_TOPIC_BYTES: Final = 9_437_184
SUBSCRIBER_TOPIC_BYTES: Final = 9_437_184  # the JSON of the largest event, but for one of control characters alone
PROGRESS_TOPIC_BYTES: Final = 1_048_576
SUBSCRIPTION_TOPIC_BYTES: Final = 1_048_576
DELIVERY_TOPIC_BYTES: Final = 1_048_576
JOB_TOPIC_BYTES: Final = 1_048_576
TIMER_TOPIC_BYTES: Final = 1_048_576
REKEYED_TOPIC_BYTES: Final = 9_437_184  # the largest event, and a member of it once more as the key
SCHEMA_TOPIC_BYTES: Final = 1_048_576  # many times the largest

# From two replicas on there are elections, and one that is unclean loses what only the old leader had.
REPLICATED: Final = 2
# From three replicas on, one can be lost without a pause and without an event.
DURABLE_REPLICATION_FACTOR: Final = 3
DURABLE_IN_SYNC_REPLICAS: Final = 2


def _limit(number: int, why: str) -> TopicSetting:
    return TopicSetting("max.message.bytes", str(number), Rule.MUST_BE_AT_LEAST, why)


def _kept(days: int, why: str = "") -> TopicSetting:
    return TopicSetting("retention.ms", str(days * DAY_MS), Rule.SHOULD_BE_AT_LEAST, why or f"kept {days} days")


def _policy(policy: str, rule: Rule, why: str) -> TopicSetting:
    return TopicSetting("cleanup.policy", policy, rule, why)


def _soon_compacted(segment_mib: int) -> tuple[TopicSetting, ...]:
    """Return the settings of a topic that is read from its beginning: the newest segment is never compacted."""
    return (
        TopicSetting(
            "segment.bytes", str(segment_mib << 20), Rule.SHOULD_EQUAL, "whoever takes over reads what is not compacted"
        ),
        TopicSetting("min.cleanable.dirty.ratio", "0.1", Rule.SHOULD_EQUAL, "so that little is not compacted"),
    )


STAMPED_BY_THE_BROKER: Final = TopicSetting(
    "message.timestamp.type",
    "LogAppendTime",
    Rule.SHOULD_EQUAL,
    "a producer's wrong clock would decide when it expires",
)
NO_BYTE_LIMIT: Final = TopicSetting(
    "retention.bytes", UNLIMITED, Rule.SHOULD_EQUAL, "a full topic would drop what is unread"
)


SETTINGS: Final[dict[Role, tuple[TopicSetting, ...]]] = {
    Role.COMMANDS: (
        _policy("delete", Rule.MUST_EQUAL, "compaction drops commands that nobody has answered"),
        _kept(7),
        NO_BYTE_LIMIT,
        STAMPED_BY_THE_BROKER,
        TopicSetting(
            "max.message.bytes",
            str(COMMAND_TOPIC_BYTES),
            Rule.SHOULD_EQUAL,
            "what is larger is refused before it is stored",
        ),
        TopicSetting(
            "compression.type", "uncompressed", Rule.SHOULD_EQUAL, "so that the broker refuses what unpacks to more"
        ),
    ),
    Role.EVENTS: (
        _policy("delete", Rule.MUST_EQUAL, "compaction drops events: the journal is the only truth"),
        TopicSetting(
            "retention.ms", UNLIMITED, Rule.MUST_EQUAL, "events would be deleted: the journal is the only truth"
        ),
        TopicSetting(
            "retention.bytes", UNLIMITED, Rule.MUST_EQUAL, "events would be deleted: the journal is the only truth"
        ),
        TopicSetting(
            "message.timestamp.type", "CreateTime", Rule.MUST_EQUAL, "an event's time is when it was recorded"
        ),
        TopicSetting(
            "message.timestamp.before.max.ms",
            NO_DIFFERENCE_TOO_LARGE,
            Rule.MUST_EQUAL,
            "the broker would refuse an event recorded by a clock that is behind",
        ),
        TopicSetting(
            "message.timestamp.after.max.ms",
            NO_DIFFERENCE_TOO_LARGE,
            Rule.MUST_EQUAL,
            "the broker would refuse an event recorded by a clock that is ahead",
        ),
        _limit(EVENT_TOPIC_BYTES, "the broker would refuse events that the worker promises to take"),
    ),
    Role.OUTCOMES: (
        _policy("delete", Rule.MUST_EQUAL, "compaction drops answers that nobody has read"),
        _kept(7),
        NO_BYTE_LIMIT,
        STAMPED_BY_THE_BROKER,
        _limit(OUTCOME_TOPIC_BYTES, "the broker would refuse the answer, and with it what it answers"),
    ),
    Role.SNAPSHOTS: (
        _policy("compact", Rule.SHOULD_EQUAL, "only the newest snapshot is of use"),
        NO_BYTE_LIMIT,
        _limit(SNAPSHOT_TOPIC_BYTES, "the broker would refuse the snapshot, and with it the events in its transaction"),
    ),
    Role.RESTORE: (
        _policy("compact", Rule.SHOULD_EQUAL, "only the newest parts of a restore point are of use"),
        NO_BYTE_LIMIT,
        _limit(RESTORE_TOPIC_BYTES, "the broker would refuse a part, and with it the events in its transaction"),
        TopicSetting(
            "segment.bytes",
            str(RESTORE_SEGMENT_BYTES),
            Rule.SHOULD_EQUAL,
            "the newest segment is not compacted, and a shard reads all there is before it decides",
        ),
    ),
    Role.DEAD_LETTERS: (
        _policy("delete", Rule.MUST_EQUAL, "compaction drops dead letters, and refuses those without a key"),
        _kept(30),
        NO_BYTE_LIMIT,
        STAMPED_BY_THE_BROKER,
        _limit(DEAD_LETTER_TOPIC_BYTES, "the broker would refuse the dead letter of a large command"),
    ),
    Role.SCHEMAS: (
        _policy("compact", Rule.MUST_EQUAL, "schemas of events that are years old would be gone"),
        NO_BYTE_LIMIT,
        _limit(SCHEMA_TOPIC_BYTES, "the broker would refuse a schema"),
    ),
    Role.AUDIT: (
        _policy("delete", Rule.SHOULD_EQUAL, "compaction drops what was recorded before a call was done"),
        TopicSetting("retention.ms", UNLIMITED, Rule.SHOULD_EQUAL, "what administrators did would be forgotten"),
        NO_BYTE_LIMIT,
        STAMPED_BY_THE_BROKER,
    ),
    Role.PROJECTIONS: (
        _policy("compact", Rule.MUST_EQUAL, "it would be forgotten which version of a projection answers"),
        NO_BYTE_LIMIT,
        _limit(SCHEMA_TOPIC_BYTES, "the broker would refuse a record"),
    ),
    Role.SUBSCRIBERS: (
        _policy("delete", Rule.MUST_EQUAL, "compaction drops events that nobody has read"),
        _kept(7, "kept 7 days; made with -1 where the subscription's retention is unlimited"),
        NO_BYTE_LIMIT,
        STAMPED_BY_THE_BROKER,
        _limit(SUBSCRIBER_TOPIC_BYTES, "the broker would refuse a large event, and its subscription would stop"),
    ),
    Role.ACKS: (
        _policy("delete", Rule.MUST_EQUAL, "compaction drops acknowledgements that nobody has read"),
        _kept(7),
        NO_BYTE_LIMIT,
        STAMPED_BY_THE_BROKER,
        _limit(SUBSCRIBER_TOPIC_BYTES, "an acknowledgement would be refused"),
    ),
    Role.PARKED: (
        _policy("delete", Rule.MUST_EQUAL, "compaction drops events that wait for a decision"),
        _kept(30),
        NO_BYTE_LIMIT,
        STAMPED_BY_THE_BROKER,
        _limit(SUBSCRIBER_TOPIC_BYTES, "the broker would refuse a large event"),
    ),
    Role.DELIVERIES: (
        _policy("compact", Rule.MUST_EQUAL, "what is not settled would be forgotten"),
        TopicSetting(
            "delete.retention.ms",
            str(7 * DAY_MS),
            Rule.SHOULD_BE_AT_LEAST,
            "what is settled could come back to a worker that was away",
        ),
        *_soon_compacted(16),
        NO_BYTE_LIMIT,
        STAMPED_BY_THE_BROKER,
        _limit(DELIVERY_TOPIC_BYTES, "the broker would refuse what is known of a delivery"),
    ),
    Role.SUBSCRIPTIONS: (
        _policy("compact", Rule.MUST_EQUAL, "subscriptions would be gone"),
        NO_BYTE_LIMIT,
        _limit(SUBSCRIPTION_TOPIC_BYTES, "the broker would refuse a subscription"),
    ),
    Role.PROGRESS: (
        _policy("compact", Rule.MUST_EQUAL, "it would not be known what was published"),
        NO_BYTE_LIMIT,
        *_soon_compacted(4),
        _limit(PROGRESS_TOPIC_BYTES, "the broker would refuse progress, and with it what was published"),
    ),
    Role.JOBS: (
        _policy("compact", Rule.MUST_EQUAL, "jobs that run would be forgotten"),
        NO_BYTE_LIMIT,
        TopicSetting(
            "segment.bytes", str(4 << 20), Rule.SHOULD_EQUAL, "whoever changes a job reads what is not compacted"
        ),
        _limit(JOB_TOPIC_BYTES, "the broker would refuse a job"),
    ),
    Role.TIMERS: (
        _policy("compact", Rule.MUST_EQUAL, "timers and states would be forgotten"),
        TopicSetting(
            "delete.retention.ms",
            str(7 * DAY_MS),
            Rule.SHOULD_BE_AT_LEAST,
            "a timer that has fired could come back to whoever reads it slowly",
        ),
        *_soon_compacted(16),
        NO_BYTE_LIMIT,
        STAMPED_BY_THE_BROKER,
        _limit(TIMER_TOPIC_BYTES, "the broker would refuse a state, and its reaction would stop"),
    ),
    Role.REKEYED: (
        _policy("delete", Rule.MUST_EQUAL, "compaction drops events that a new version folds"),
        TopicSetting("retention.ms", UNLIMITED, Rule.MUST_EQUAL, "events would be gone that a new version folds"),
        TopicSetting(
            "retention.bytes",
            UNLIMITED,
            Rule.MUST_EQUAL,
            "events would be gone that a new version folds",
        ),
        STAMPED_BY_THE_BROKER,
        _limit(REKEYED_TOPIC_BYTES, "the broker would refuse a large event, and nothing more would be copied"),
    ),
    Role.REACTIONS: (
        _policy("compact", Rule.MUST_EQUAL, "it would be forgotten which reactions run"),
        NO_BYTE_LIMIT,
        _limit(SUBSCRIPTION_TOPIC_BYTES, "the broker would refuse a record"),
    ),
}

KEPT_FOR_GOOD: Final = TopicSetting(
    "retention.ms", UNLIMITED, Rule.MUST_EQUAL, "events would be deleted that the subscription keeps for good"
)

VALUES: Final[dict[Role, str]] = {
    Role.COMMANDS: "JSON command",
    Role.EVENTS: "one DAG-CBOR block per event: the journal, the source of truth",
    Role.OUTCOMES: "JSON: what became of each command",
    Role.SNAPSHOTS: "DAG-CBOR snapshot, the newest per aggregate",
    Role.RESTORE: "DAG-CBOR parts of a shard's restore point, and the list that names them",
    Role.DEAD_LETTERS: "the offending bytes, untouched; why, in headers",
    Role.SCHEMAS: "JSON Schema of one version of a command or event, or of what is around their data",
    Role.AUDIT: "JSON: an administrative call of the API: who, what, when, and what came of it",
    Role.PROJECTIONS: "JSON: which version of a projection answers, its positions, and what was asked of its rows",
    Role.SUBSCRIBERS: "CloudEvents 1.0, binary mode, JSON data",
    Role.ACKS: "JSON: what a subscriber answers to a delivery",
    Role.PARKED: "as it was delivered last; why it is here, in headers",
    Role.DELIVERIES: "JSON: an event that is not settled with a subscriber; none: it is",
    Role.SUBSCRIPTIONS: "JSON: a subscription, and from which positions it holds",
    Role.JOBS: "JSON: long work that somebody asked for, which worker runs it, and how far it is",
    Role.PROGRESS: "JSON: up to where a journal partition was published, or reacted to",
    Role.TIMERS: "JSON: what a reaction keeps: the states of its processes, and the timers that have not fired",
    Role.REKEYED: "an event's DAG-CBOR block, copied from the journal for a reaction or projection that is re-keyed",
    Role.REACTIONS: "JSON: whether a reaction runs",
}

# Dead letters are few and are read in one order; one partition is enough.
DEAD_LETTER_PARTITIONS: Final = 1
SCHEMA_PARTITIONS: Final = 1
AUDIT_PARTITIONS: Final = 1
PROJECTION_PARTITIONS: Final = 1
SUBSCRIPTION_PARTITIONS: Final = 1
JOB_PARTITIONS: Final = 1
REACTION_PARTITIONS: Final = 1

KEYS: Final[dict[Role, str]] = {
    Role.RESTORE: "list, ids/<offset>, heads/<n> or voids",
    Role.DEAD_LETTERS: "as it was, or null",
    Role.PROJECTIONS: "the projection's name",
    Role.SCHEMAS: "type and version, as ce_type: annals.person.PersonRegistered.v1",
    Role.AUDIT: "the request's id; dead-letters: which of these were settled",
    Role.SUBSCRIPTIONS: "the name",
    Role.JOBS: "the job's id",
    Role.PROGRESS: (
        "live, a subscription's name, reaction:<name> or rekey:<name>, the topic that is read, the partition: "
        "live/events.person/0"
    ),
    Role.TIMERS: "JSON: state or timer, aggregate id, process key, the timer's name",
    Role.REKEYED: "the correlation id, or the member of the data that the reaction or projection names",
    Role.REACTIONS: "the reaction's name",
    Role.SUBSCRIBERS: "the aggregate id in UTF-8, or the member that the subscription names",
    Role.DELIVERIES: "kind and aggregate id, or a CID",
}


def durability(replication_factor: int) -> tuple[TopicSetting, ...]:
    """Return the settings that decide whether a lost broker loses records."""
    durable = replication_factor >= DURABLE_REPLICATION_FACTOR
    return (
        TopicSetting(
            "unclean.leader.election.enable",
            "false",
            Rule.MUST_EQUAL if replication_factor >= REPLICATED else Rule.SHOULD_EQUAL,
            "a replica that lacks committed records could become the leader",
        ),
        TopicSetting(
            "min.insync.replicas",
            str(DURABLE_IN_SYNC_REPLICAS if durable else 1),
            Rule.MUST_BE_AT_LEAST,
            "a record would be acknowledged that only one disk has",
        ),
    )


def catalogue(
    prefix: str = "",
    partitions: int = 4,
    replication_factor: int = 1,
    kinds: Sequence[str] = KINDS,
    subscribers: Iterable[str] = (),
    *,
    with_deliveries: bool = False,
    with_all_kept: bool = False,
    reactions: Mapping[str, str] | None = None,
    rekeyed: Mapping[str, str] | None = None,
) -> tuple[TopicSpec, ...]:
    """Return every topic: the five of each kind, those that all share, those of each subscriber and each reaction.

    with_deliveries: of subscribers that acknowledge, too. with_all_kept: of subscribers whose topics keep all events.
    reactions: the kind of each by name. rekeyed: the kind of
    each re-keyed stream by name.
    """
    names = TopicNames(prefix)

    def spec(name: str, role: Role, kind: str | None, number: int = partitions) -> TopicSpec:
        settings = SETTINGS[role] + durability(replication_factor)
        if with_all_kept and role is Role.SUBSCRIBERS:
            settings = tuple(KEPT_FOR_GOOD if each.name == KEPT_FOR_GOOD.name else each for each in settings)
        key = KEYS.get(role, "the aggregate id in UTF-8")
        return TopicSpec(name, role, kind, number, replication_factor, settings, VALUES[role], key)

    specs = []
    for kind in kinds:
        specs.append(spec(names.commands(kind), Role.COMMANDS, kind))
        specs.append(spec(names.events(kind), Role.EVENTS, kind))
        specs.append(spec(names.outcomes(kind), Role.OUTCOMES, kind))
        specs.append(spec(names.snapshots(kind), Role.SNAPSHOTS, kind))
        specs.append(spec(names.restore(kind), Role.RESTORE, kind))
    specs.append(spec(names.dead_letters, Role.DEAD_LETTERS, None, DEAD_LETTER_PARTITIONS))
    specs.append(spec(names.schemas, Role.SCHEMAS, None, SCHEMA_PARTITIONS))
    specs.append(spec(names.audit, Role.AUDIT, None, AUDIT_PARTITIONS))
    specs.append(spec(names.projections, Role.PROJECTIONS, None, PROJECTION_PARTITIONS))
    specs.append(spec(names.subscriptions, Role.SUBSCRIPTIONS, None, SUBSCRIPTION_PARTITIONS))
    specs.append(spec(names.progress, Role.PROGRESS, None))
    specs.append(spec(names.jobs, Role.JOBS, None, JOB_PARTITIONS))
    specs.append(spec(names.reactions, Role.REACTIONS, None, REACTION_PARTITIONS))
    for name, kind in (reactions or {}).items():
        specs.append(spec(names.timers(name), Role.TIMERS, kind))
    specs += [spec(names.rekeyed(name), Role.REKEYED, kind) for name, kind in (rekeyed or {}).items()]
    for name in subscribers:
        specs.append(spec(names.subscribers(name), Role.SUBSCRIBERS, None))
        if with_deliveries:
            specs.append(spec(names.acks(name), Role.ACKS, None))
            specs.append(spec(names.parked(name), Role.PARKED, None))
            specs.append(spec(names.deliveries(name), Role.DELIVERIES, None))
    return tuple(specs)
