"""The topics of a subscriber: made when it subscribes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiokafka.admin import NewTopic

from annals.agents.publishing.administration import Refused
from annals.topics.catalog import catalogue
from annals.topics.spec import Role
from annals.workers.kafka.admin.cluster import administration
from annals.workers.kafka.admin.creation import create_topics

if TYPE_CHECKING:
    from annals.workers.settings import Settings

OF_SUBSCRIBERS: Final = (Role.SUBSCRIBERS, Role.ACKS, Role.PARKED, Role.DELIVERIES)


async def create_missing(settings: Settings, name: str, partitions: int, *, with_deliveries: bool = False) -> None:
    """Create the topics of a subscriber that are missing; with_deliveries: of one that answers, too.

    Raises:
        Refused: the brokers do not permit it (403), or refuse it (503).
    """
    specs = catalogue(
        settings.topic_prefix,
        partitions,
        settings.replication_factor,
        kinds=(),
        subscribers=(name,),
        with_deliveries=with_deliveries,
    )
    wanted = {spec.name: spec for spec in specs if spec.role in OF_SUBSCRIBERS}
    async with administration(settings) as admin:
        there = set(await admin.list_topics())
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
