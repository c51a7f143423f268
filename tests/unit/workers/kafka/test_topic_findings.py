"""What a difference between catalogue and brokers means: refused, or only said."""

import dataclasses

import pytest

from annals.topics.catalog import catalogue
from annals.topics.spec import Role
from annals.workers.kafka.admin.cluster import BrokersUnreachableError, TopicFacts
from annals.workers.kafka.admin.findings import Finding, Report, compare
from annals.workers.kafka.admin.provisioning import require_settled

KINDS = ("person", "policy")
JOURNAL = "events.person"


def facts(replicas: int = 3, partitions: int = 4) -> dict[str, TopicFacts]:
    """All topics as the catalogue wants them."""
    return {
        spec.name: TopicFacts(
            spec.name,
            spec.partitions,
            replicas,
            spec.config,
            dict.fromkeys(range(spec.partitions), 0) if spec.role is Role.EVENTS else {},
        )
        for spec in catalogue(partitions=partitions, replication_factor=replicas, kinds=KINDS)
    }


def changed(found: dict[str, TopicFacts], topic: str, **changes: object) -> dict[str, TopicFacts]:
    return found | {topic: dataclasses.replace(found[topic], **changes)}


def with_setting(found: dict[str, TopicFacts], topic: str, name: str, value: str | None) -> dict[str, TopicFacts]:
    config = dict(found[topic].config)
    config.pop(name)
    return changed(found, topic, config=config if value is None else config | {name: value})


def compared(found: dict[str, TopicFacts], partitions: int = 4, since: Report | None = None) -> Report:
    return compare(catalogue(kinds=KINDS), found, partitions, since=since)


def test_topics_as_the_catalogue_has_them_are_good() -> None:
    report = compared(facts())
    replicas = dict.fromkeys(facts(), 3)
    assert report == Report(partitions={"person": 4, "policy": 4}, dead_letter_partitions=1, replicas=replicas)
    assert report.is_good


def test_a_topic_that_is_not_there_is_missing() -> None:
    found = facts()
    del found[JOURNAL], found["dead-letters"]
    report = compared(found)
    assert report.missing == [JOURNAL, "dead-letters"]
    assert not report.is_good
    assert report.partitions == {"policy": 4}


def test_without_a_topic_for_restore_points_a_worker_starts() -> None:
    found = facts()
    del found["restore.person"]
    report = compared(found)
    assert (report.missing, report.needed) == (["restore.person"], [])
    assert report.is_good


def test_a_segment_that_is_smaller_than_what_a_worker_writes_is_refused() -> None:
    """A broker takes no batch that is larger than a segment (RECORD_LIST_TOO_LARGE), however large batches may be."""
    found = facts()
    for topic in (JOURNAL, "commands.person"):
        found = changed(found, topic, config={**found[topic].config, "segment.bytes": "1048576"})
    report = compared(found)
    why = "the broker refuses what is larger than a segment, whatever else the topic takes"
    assert report.refusals == [Finding(JOURNAL, "segment.bytes", "1048576", "4194304 or more", why)]
    assert report.warnings == [Finding("commands.person", "segment.bytes", "1048576", "8388608 or more", why)]
    enough = changed(facts(), JOURNAL, config={**facts()[JOURNAL].config, "segment.bytes": "4194304"})
    assert compared(enough).refusals == []


@pytest.mark.parametrize(
    ("topic", "name", "value"),
    [
        (JOURNAL, "cleanup.policy", "compact"),
        (JOURNAL, "cleanup.policy", "compact,delete"),
        (JOURNAL, "retention.ms", "604800000"),
        (JOURNAL, "retention.bytes", "1000000000"),
        (JOURNAL, "message.timestamp.type", "LogAppendTime"),
        (JOURNAL, "message.timestamp.after.max.ms", "3600000"),
        (JOURNAL, "message.timestamp.after.max.ms", None),
        (JOURNAL, "message.timestamp.before.max.ms", "1"),
        (JOURNAL, "max.message.bytes", "1048588"),
        (JOURNAL, "min.insync.replicas", "1"),
        (JOURNAL, "min.insync.replicas", "4"),
        (JOURNAL, "unclean.leader.election.enable", "true"),
        ("commands.person", "cleanup.policy", "compact"),
        ("outcomes.person", "cleanup.policy", "compact"),
        ("outcomes.person", "max.message.bytes", "1048588"),
        ("snapshots.person", "max.message.bytes", "1048588"),
        ("dead-letters", "max.message.bytes", "1048588"),
        ("dead-letters", "cleanup.policy", "compact"),
    ],
)
def test_what_would_break_a_promise_is_refused_with_topic_setting_found_and_wanted(
    topic: str, name: str, value: str | None
) -> None:
    (refusal,) = compared(with_setting(facts(), topic, name, value)).refusals
    assert (refusal.topic, refusal.setting, refusal.found) == (topic, name, value or "not set")
    assert str(refusal) == f"{topic}: {name} is {value or 'not set'}, wanted {refusal.wanted}: {refusal.why}"
    assert refusal.wanted
    assert refusal.why


