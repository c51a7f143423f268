"""The topics of a subscriber: made when it subscribes, and looked at while it is published to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiokafka.admin import NewTopic
from aiokafka.errors import TopicAuthorizationFailedError, UnknownTopicOrPartitionError, for_code

from annals.agents.publishing.administration import Refused
from annals.schemas.subscription import STREAM, UNLIMITED
from annals.topics.catalog import KEPT_FOR_GOOD, catalogue
from annals.topics.spec import Role, Rule
from annals.workers.kafka.admin.cluster import NotPermittedError, administration, hidden_topics, topic_facts
from annals.workers.kafka.admin.creation import create_topics
from annals.workers.kafka.admin.findings import Finding, Report, compare_setting

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from aiokafka.admin import AIOKafkaAdminClient

    from annals.schemas.subscription import Definition
    from annals.topics.spec import TopicSpec
    from annals.workers.settings import Settings

UNREAD_ANSWERS: Final = (
    "answers in those that were added are not read, and what they answer comes again: end the subscriber, delete the "
    "topic, and put the subscription again, which makes it anew"
)
UNUSED: Final = (
    "nothing is put into those that were added, so that no aggregate moves to one and is out of order; who reads "
    "them finds nothing"
)
NOT_THERE: Final = (UnknownTopicOrPartitionError, TopicAuthorizationFailedError)  # or the user may not see it
OF_SUBSCRIBERS: Final = (Role.SUBSCRIBERS, Role.ACKS, Role.PARKED, Role.DELIVERIES)


async def create_missing(
    settings: Settings, name: str, partitions: int, *, with_deliveries: bool = False, is_kept: bool = False
) -> None:
    """Create the topics of a subscriber that are missing.

    with_deliveries: of one that answers, too; is_kept: one whose topic keeps all events.

    Raises:
        Refused: the brokers do not permit it (403), or refuse it (503); the topic is there and drops events (409).
    """
    specs = _specs(settings, name, partitions, with_deliveries=with_deliveries, is_kept=is_kept)
    wanted = {spec.name: spec for spec in specs}
    async with administration(settings) as admin:
        found = await admin.describe_topics(sorted(wanted))  # of all topics it would cost as much as there are
        there = {each["topic"] for each in found if for_code(each["error_code"]) not in NOT_THERE}
        if is_kept:
            await _require_kept(admin, settings, sorted(there & wanted.keys()))
        topics = [
            NewTopic(spec.name, partitions, spec.replication_factor, topic_configs=spec.config)
            for spec in wanted.values()
            if spec.name not in there
        ]
        if not topics:
            return
        _, refusals = await create_topics(admin, topics)
    refused = [each.topic for each in refusals if each.is_of_rights]
    if refused:
        raise Refused(403, "topic_not_permitted", f"the worker may not create {', '.join(refused)}: create them for it")
    for refusal in refusals:
        raise Refused(503, "not_ready", str(refusal))


def _specs(settings: Settings, name: str, partitions: int, *, with_deliveries: bool, is_kept: bool) -> list[TopicSpec]:
    specs = catalogue(
        settings.topic_prefix,
        partitions,
        settings.replication_factor,
        kinds=(),
        subscribers=(name,),
        with_deliveries=with_deliveries,
        with_all_kept=is_kept,
    )
    return [spec for spec in specs if spec.role in OF_SUBSCRIBERS]


async def check_subscribers(settings: Settings, wanted: Iterable[tuple[Definition, int]]) -> Report:
    """Compare the topics of subscriptions with what these would be made with, in what loses something.

    wanted: definitions, each with the partitions of its journals. Topics that the user may not see, and settings that
    it may not read, are passed over: publishing does not need the right to all of them.

    Raises:
        BrokersUnreachableError: no broker answers, or a partition has no leader (a ConnectionError).
    """
    specs = [
        spec
        for each, partitions in wanted
        for spec in _specs(
            settings,
            each.name,
            partitions,
            with_deliveries=each.delivery != STREAM,
            is_kept=each.retention == UNLIMITED,
        )
    ]
    report = Report()
    if not specs:
        return report
    names = [spec.name for spec in specs]
    async with administration(settings) as admin:
        facts = await topic_facts(admin, settings, names, optional=names, needs_settings=False)
        hidden = await hidden_topics(admin, set(names) - facts.keys())
    for spec in specs:
        fact = facts.get(spec.name)
        if spec.name in hidden:
            continue
        if fact is None:
            why = "it was deleted: put the subscription again, which makes it"
            report.refusals.append(Finding(spec.name, "partitions", "0", str(spec.partitions), why))
            continue
        for setting in spec.settings:
            if fact.config and setting.rule is Rule.MUST_EQUAL:
                compare_setting(report, fact, setting)
        if spec.role is Role.ACKS and fact.partitions > spec.partitions:
            found, needed = str(fact.partitions), str(spec.partitions)
            report.refusals.append(Finding(spec.name, "partitions", found, needed, UNREAD_ANSWERS))
        if spec.role is Role.SUBSCRIBERS and fact.partitions > spec.partitions:
            found, needed = str(fact.partitions), str(spec.partitions)
            report.warnings.append(Finding(spec.name, "partitions", found, needed, UNUSED))
    return report


async def _require_kept(admin: AIOKafkaAdminClient, settings: Settings, names: Sequence[str]) -> None:
    """Hold the topics that are there to what a new one would be made with.

    Raises:
        Refused: one drops events by their age (409), or its settings may not be read (403).
    """
    try:
        facts = await topic_facts(admin, settings, names)
    except NotPermittedError as error:
        raise Refused(403, "topic_not_permitted", str(error)) from error
    setting = KEPT_FOR_GOOD
    for name, each in facts.items():
        found = each.config.get(setting.name, "not set")
        if found != setting.value:
            what = f"retention: {name} is there with {setting.name} {found}: set it to {setting.value}"
            raise Refused(409, "retention_differs", what)
