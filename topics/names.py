"""The names that the project has in Kafka: topics, the consumer group, transactional ids."""

import re
from typing import Final

# Kafka's own rule for a topic's name (org.apache.kafka.common.internals.Topic).
LEGAL_CHARACTERS: Final = re.compile(r"[A-Za-z0-9._-]*", re.ASCII)
LONGEST_TOPIC_NAME: Final = 249
STREAM_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}", re.ASCII)
SUBSCRIBER_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}", re.ASCII)
# `subscribers.` and 63 characters, the longest that is ever appended to a prefix.
LONGEST_PREFIX: Final = LONGEST_TOPIC_NAME - 75

TRANSACTIONAL_ID_PREFIX: Final = "annals-"


class TopicNames:
    """The names of all topics under one prefix."""

    __slots__ = ("prefix",)

    def __init__(self, prefix: str = "") -> None:
        """Take the prefix of every name; ValueError if Kafka would not take it."""
        if not LEGAL_CHARACTERS.fullmatch(prefix) or len(prefix) > LONGEST_PREFIX:
            raise ValueError(
                f"a topic prefix has at most {LONGEST_PREFIX} letters, digits, '.', '_' and '-' (ASCII), not {prefix!r}"
            )
        self.prefix = prefix

    def commands(self, kind: str) -> str:
        """Return the topic that commands to a kind are sent to."""
        return f"{self.prefix}commands.{kind}"

    def events(self, kind: str) -> str:
        """Return the journal of a kind."""
        return f"{self.prefix}events.{kind}"

    def outcomes(self, kind: str) -> str:
        """Return the topic that says what became of each command."""
        return f"{self.prefix}outcomes.{kind}"

    def snapshots(self, kind: str) -> str:
        """Return the compacted topic of a kind's newest snapshots."""
        return f"{self.prefix}snapshots.{kind}"

    def restore(self, kind: str) -> str:
        """Return the compacted topic of a kind's restore points."""
        return f"{self.prefix}restore.{kind}"

    @property
    def dead_letters(self) -> str:
        """Return the topic of what could not be read as a command."""
        return f"{self.prefix}dead-letters"

    @property
    def schemas(self) -> str:
        """Return the compacted topic of the schemas of all messages."""
        return f"{self.prefix}schemas"

    @property
    def audit(self) -> str:
        """Return the topic of what administrators asked the API to do."""
        return f"{self.prefix}audit"

    @property
    def projections(self) -> str:
        """Return the compacted topic that says which version of each projection answers."""
        return f"{self.prefix}projections"

    def subscribers(self, name: str) -> str:
        """Return the topic of one subscriber; ValueError if it cannot have that name."""
        return f"{self.prefix}subscribers.{_subscriber(name)}"

    def acks(self, name: str) -> str:
        """Return the topic on which a subscriber acknowledges; ValueError if it cannot have that name."""
        return f"{self.prefix}acks.{_subscriber(name)}"

    def parked(self, name: str) -> str:
        """Return the topic of what a subscriber could not take; ValueError if it cannot have that name."""
        return f"{self.prefix}parked.{_subscriber(name)}"

    def deliveries(self, name: str) -> str:
        """Return the topic of what is not settled with a subscriber; ValueError if it cannot have that name."""
        return f"{self.prefix}deliveries.{_subscriber(name)}"

    def replays(self, name: str) -> str:
        """Return the topic that a replay may write to; ValueError if it cannot have that name."""
        return f"{self.prefix}replays.{_subscriber(name)}"

    @property
    def subscriptions(self) -> str:
        """Return the compacted topic of all subscriptions."""
        return f"{self.prefix}subscriptions"

    @property
    def progress(self) -> str:
        """Return the compacted topic of how far publishers are."""
        return f"{self.prefix}progress"

    @property
    def jobs(self) -> str:
        """Return the compacted topic of long work that somebody asked for."""
        return f"{self.prefix}jobs"

    def timers(self, reaction: str) -> str:
        """Return the compacted topic of what a reaction keeps; ValueError if it cannot have that name."""
        return f"{self.prefix}timers.{_subscriber(reaction)}"

    def rekeyed(self, name: str) -> str:
        """Return the topic of the re-keyed stream of a reaction or a projection; ValueError if it cannot have it."""
        if not STREAM_NAME.fullmatch(name):
            raise ValueError(
                f"a stream's name is 1 to 63 of a-z, 0-9, '_' and '-', a letter or digit first, not {name!r}"
            )
        return f"{self.prefix}rekeyed.{name}"

    def of_place(self, place: str) -> str:
        """Return the topic that rows rest on: the journal of a kind, or a re-keyed stream, `rekeyed.<name>`."""
        name = place.removeprefix("rekeyed.")
        return self.events(place) if name == place else self.rekeyed(name)

    @property
    def reactions(self) -> str:
        """Return the compacted topic that says which reactions run."""
        return f"{self.prefix}reactions"

    def reacting_group(self, app_id: str, reaction: str) -> str:
        """Return the group whose offsets show how far a reaction is."""
        return f"{self.group(app_id)}.react.{reaction}"

    def publishing_group(self, app_id: str, name: str | None = None) -> str:
        """Return the group whose offsets show how far publishing is, of what is live or of one that catches up."""
        return f"{self.group(app_id)}.publish" + ("" if name is None else f".{name}")

    def group(self, app_id: str) -> str:
        """Return the consumer group of an app id."""
        return f"{self.prefix}{app_id}"

    def dead_letters_group(self, app_id: str) -> str:
        """Return the group in whose name dead letters are settled; its offsets say nothing."""
        return f"{self.group(app_id)}.dead-letters"

    def reading_group(self, app_id: str) -> str:
        """Return the consumer group of those who read the journals of an app id."""
        return f"{self.group(app_id)}.read"


def transactional_id(events_topic: str, partition: int) -> str:
    """Return the transactional id of a journal's partition.

    It is the same for every app id, so that a second deployment on a journal fences the first instead of writing beside
    it.
    """
    return f"{TRANSACTIONAL_ID_PREFIX}{events_topic}-{partition}"


def topic_transactional_id(topic: str) -> str:
    """Return the transactional id of whoever changes a compacted topic that several workers write, one at a time."""
    return f"{TRANSACTIONAL_ID_PREFIX}{topic}"


def publisher_id(events_topic: str, partition: int, name: str | None = None) -> str:
    """Return the transactional id of a journal partition's publisher: of what is live, or of one that catches up."""
    return f"{transactional_id(events_topic, partition)}-publish" + ("" if name is None else f"-{name}")


def reactor_id(events_topic: str, partition: int, reaction: str) -> str:
    """Return the transactional id of a reaction in a journal partition."""
    return f"{transactional_id(events_topic, partition)}-react-{reaction}"


def rekeyer_id(events_topic: str, partition: int, reaction: str) -> str:
    """Return the transactional id of what copies the events of a journal partition to a reaction's re-keyed stream."""
    return f"{transactional_id(events_topic, partition)}-rekey-{reaction}"


def _subscriber(name: str) -> str:
    if not SUBSCRIBER_NAME.fullmatch(name):
        raise ValueError(
            f"a subscriber's name has 1 to 63 of a-z, 0-9 and '-' and does not begin with '-', not {name!r}"
        )
    return name
