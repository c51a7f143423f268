"""Which rights each command needs at brokers that ask who somebody is (Kafka's ACLs), and no more.

Kafka gives Describe to whoever may Read, Write or Delete, and to nobody who may only DescribeConfigs.
"""

from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Final, NamedTuple

from annals.topics.names import TRANSACTIONAL_ID_PREFIX, TopicNames, topic_transactional_id

READ, WRITE, CREATE, DELETE = "Read", "Write", "Create", "Delete"
DESCRIBE, DESCRIBE_CONFIGS = "Describe", "DescribeConfigs"
PROBE: Final = "annals-probe-"
"""How the name of the topic begins, behind the prefix, on which `annals topics check` tries what brokers can do."""


SHOWN_NAME: Final = "name"
"""Stands for a subscriber's name."""


class Resource(StrEnum):
    """What a right is about."""

    TOPIC = "topic"
    GROUP = "group"
    TRANSACTIONAL_ID = "transactional id"


class Right(NamedTuple):
    """What may be done with a resource of this name, or with all whose names begin so."""

    resource: Resource
    name: str
    is_prefix: bool
    operations: tuple[str, ...]


WORKER, TOPICS_CREATE, TOPICS_CHECK = "annals worker", "annals topics create", "annals topics check"
REACTING, REACTIONS = "annals worker, role read: reactions and re-keyed projections", "annals reactions"
PUBLISHING, SUBSCRIPTIONS, SUBSCRIBER = "annals worker, role read: publishing", "annals subscriptions", "a subscriber"
DEAD_LETTERS = "annals dead-letters, and its routes in a worker of role read"
PARKED = "annals parked, and its routes in a worker of role read"
SEND, READERS = "annals send", "annals events, verify, schemas usage"
MIGRATE = "annals schemas migrate"
REPLAYS = "annals worker, role read: replays over HTTP"


def rights(
    prefix: str, app_id: str, kinds: Sequence[str], reactions: Sequence[str] = (), rekeyed: Sequence[str] = ()
) -> dict[str, list[Right]]:
    """Return the rights by command: of a deployment's topic prefix and app id, for these kinds and reactions.

    rekeyed: the names of streams, of reactions and projections.
    """
    names = TopicNames(prefix)
    every = [*_of_kinds(names, kinds), names.dead_letters, names.schemas, names.audit, names.projections]
    every += [names.subscriptions, names.progress, names.jobs, names.reactions]
    every += [names.timers(name) for name in reactions]
    every += [names.rekeyed(name) for name in rekeyed]
    return {
        WORKER: list(_worker(names, app_id, kinds)),
        TOPICS_CREATE: [_topic(name, CREATE, DESCRIBE, DESCRIBE_CONFIGS) for name in every],
        TOPICS_CHECK: [
            *(_topic(name, DESCRIBE, DESCRIBE_CONFIGS) for name in every),
            Right(Resource.TOPIC, f"{prefix}{PROBE}", is_prefix=True, operations=(CREATE, READ, WRITE, DELETE)),
            Right(
                Resource.TRANSACTIONAL_ID,
                f"{TRANSACTIONAL_ID_PREFIX}{prefix}{PROBE}",
                is_prefix=True,
                operations=(WRITE,),
            ),
            *_groups(names, app_id),
        ],
        SEND: [
            right
            for kind in kinds
            for right in (_topic(names.commands(kind), WRITE), _topic(names.outcomes(kind), READ))
        ],
        READERS: [_topic(names.events(kind), READ) for kind in kinds],
        PUBLISHING: list(_publishing(names, app_id, kinds)),
        SUBSCRIPTIONS: list(_subscriptions(names, app_id, kinds)),
        REACTING: list(_reacting(names, app_id, kinds)),
        REACTIONS: list(_reactions(names, app_id, kinds)),
        SUBSCRIBER: [_topic(names.subscribers(SHOWN_NAME), READ), _topic(names.acks(SHOWN_NAME), WRITE)],
        REPLAYS: [
            *(_topic(names.events(kind), READ) for kind in kinds),
            Right(Resource.TOPIC, f"{prefix}replays.", is_prefix=True, operations=(CREATE, WRITE, DESCRIBE)),
        ],
        PARKED: list(_parked(names, app_id, kinds)),
        DEAD_LETTERS: list(_dead_letters(names, app_id, kinds)),
        MIGRATE: [
            right
            for kind in kinds
            for right in (_topic(names.events(kind), READ), _topic(names.snapshots(kind), READ, WRITE))
        ],
    }


