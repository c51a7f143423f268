"""What is compared between the catalogue and the brokers, and what it means: missing, refused, or only said."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from annals.topics.catalog import DURABLE_REPLICATION_FACTOR, SETTINGS, durability
from annals.topics.spec import CO_PARTITIONED, NEEDED_TO_WRITE, Role

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from annals.topics.spec import TopicSetting, TopicSpec
    from annals.workers.kafka.admin.cluster import TopicFacts

NOT_SET = "not set"
FEW = 3
# Kafka's own: where it keeps open transactions and the groups' offsets.
INTERNAL_TOPICS = ("__transaction_state", "__consumer_offsets")


@dataclass(frozen=True, slots=True)
class Finding:
    """One difference: `setting` is the broker's name of it, or `partitions`, `replicas`, `first offset`."""

    topic: str
    setting: str
    found: str
    wanted: str
    why: str

    def __str__(self) -> str:
        return f"{self.topic}: {self.setting} is {self.found}, wanted {self.wanted}: {self.why}"


@dataclass(slots=True)
class Report:
    """The answer of a check: a worker starts if nothing that it needs is missing, and nothing refused."""

    missing: list[str] = field(default_factory=list)
    needed: list[str] = field(default_factory=list)
    """What is missing without which a worker does not decide, or does not read; without others it does less."""
    hidden: list[str] = field(default_factory=list)
    """What the user may not see, and a worker begins without: whether it is there is not known."""
    refusals: list[Finding] = field(default_factory=list)
    passing: list[Finding] = field(default_factory=list)
    """Of what is refused, what may pass by itself: a partition that moves has its old replicas and its new ones, which
    are not in sync yet."""
    warnings: list[Finding] = field(default_factory=list)
    partitions: dict[str, int] = field(default_factory=dict)
    """By kind, of its journal."""
    replicas: dict[str, int] = field(default_factory=dict)
    """By topic, of the partition that has the fewest."""
    dead_letter_partitions: int = 0
    probes: dict[str, str] = field(default_factory=dict)

    @property
    def is_good(self) -> bool:
        """Whether a worker would start."""
        return not self.needed and not self.refusals

    def as_json(self) -> dict[str, Any]:
        """Return it in JSON types."""
        return {
            "ok": self.is_good,
            "missing": self.missing,
            "hidden": self.hidden,
            "refusals": [_as_json(each) for each in self.refusals],
            "warnings": [_as_json(each) for each in self.warnings],
            "probes": self.probes,
        }


def _as_json(finding: Finding) -> dict[str, str]:
    return {name: getattr(finding, name) for name in Finding.__slots__}


def missing_topics(names: Sequence[str], prefix: str) -> str:
    """Say which topics are missing: by their number and prefix, and by name where they are few."""
    few = len(names) <= FEW
    shown = ", ".join(names) if few else f"{', '.join(names[:FEW])} …"
    with_prefix = f"with the prefix {prefix!r}" if prefix else "without a prefix (ANNALS_TOPIC_PREFIX)"
    return f"missing topics: {shown}" if few else f"missing topics: {len(names)} {with_prefix}: {shown}"


def compare(
    specs: Iterable[TopicSpec],
    facts: Mapping[str, TopicFacts],
    partitions_setting: int,
    needed: Collection[Role] = NEEDED_TO_WRITE,
    since: Report | None = None,
) -> Report:
    """Compare the topics that exist with the catalogue.

    partitions_setting: what new topics would get; needed: which topics nothing begins without; since: what was there
    at the start of a worker that runs, which numbers of partitions are compared with.
    """
    report = Report()
    before = Report() if since is None else since
    of_kind: dict[str, dict[str, int]] = {}
    for spec in specs:
        fact = facts.get(spec.name)
        if fact is None:
            report.missing.append(spec.name)
            if spec.role in needed:
                report.needed.append(spec.name)
            continue
        report.replicas[spec.name] = fact.replication_factor
        # a partition that moves has its old replicas and its new ones
        fewest = min(fact.replication_factor, before.replicas.get(spec.name, fact.replication_factor))
        for setting in SETTINGS[spec.role]:
            compare_setting(report, fact, setting)
        _compare_for_copies(report, fact, fewest)
        _compare_durability(report, fact)
        _compare_segments(report, fact, SETTINGS[spec.role])
        if spec.role is Role.EVENTS:
            _compare_first_offsets(report, fact)
        if spec.role is Role.DEAD_LETTERS:
            report.dead_letter_partitions = fact.partitions
        if spec.role in CO_PARTITIONED and spec.kind is not None:
            of_kind.setdefault(spec.kind, {})[spec.name] = fact.partitions
            if spec.role is Role.EVENTS:
                report.partitions[spec.kind] = fact.partitions
    for kind, counts in sorted(of_kind.items()):
        journal = before.partitions.get(kind, report.partitions.get(kind))
        _compare_partitions(report, counts, journal, partitions_setting)
    ours = [fact for fact in facts.values() if fact.name not in INTERNAL_TOPICS]
    _say_what_one_disk_holds(report, ours)
    _compare_internal_topics(report, facts, max((fact.replication_factor for fact in ours), default=0))
    return report


