"""The catalogue of topics, held to the contract's table."""

import pytest

from annals.schemas.kinds import KINDS
from annals.topics.catalog import catalogue
from annals.topics.spec import CO_PARTITIONED, Role, Rule

DAY_MS = 24 * 60 * 60 * 1000
LARGEST = str(2**63 - 1)
DELETE_7_DAYS = {"cleanup.policy": "delete", "retention.ms": str(7 * DAY_MS), "message.timestamp.type": "LogAppendTime"}
CONTRACT = {
    "commands.person": DELETE_7_DAYS | {"max.message.bytes": "8388608", "compression.type": "uncompressed"},
    "events.person": {
        "cleanup.policy": "delete",
        "retention.ms": "-1",
        "message.timestamp.type": "CreateTime",
        "message.timestamp.before.max.ms": LARGEST,
        "message.timestamp.after.max.ms": LARGEST,
        "max.message.bytes": "4194304",
    },
    "outcomes.person": DELETE_7_DAYS | {"max.message.bytes": "4194304"},
    "snapshots.person": {"cleanup.policy": "compact", "max.message.bytes": "4194304"},
    "restore.person": {"cleanup.policy": "compact", "max.message.bytes": "4194304", "segment.bytes": "16777216"},
    "dead-letters": DELETE_7_DAYS | {"retention.ms": str(30 * DAY_MS), "max.message.bytes": "9437184"},
    "schemas": {"cleanup.policy": "compact", "max.message.bytes": "1048576"},
    "audit": {"cleanup.policy": "delete", "retention.ms": "-1", "message.timestamp.type": "LogAppendTime"},
    "projections": {"cleanup.policy": "compact", "max.message.bytes": "1048576"},
    "subscriptions": {"cleanup.policy": "compact", "max.message.bytes": "1048576"},
    "progress": {
        "cleanup.policy": "compact",
        "max.message.bytes": "1048576",
        "segment.bytes": "4194304",
        "min.cleanable.dirty.ratio": "0.1",
    },
    "jobs": {"cleanup.policy": "compact", "max.message.bytes": "1048576", "segment.bytes": "4194304"},
    "subscribers.billing": DELETE_7_DAYS | {"max.message.bytes": "9437184"},
    "acks.billing": DELETE_7_DAYS | {"max.message.bytes": "9437184"},
    "parked.billing": DELETE_7_DAYS | {"retention.ms": str(30 * DAY_MS), "max.message.bytes": "9437184"},
    "deliveries.billing": {
        "min.cleanable.dirty.ratio": "0.1",
        "segment.bytes": "16777216",
        "cleanup.policy": "compact",
        "delete.retention.ms": str(7 * DAY_MS),
        "message.timestamp.type": "LogAppendTime",
        "max.message.bytes": "1048576",
    },
}
ALL = {"retention.bytes": "-1", "unclean.leader.election.enable": "false"}


@pytest.mark.parametrize("name", CONTRACT)
@pytest.mark.parametrize(("replicas", "in_sync"), [(1, "1"), (2, "1"), (3, "2"), (5, "2")])
def test_each_topic_has_exactly_the_contracts_settings(name: str, replicas: int, in_sync: str) -> None:
    specs = {spec.name: spec for spec in catalogue("", 4, replicas, subscribers=["billing"], with_deliveries=True)}
    assert specs[name].config == CONTRACT[name] | ALL | {"min.insync.replicas": in_sync}
    assert specs[name].replication_factor == replicas


def test_each_kind_has_its_five_topics_and_all_share_the_dead_letters_and_the_schemas() -> None:
    names = [spec.name for spec in catalogue("t.")]
    five = ("commands", "events", "outcomes", "snapshots", "restore")
    assert names == [f"t.{topic}.{kind}" for kind in KINDS for topic in five] + [
        "t.dead-letters",
        "t.schemas",
        "t.audit",
        "t.projections",
        "t.subscriptions",
        "t.progress",
        "t.jobs",
        "t.reactions",
    ]


def test_the_five_topics_of_a_kind_have_the_same_number_of_partitions() -> None:
    for spec in catalogue(partitions=7, kinds=["person"]):
        assert (spec.partitions == 7) == (spec.role in CO_PARTITIONED | {Role.PROGRESS})


def test_another_kind_and_a_subscriber_are_in_the_catalogue_when_asked_for() -> None:
    reactions = {"sail": "ship", "meet": "ship"}
    specs = catalogue(
        kinds=["ship"], subscribers=["billing"], reactions=reactions, rekeyed={"meet": "ship", "crew_by_port": "ship"}
    )
    names = [spec.name for spec in specs]
    assert names == [
        "commands.ship",
        "events.ship",
        "outcomes.ship",
        "snapshots.ship",
        "restore.ship",
        "dead-letters",
        "schemas",
        "audit",
        "projections",
        "subscriptions",
        "progress",
        "jobs",
        "reactions",
        "timers.sail",
        "timers.meet",
        "rekeyed.meet",
        "rekeyed.crew_by_port",
        "subscribers.billing",
    ]


def test_of_a_subscriber_that_keeps_all_events_the_topic_drops_none_by_its_age() -> None:
    kept = {spec.name: spec for spec in catalogue(kinds=[], subscribers=["billing"], with_all_kept=True)}
    assert kept["subscribers.billing"].config["retention.ms"] == "-1"
    (limited,) = (spec for spec in catalogue(kinds=[], subscribers=["billing"]) if spec.role is Role.SUBSCRIBERS)
    assert limited.config["retention.ms"] == str(7 * 24 * 3600 * 1000)


@pytest.mark.parametrize("name", ["cleanup.policy", "retention.ms", "retention.bytes"])
def test_a_journal_that_could_lose_events_is_always_refused(name: str) -> None:
    (journal,) = (spec for spec in catalogue(kinds=["person"]) if spec.role is Role.EVENTS)
    (setting,) = (setting for setting in journal.settings if setting.name == name)
    assert setting.rule is Rule.MUST_EQUAL


@pytest.mark.parametrize(("replicas", "refused"), [(1, False), (2, True), (3, True)])
def test_unclean_elections_are_refused_where_there_are_elections(*, replicas: int, refused: bool) -> None:
    for spec in catalogue(replication_factor=replicas):
        (setting,) = (setting for setting in spec.settings if setting.name == "unclean.leader.election.enable")
        assert setting.rule.is_refused is refused


@pytest.mark.parametrize(
    ("rule", "found", "wanted", "accepted"),
    [
        (Rule.MUST_EQUAL, "delete", "delete", True),
        (Rule.MUST_EQUAL, "compact,delete", "delete", False),
        (Rule.SHOULD_EQUAL, "delete,compact", "compact,delete", True),
        (Rule.MUST_BE_AT_LEAST, "10", "9", True),
        (Rule.MUST_BE_AT_LEAST, "9", "10", False),
        (Rule.SHOULD_BE_AT_LEAST, "-1", "604800000", True),
        (Rule.SHOULD_BE_AT_LEAST, "604800000", "-1", False),
        (Rule.SHOULD_BE_AT_LEAST, "-1", "-1", True),
    ],
)
def test_a_rule_accepts_what_is_as_good_as_wanted(*, rule: Rule, found: str, wanted: str, accepted: bool) -> None:
    assert rule.accepts(found, wanted) is accepted


def test_every_setting_says_why_it_matters() -> None:
    for spec in catalogue(subscribers=["x"]):
        assert spec.value
        assert spec.key
        assert all(setting.why for setting in spec.settings)