@pytest.mark.parametrize(
    ("topic", "name", "value"),
    [
        ("commands.person", "retention.ms", "3600000"),
        ("commands.person", "message.timestamp.type", "CreateTime"),
        ("commands.person", "compression.type", "producer"),
        ("commands.person", "max.message.bytes", "99999999"),
        ("outcomes.person", "retention.bytes", "1000"),
        ("snapshots.person", "cleanup.policy", "delete"),
        ("dead-letters", "retention.ms", "1"),
    ],
)
def test_what_is_only_unwise_is_said(topic: str, name: str, value: str) -> None:
    report = compared(with_setting(facts(), topic, name, value))
    (warning,) = report.warnings
    assert (warning.topic, warning.setting, warning.found) == (topic, name, value)
    assert report.is_good


@pytest.mark.parametrize(
    ("topic", "name", "value"),
    [
        (JOURNAL, "max.message.bytes", "8388608"),
        ("commands.person", "retention.ms", "-1"),
        ("dead-letters", "retention.ms", "9999999999"),
        (JOURNAL, "min.insync.replicas", "3"),
    ],
)
def test_more_than_is_wanted_is_good_where_more_does_no_harm(topic: str, name: str, value: str) -> None:
    assert compared(with_setting(facts(), topic, name, value)) == compared(facts())


def test_a_journal_that_has_lost_its_beginning_is_refused_by_partition() -> None:
    report = compared(changed(facts(), JOURNAL, first_offsets={0: 0, 1: 17, 2: 0, 3: 0}))
    (refusal,) = report.refusals
    assert (refusal.topic, refusal.setting, refusal.found, refusal.wanted) == (
        "events.person-1",
        "first offset",
        "17",
        "0",
    )


def test_topics_of_a_kind_that_disagree_are_refused_and_the_journal_decides() -> None:
    report = compared(changed(facts(), "commands.person", partitions=6))
    (refusal,) = report.refusals
    assert (refusal.topic, refusal.setting, refusal.found, refusal.wanted) == (
        "commands.person",
        "partitions",
        "6",
        "4",
    )
    report = compared(changed(facts(), JOURNAL, partitions=6))
    others = ["commands.person", "outcomes.person", "snapshots.person", "restore.person"]
    assert [each.topic for each in report.refusals] == others
    assert {each.wanted for each in report.refusals} == {"6"}


def test_without_a_journal_the_others_decide_what_differs() -> None:
    found = changed(facts(), "commands.person", partitions=6)
    del found[JOURNAL]
    (refusal,) = compared(found).refusals
    assert (refusal.topic, refusal.wanted) == ("commands.person", "4")


def test_another_number_than_the_setting_is_only_said() -> None:
    report = compared(facts(partitions=12))
    assert report.is_good
    assert report.partitions == {"person": 12, "policy": 12}
    assert [(each.setting, each.found, each.wanted) for each in report.warnings] == [("partitions", "12", "4")] * 2


@pytest.mark.parametrize(("replicas", "loses"), [(1, "a lost disk loses events"), (2, "a lost disk can lose events")])
def test_below_three_copies_a_lost_disk_is_warned_about_once(replicas: int, loses: str) -> None:
    report = compared(facts(replicas))
    assert report.warnings == [Finding("18 topics", "replicas", str(replicas), "3 or more", loses)]
    assert report.is_good


def test_one_topic_with_fewer_copies_is_named() -> None:
    found = facts()
    found = changed(found, JOURNAL, replication_factor=1, config=found[JOURNAL].config | {"min.insync.replicas": "1"})
    (warning,) = compared(found).warnings
    assert (warning.topic, warning.found) == (JOURNAL, "1")