def _worker(names: TopicNames, app_id: str, kinds: Sequence[str]) -> Iterator[Right]:
    for kind in kinds:
        yield _topic(names.commands(kind), READ, WRITE, DESCRIBE_CONFIGS)  # written to where one is forwarded
        yield _topic(names.events(kind), READ, WRITE, DESCRIBE_CONFIGS)
        yield _topic(names.outcomes(kind), READ, WRITE, DESCRIBE_CONFIGS)
        yield _topic(names.snapshots(kind), READ, WRITE, DESCRIBE_CONFIGS)
        yield _topic(names.restore(kind), READ, WRITE, DESCRIBE_CONFIGS)
        journal = f"{TRANSACTIONAL_ID_PREFIX}{names.events(kind)}-"
        yield Right(Resource.TRANSACTIONAL_ID, journal, is_prefix=True, operations=(WRITE,))
    yield _topic(names.dead_letters, WRITE, DESCRIBE_CONFIGS)
    yield _topic(names.schemas, READ, WRITE, DESCRIBE_CONFIGS)
    yield _topic(names.projections, READ, WRITE, DESCRIBE_CONFIGS)
    yield _topic(names.jobs, READ, WRITE, DESCRIBE_CONFIGS)
    for changed in (names.projections, names.jobs):
        changes = topic_transactional_id(changed)
        yield Right(Resource.TRANSACTIONAL_ID, changes, is_prefix=False, operations=(WRITE,))
    yield _topic(names.audit, WRITE, DESCRIBE_CONFIGS)
    yield from _groups(names, app_id)


def _publishing(names: TopicNames, app_id: str, kinds: Sequence[str]) -> Iterator[Right]:
    for kind in kinds:
        yield _topic(names.events(kind), READ)
        yield _topic(names.commands(kind), DESCRIBE)  # of which the group's offset names the restore point
        yield _topic(names.restore(kind), READ)
        journal = f"{TRANSACTIONAL_ID_PREFIX}{names.events(kind)}-"
        yield Right(Resource.TRANSACTIONAL_ID, journal, is_prefix=True, operations=(WRITE,))
    for role, operations in (("subscribers", (WRITE,)), ("parked", (WRITE,)), ("acks", (READ, WRITE))):
        yield Right(Resource.TOPIC, f"{names.prefix}{role}.", is_prefix=True, operations=operations)
    yield Right(Resource.TOPIC, f"{names.prefix}deliveries.", is_prefix=True, operations=(READ, WRITE))
    yield _topic(names.dead_letters, WRITE)
    yield Right(Resource.GROUP, names.group(app_id), is_prefix=False, operations=(DESCRIBE,))
    yield from _kept(names, app_id)


def _subscriptions(names: TopicNames, app_id: str, kinds: Sequence[str]) -> Iterator[Right]:
    for kind in kinds:
        yield _topic(names.events(kind), READ)
    created = (CREATE, DESCRIBE, DESCRIBE_CONFIGS)
    for role in ("subscribers", "acks", "parked"):
        yield Right(Resource.TOPIC, f"{names.prefix}{role}.", is_prefix=True, operations=created)
    yield Right(Resource.TOPIC, f"{names.prefix}deliveries.", is_prefix=True, operations=(READ, *created))
    yield from _kept(names, app_id)


def _dead_letters(names: TopicNames, app_id: str, kinds: Sequence[str]) -> Iterator[Right]:
    yield _topic(names.dead_letters, READ)
    yield _topic(names.audit, READ, WRITE)
    for kind in kinds:
        yield _topic(names.commands(kind), WRITE)
    settling = topic_transactional_id(names.dead_letters)
    yield Right(Resource.TRANSACTIONAL_ID, settling, is_prefix=False, operations=(WRITE,))
    yield Right(Resource.GROUP, names.dead_letters_group(app_id), is_prefix=False, operations=(READ,))