def compare_setting(report: Report, fact: TopicFacts, setting: TopicSetting) -> None:
    """Add to a report what a topic's setting differs in."""
    found = fact.config.get(setting.name)
    if found is not None and setting.rule.accepts(found, setting.value):
        return
    wanted = f"{setting.value} or more" if "least" in setting.rule else setting.value
    finding = Finding(fact.name, setting.name, NOT_SET if found is None else found, wanted, setting.why)
    (report.refusals if setting.rule.is_refused else report.warnings).append(finding)


def _compare_for_copies(report: Report, fact: TopicFacts, copies: int) -> None:
    compared, in_sync = Report(), Report()
    for setting in durability(copies):
        compare_setting(compared, fact, setting)
    for setting in durability(copies if fact.in_sync is None else min(fact.in_sync, copies)):
        compare_setting(in_sync, fact, setting)
    refused = {finding.setting for finding in in_sync.refusals}
    report.refusals += compared.refusals
    report.passing += [finding for finding in compared.refusals if finding.setting not in refused]
    report.warnings += compared.warnings


def _compare_durability(report: Report, fact: TopicFacts) -> None:
    in_sync = fact.config.get("min.insync.replicas", "1")
    if int(in_sync) > fact.replication_factor:
        wanted = f"{fact.replication_factor} or less"
        why = "more copies must be in sync than there are, so that nothing can be written"
        report.refusals.append(Finding(fact.name, "min.insync.replicas", in_sync, wanted, why))


def _compare_segments(report: Report, fact: TopicFacts, settings: Iterable[TopicSetting]) -> None:
    found = fact.config.get("segment.bytes")
    for setting in settings:
        if found is not None and setting.name == "max.message.bytes" and int(found) < int(setting.value):
            why = "the broker refuses what is larger than a segment, whatever else the topic takes"
            finding = Finding(fact.name, "segment.bytes", found, f"{setting.value} or more", why)
            (report.refusals if setting.rule.is_refused else report.warnings).append(finding)


def _compare_first_offsets(report: Report, fact: TopicFacts) -> None:
    for partition, offset in sorted(fact.first_offsets.items()):
        if offset:
            why = "events were deleted, and no chain can be proven from its beginning: restore the journal"
            report.refusals.append(Finding(f"{fact.name}-{partition}", "first offset", str(offset), "0", why))


def _compare_partitions(report: Report, counts: Mapping[str, int], journal: int | None, setting: int) -> None:
    # The journal's number decides: where its keys are cannot be changed any more.
    wanted = journal if journal is not None else Counter(counts.values()).most_common(1)[0][0]
    for name, found in counts.items():
        if found != wanted:
            why = "the topics of a kind must agree, or an aggregate has two writers"
            report.refusals.append(Finding(name, "partitions", str(found), str(wanted), why))
    if wanted != setting:
        why = "topics keep the number they were created with; ANNALS_PARTITIONS is for new ones"
        report.warnings.append(Finding(", ".join(counts), "partitions", str(wanted), str(setting), why))


def _compare_internal_topics(report: Report, facts: Mapping[str, TopicFacts], copies: int) -> None:
    # Below three copies of ours it is said already that one disk is too few.
    if copies < DURABLE_REPLICATION_FACTOR:
        return
    for name in INTERNAL_TOPICS:
        fact = facts.get(name)
        if fact is not None and fact.replication_factor < DURABLE_REPLICATION_FACTOR:
            why = "with a lost disk no transaction and no group goes on, however many copies the events have"
            wanted = f"{DURABLE_REPLICATION_FACTOR} or more"
            report.warnings.append(Finding(name, "replicas", str(fact.replication_factor), wanted, why))


def _say_what_one_disk_holds(report: Report, facts: Sequence[TopicFacts]) -> None:
    fewest = min((fact.replication_factor for fact in facts), default=DURABLE_REPLICATION_FACTOR)
    if fewest < DURABLE_REPLICATION_FACTOR:
        why = "a lost disk can lose events" if fewest > 1 else "a lost disk loses events"
        wanted = f"{DURABLE_REPLICATION_FACTOR} or more"
        topics = sorted(fact.name for fact in facts if fact.replication_factor == fewest)
        shown = topics[0] if len(topics) == 1 else f"{len(topics)} topics"
        report.warnings.append(Finding(shown, "replicas", str(fewest), wanted, why))
