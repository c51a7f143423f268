"""The names that the project has in Kafka."""

import pytest

from annals.topics.names import LONGEST_PREFIX, TopicNames, transactional_id


def test_without_a_prefix_the_names_are_those_of_the_contract() -> None:
    names = TopicNames()
    assert [names.commands("person"), names.events("person"), names.outcomes("person"), names.snapshots("person")] == [
        "commands.person",
        "events.person",
        "outcomes.person",
        "snapshots.person",
    ]
    assert names.dead_letters == "dead-letters"
    assert names.schemas == "schemas"
    assert names.subscribers("billing-2") == "subscribers.billing-2"
    assert names.group("annals") == "annals"


def test_every_name_takes_the_prefix() -> None:
    names = TopicNames("test.")
    assert names.commands("person") == "test.commands.person"
    assert names.events("person") == "test.events.person"
    assert names.outcomes("person") == "test.outcomes.person"
    assert names.snapshots("person") == "test.snapshots.person"
    assert names.dead_letters == "test.dead-letters"
    assert names.subscribers("x") == "test.subscribers.x"
    assert names.group("annals") == "test.annals"


def test_a_transactional_id_is_the_journals_and_knows_no_app() -> None:
    assert transactional_id(TopicNames("test.").events("person"), 3) == "annals-test.events.person-3"


@pytest.mark.parametrize("prefix", ["a b", "ä", "x/", "x\n", "x" * (LONGEST_PREFIX + 1)])
def test_a_prefix_that_kafka_would_not_take_is_refused(prefix: str) -> None:
    with pytest.raises(ValueError, match="topic prefix"):
        TopicNames(prefix)


def test_the_longest_prefix_leaves_room_for_the_longest_name() -> None:
    assert len(TopicNames("x" * LONGEST_PREFIX).subscribers("y" * 63)) == 249


@pytest.mark.parametrize("name", ["", "-x", "X", "a.b", "a_b", "ä", "x" * 64, "x\n"])
def test_a_subscriber_with_an_impossible_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="subscriber's name"):
        TopicNames().subscribers(name)