def _reacting(names: TopicNames, app_id: str, kinds: Sequence[str]) -> Iterator[Right]:
    for kind in kinds:
        yield _topic(names.events(kind), READ)
        yield _topic(names.commands(kind), WRITE)
        journal = f"{TRANSACTIONAL_ID_PREFIX}{names.events(kind)}-"
        yield Right(Resource.TRANSACTIONAL_ID, journal, is_prefix=True, operations=(WRITE,))
    for role in ("timers", "rekeyed"):
        kept = (READ, WRITE, DESCRIBE_CONFIGS)
        yield Right(Resource.TOPIC, f"{names.prefix}{role}.", is_prefix=True, operations=kept)
    yield _topic(names.reactions, READ, DESCRIBE_CONFIGS)
    yield _topic(names.progress, READ, WRITE)
    yield Right(Resource.GROUP, f"{names.group(app_id)}.react.", is_prefix=True, operations=(READ,))


def _reactions(names: TopicNames, app_id: str, kinds: Sequence[str]) -> Iterator[Right]:
    for kind in kinds:
        yield _topic(names.events(kind), READ)
    for role in ("timers", "rekeyed"):
        yield Right(Resource.TOPIC, f"{names.prefix}{role}.", is_prefix=True, operations=(READ,))
    yield _topic(names.reactions, READ, WRITE)
    yield _topic(names.progress, READ, WRITE)
    name = topic_transactional_id(names.reactions)
    yield Right(Resource.TRANSACTIONAL_ID, name, is_prefix=False, operations=(WRITE,))
    yield Right(Resource.GROUP, f"{names.group(app_id)}.react.", is_prefix=True, operations=(READ,))


def _parked(names: TopicNames, app_id: str, kinds: Sequence[str]) -> Iterator[Right]:
    """What decides about parked events: the rights of a delivery shard, without those to deliver."""
    yield Right(Resource.TOPIC, f"{names.prefix}parked.", is_prefix=True, operations=(READ,))
    yield Right(Resource.TOPIC, f"{names.prefix}deliveries.", is_prefix=True, operations=(READ, WRITE))
    yield _topic(names.audit, WRITE)
    yield _topic(names.subscriptions, READ)
    yield _topic(names.progress, READ, WRITE)
    for kind in kinds:
        yield _topic(names.events(kind), DESCRIBE)
        journal = f"{TRANSACTIONAL_ID_PREFIX}{names.events(kind)}-"
        yield Right(Resource.TRANSACTIONAL_ID, journal, is_prefix=True, operations=(WRITE,))
    yield Right(Resource.GROUP, names.publishing_group(app_id), is_prefix=True, operations=(READ,))


def _kept(names: TopicNames, app_id: str) -> Iterator[Right]:
    """What publishers and administrators write alike: subscriptions are paused by both."""
    yield _topic(names.subscriptions, READ, WRITE, DESCRIBE_CONFIGS)
    yield _topic(names.progress, READ, WRITE, DESCRIBE_CONFIGS)
    name = topic_transactional_id(names.subscriptions)
    yield Right(Resource.TRANSACTIONAL_ID, name, is_prefix=False, operations=(WRITE,))
    yield Right(Resource.GROUP, names.publishing_group(app_id), is_prefix=True, operations=(READ,))


def _groups(names: TopicNames, app_id: str) -> Iterator[Right]:
    """What a worker joins: one group for each role."""
    for group in (names.group(app_id), names.reading_group(app_id)):
        yield Right(Resource.GROUP, group, is_prefix=False, operations=(READ,))


def _of_kinds(names: TopicNames, kinds: Sequence[str]) -> Iterator[str]:
    for kind in kinds:
        yield from (names.commands(kind), names.events(kind), names.outcomes(kind), names.snapshots(kind))
        yield names.restore(kind)


def _topic(name: str, *operations: str) -> Right:
    return Right(Resource.TOPIC, name, is_prefix=False, operations=operations)