def test_an_unclean_election_is_only_said_of_a_single_copy() -> None:
    report = compared(with_setting(facts(1), JOURNAL, "unclean.leader.election.enable", "true"))
    assert [each.setting for each in report.warnings] == ["unclean.leader.election.enable", "replicas"]
    assert report.is_good


@pytest.mark.parametrize("name", ["__transaction_state", "__consumer_offsets"])
@pytest.mark.parametrize(("ours", "theirs", "warned"), [(3, 1, True), (3, 3, False), (1, 1, False)])
def test_kafkas_own_topics_with_fewer_copies_than_ours_are_warned_about(
    name: str, *, ours: int, theirs: int, warned: bool
) -> None:
    report = compared(facts(ours) | {name: TopicFacts(name, 50, theirs, {}, {})})
    assert (name in [each.topic for each in report.warnings]) is warned
    assert report.is_good


def test_no_topics_at_all_is_all_missing_and_nothing_else() -> None:
    report = compared({})
    assert len(report.missing) == 18
    assert (report.refusals, report.warnings) == ([], [])


def test_a_report_is_json() -> None:
    report = compared(with_setting(facts(1), JOURNAL, "retention.ms", "1"))
    report.probes = {"transactions": "ok"}
    assert report.as_json() == {
        "ok": False,
        "missing": [],
        "hidden": [],
        "refusals": [
            {
                "topic": JOURNAL,
                "setting": "retention.ms",
                "found": "1",
                "wanted": "-1",
                "why": "events would be deleted: the journal is the only truth",
            }
        ],
        "warnings": [
            {
                "topic": "18 topics",
                "setting": "replicas",
                "found": "1",
                "wanted": "3 or more",
                "why": "a lost disk loses events",
            }
        ],
        "probes": {"transactions": "ok"},
    }


@pytest.mark.parametrize(("before", "during"), [(1, 2), (2, 3), (2, 4), (3, 6)])
def test_a_move_of_partitions_which_lists_old_and_new_replicas_is_no_change(before: int, during: int) -> None:
    """Goes red when all workers turn not ready for as long as a routine reassignment lasts."""
    since = compared(facts(before))
    moving = {name: dataclasses.replace(each, replication_factor=during) for name, each in facts(before).items()}
    assert compared(moving, since=since).refusals == []


def test_a_worker_that_starts_while_partitions_move_waits_and_does_not_end() -> None:
    """Goes red when a worker ends with exit status 2 for replicas that are there for the time of a move."""
    moving = {
        name: dataclasses.replace(each, replication_factor=3, in_sync=2) for name, each in facts(replicas=2).items()
    }
    report = compared(moving)
    assert {each.setting for each in report.refusals} == {"min.insync.replicas"}
    with pytest.raises(
        BrokersUnreachableError, match=r"commands\.person: min\.insync\.replicas is 1.* more like.* in sync"
    ):
        require_settled(report)


@pytest.mark.parametrize("changes", [{}, {"in_sync": 2, "config": {"retention.ms": "60000"}}])
def test_what_does_not_pass_by_itself_is_refused_at_once(changes: dict[str, dict[str, str]]) -> None:
    lowered = with_setting(facts(), JOURNAL, "min.insync.replicas", "1")
    if "config" in changes:
        changes = {**changes, "config": {**lowered[JOURNAL].config, **changes["config"]}}
    report = compared(changed(lowered, JOURNAL, **changes))
    assert require_settled(report) is report
    assert report.refusals
    assert not report.is_good


def test_what_is_durable_enough_is_judged_by_the_fewest_replicas() -> None:
    lowered = with_setting(facts(), JOURNAL, "min.insync.replicas", "1")
    for replicas, refused in ((6, True), (3, True), (2, False)):
        found = changed(lowered, JOURNAL, replication_factor=replicas)
        assert bool(compared(found, since=compared(facts())).refusals) is refused


@pytest.mark.parametrize("topic", ["events.person", "commands.person", "snapshots.person", "restore.person"])
@pytest.mark.parametrize("number", [2, 8])
def test_a_number_of_partitions_that_changed_is_named_where_it_changed(topic: str, number: int) -> None:
    """Goes red when a journal that got more is the measure of the other topics, or of itself."""
    report = compared(changed(facts(), topic, partitions=number), since=compared(facts()))
    assert [(each.topic, each.setting, each.found, each.wanted) for each in report.refusals] == [
        (topic, "partitions", str(number), "4")
    ]
