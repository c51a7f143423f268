"""Creates the topics of the catalogue, and says where those that exist differ from it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from aiokafka.admin import NewTopic
from aiokafka.errors import InvalidReplicationFactorError

from annals.topics.catalog import catalogue
from annals.topics.spec import NEEDED_TO_READ, NEEDED_TO_WRITE, USED_TO_READ, Role
from annals.workers.kafka.admin.cluster import (
    BrokersUnreachableError,
    NotPermittedError,
    TopicFacts,
    administration,
    hidden_topics,
    not_visible,
    topic_facts,
)
from annals.workers.kafka.admin.creation import create_topics
from annals.workers.kafka.admin.findings import INTERNAL_TOPICS, Finding, Report, compare
from annals.workers.kafka.admin.probes import probe
from annals.workers.registry import deciders, reactions, streams
from annals.workers.settings import WRITE, SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aiokafka.admin import AIOKafkaAdminClient

    from annals.topics.spec import TopicSpec
    from annals.workers.kafka.admin.creation import Refusal
    from annals.workers.settings import Settings

__all__ = [
    "BrokersUnreachableError",
    "Finding",
    "NotPermittedError",
    "Report",
    "check",
    "check_by_roles",
    "check_for_reading",
    "create",
    "require_settled",
    "specs",
]

VISIBLE_WITHIN_S: Final = 15
LOOK_S: Final = 0.05


def specs(settings: Settings) -> tuple[TopicSpec, ...]:
    """Return the topics that these settings call for: of all kinds that are registered."""
    known = reactions()
    return catalogue(
        settings.topic_prefix,
        settings.partitions,
        settings.replication_factor,
        kinds=tuple(deciders()),
        reactions={name: reaction.kind for name, reaction in known.items()},
        rekeyed={name: stream.kind for name, stream in streams().items()},
    )


async def check(
    settings: Settings,
    *,
    probes: bool = False,
    first_offsets: bool = True,
    since: Report | None = None,
) -> Report:
    """Compare the topics on the brokers with the catalogue; with `probes`, try what the brokers can do as well.

    The report's `needed` is what a worker that decides needs. Topics that deciding does not need, and that the user may
    not see, are `hidden`: a worker whose rights are of an earlier release goes on without them.

    first_offsets: whether journals are looked at, too. since: as `compare`.

    Raises:
        BrokersUnreachableError: no broker answers, or a partition has no leader (a ConnectionError).
        NotPermittedError: the user may not read the topics' settings.
    """
    wanted = specs(settings)
    journals = [spec.name for spec in wanted if spec.role is Role.EVENTS and first_offsets]
    async with administration(settings) as admin:
        names = [*INTERNAL_TOPICS, *(spec.name for spec in wanted)]
        optional = [spec.name for spec in wanted if spec.role not in NEEDED_TO_WRITE]
        facts = await topic_facts(admin, settings, names, with_offsets=journals, optional=optional)
        report = compare(wanted, facts, settings.partitions, since=since)
        await _tell_hidden(admin, report, optional)
        if probes:
            await _try(admin, settings, report)
    return report


async def check_by_roles(settings: Settings) -> Report:
    """Compare what a worker of these roles compares before it starts, and try what the brokers can do.

    One that reads alone compares the journals; of what else it reads, it is only looked at whether it is there.

    Raises:
        NotPermittedError: as of `check`; or the worker is to create topics, and cannot see which.
        BrokersUnreachableError: as of `check`.
    """
    decides = settings.has(WRITE)
    report = await (check(settings, probes=True) if decides else _check_reading_alone(settings))
    if report.hidden and settings.create_topics and (decides or report.needed):
        raise not_visible(report.hidden)
    return report


async def _check_reading_alone(settings: Settings) -> Report:
    report = await check_for_reading(settings)
    others = [spec.name for spec in specs(settings) if spec.role in USED_TO_READ - NEEDED_TO_READ]
    async with administration(settings) as admin:
        facts = await topic_facts(admin, settings, others, optional=others, needs_settings=False)
        report.missing += [name for name in others if name not in facts]
        await _tell_hidden(admin, report, others)
        await _try(admin, settings, report)
    return report


async def _tell_hidden(admin: AIOKafkaAdminClient, report: Report, optional: Sequence[str]) -> None:
    """Tell what the user may not see from what is missing."""
    report.hidden = await hidden_topics(admin, [name for name in optional if name in report.missing])
    report.missing = [name for name in report.missing if name not in report.hidden]


async def _try(admin: AIOKafkaAdminClient, settings: Settings, report: Report) -> None:
    found = await probe(admin, settings)
    report.probes = found.results
    report.refusals += found.refusals
    report.warnings += found.warnings


async def check_for_reading(settings: Settings, *, first_offsets: bool = True, since: Report | None = None) -> Report:
    """Compare the topics that reading needs with the catalogue, and no other: it needs no right to more.

    first_offsets, since: as `check`.

    Raises:
        BrokersUnreachableError: no broker answers, or a partition has no leader (a ConnectionError).
        NotPermittedError: the user may not read the topics' settings.
    """
    wanted = [spec for spec in specs(settings) if spec.role in NEEDED_TO_READ]
    journals = [spec.name for spec in wanted if spec.role is Role.EVENTS and first_offsets]
    async with administration(settings) as admin:
        facts = await topic_facts(admin, settings, [spec.name for spec in wanted], with_offsets=journals)
    return compare(wanted, facts, settings.partitions, NEEDED_TO_READ, since)


def require_settled(report: Report) -> Report:
    """Return a report, unless all that is refused may pass by itself: then a worker that starts looks again later.

    Raises:
        BrokersUnreachableError: so it is (a ConnectionError); the message says what is refused.
    """
    if report.refusals and len(report.passing) == len(report.refusals):
        first, *others = report.refusals
        raise BrokersUnreachableError(
            f"{first}{f' (and {len(others)} more like this)' if others else ''}. Not all of its replicas are in sync, "
            f"as while partitions are moved: looking again until they are, or the setting is right"
        )
    return report


async def create(settings: Settings) -> list[str]:
    """Create the topics that are missing, and return their names once the brokers know them.

    Raises:
        BrokersUnreachableError: no broker answers.
        NotPermittedError: the brokers refuse to create one; the message has their reason.
        SettingsError: there are not as many brokers as ANNALS_REPLICATION_FACTOR asks for.
    """
    wanted = specs(settings)
    names = [spec.name for spec in wanted]
    async with administration(settings) as admin:
        facts = await topic_facts(admin, settings, names)
        missing = [spec for spec in wanted if spec.name not in facts]
        if not missing:
            return []
        topics = [
            NewTopic(spec.name, _partitions(spec, wanted, facts), spec.replication_factor, topic_configs=spec.config)
            for spec in missing
        ]
        created, refusals = await create_topics(admin, topics)
        for refusal in refusals:
            raise _why_not(refusal, settings)
        await _await_visible(admin, settings, names)
        return created


def _partitions(spec: TopicSpec, wanted: tuple[TopicSpec, ...], facts: Mapping[str, TopicFacts]) -> int:
    """Return the number that its kind's topics have already, the journal's first; else the catalogue's."""
    siblings = [each for each in wanted if spec.kind is not None and each.kind == spec.kind and each.name in facts]
    siblings.sort(key=lambda each: each.role is not Role.EVENTS)
    return facts[siblings[0].name].partitions if siblings else spec.partitions


def _why_not(refusal: Refusal, settings: Settings) -> Exception:
    if refusal.error is InvalidReplicationFactorError:
        return SettingsError(f"ANNALS_REPLICATION_FACTOR: {settings.replication_factor} is more than there are brokers")
    if refusal.error.retriable:  # of the cluster's state, and no answer to the wish
        return BrokersUnreachableError(f"{refusal}; ask again later")
    return NotPermittedError(str(refusal))


async def _await_visible(admin: AIOKafkaAdminClient, settings: Settings, names: list[str]) -> None:
    """Wait until every topic has leaders: a client that is faster would see none."""
    try:
        async with asyncio.timeout(VISIBLE_WITHIN_S):
            while True:
                try:
                    if len(await topic_facts(admin, settings, names)) == len(names):
                        return
                except BrokersUnreachableError:
                    pass  # No leaders yet.
                await asyncio.sleep(LOOK_S)
    except TimeoutError:
        raise BrokersUnreachableError("the topics were created, but have no leaders yet: look again later") from None
