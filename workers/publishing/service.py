"""Administers subscriptions: what the command line and the API ask for, straight on Kafka.

Each change fences the other writers of the topic, reads it to its end, and is one transaction: two administrators never
overwrite each other. Whoever is fenced meanwhile tries once more.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
from aiokafka.errors import KafkaError

from annals.agents.ports import FencedError, UncertainError, UnreachableError
from annals.agents.publishing.administration import (
    Change,
    Refused,
    definition_of,
    deleted,
    etag_of,
    kinds_of,
    newest_versions,
    pruned,
    put,
    require_etag,
    require_stored,
    with_status,
)
from annals.agents.publishing.ports import Kept
from annals.agents.publishing.records import former_versions
from annals.schemas.subscription import STREAM
from annals.topics.names import TopicNames
from annals.workers.kafka.connections import connect
from annals.workers.publishing.places import Places
from annals.workers.publishing.progress_topic import settled_end
from annals.workers.publishing.subscriber_topics import create_missing
from annals.workers.publishing.subscriptions_topic import SubscriptionsWriter, read_all
from annals.workers.webhooks.wiring import rules

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from annals.agents.deciding.decider import Decider
    from annals.schemas.subscription import Definition, Positions, Record
    from annals.workers.settings import Settings

ATTEMPTS: Final = 2


class Answered(NamedTuple):
    """A subscription as it is answered. etag: without quotes; is_new: it was made by this request."""

    body: dict[str, Any]
    etag: str
    is_new: bool = False


class SubscriptionService:
    """Puts, shows, pauses, resumes and deletes subscriptions."""

    def __init__(self, settings: Settings, options: Mapping[str, Any], deciders: Mapping[str, Decider[Any]]) -> None:
        """Take the settings, aiokafka client options and the kinds that there are."""
        self._settings = settings
        self._options = options
        self._deciders = deciders
        self._names = TopicNames(settings.topic_prefix)
        self._webhooks = rules(settings)

    async def page(self, after: str = "", limit: int | None = None) -> tuple[list[Answered], bool]:
        """Return those that are not deleted by name, from behind one on, and whether there are no more."""
        async with self._places() as (places, known):
            wanted = [kept for name, kept in sorted(known.items()) if name > after and _is_there(kept)]
            return [await self._answered(places, kept) for kept in wanted[:limit]], len(wanted[:limit]) == len(wanted)

    async def get(self, name: str) -> Answered:
        """Return one.

        Raises:
            Refused: there is none (404).
        """
        async with self._places() as (places, known):
            return await self._answered(places, _there(known, name))

    async def put(self, name: str, body: Mapping[str, Any], if_match: str | None = None) -> Answered:
        """Make one or change it.

        Raises:
            Refused: 403, 409, 412, 422 or 503.
        """
        definition = definition_of(name, body, self._deciders, self._webhooks)

        async def change(places: Places, known: Mapping[str, Kept]) -> Change:
            kept = known.get(name)
            require_etag(kept, if_match)
            kinds = kinds_of(definition, self._deciders)
            begin = await places.begin(definition, kinds)
            await self._require_versions(places, definition, kept, begin)
            ends = await places.ends(list(self._deciders))
            has_topic = await places.has_topic(self._names.subscribers(name))
            made = put(kept, definition, begin, ends, has_topic=has_topic)
            await create_missing(
                self._settings,
                name,
                await places.partitions(kinds[0]),
                with_deliveries=definition.delivery != STREAM,
            )
            return made._replace(record=pruned(made.record, await places.passed(name, list(self._deciders))))

        return await self._change(change)

    async def _require_versions(
        self, places: Places, definition: Definition, kept: Kept | None, begin: Positions
    ) -> None:
        """Hold former schema versions that are asked for, and were not before, to what the journals have.

        Raises:
            Refused: one cannot be had (422).
        """
        was = None if kept is None else kept.record.definition.schema_version
        former = former_versions(definition, newest_versions(definition, self._deciders))
        if former and definition.schema_version != was:
            stored = await places.latest_versions(begin, former)
            require_stored(definition, stored, self._deciders)

    async def pause(self, name: str, reason: str | None = None) -> Answered:
        """Publish nothing more for one, until it is resumed; it goes on where it stopped."""
        return await self._with(name, lambda record, _: with_status(record, "paused", reason))

    async def resume(self, name: str) -> Answered:
        """Go on with one that is paused."""
        return await self._with(name, lambda record, _: with_status(record, "active"))

    async def delete(self, name: str, if_match: str | None = None) -> None:
        """Delete one; its topic stays, and its name goes on from there when it is put again."""
        await self._with(name, deleted, if_match)

    async def _with(
        self, name: str, change: Callable[[Record, dict[str, list[int]]], Record], if_match: str | None = None
    ) -> Answered:
        async def changed(places: Places, known: Mapping[str, Kept]) -> Change:
            kept = _there(known, name)
            if if_match is not None:
                require_etag(kept, if_match)
            return Change(change(kept.record, await places.passed(name, list(self._deciders))), {}, is_new=False)

        return await self._change(changed)

    async def _change(self, change: Callable[[Places, Mapping[str, Kept]], Awaitable[Change]]) -> Answered:
        """Make a change as the only writer, and answer with the record as it is read back."""
        for attempt in range(ATTEMPTS):
            writer = SubscriptionsWriter(
                self._options, self._names, self._names.publishing_group(self._settings.app_id)
            )
            try:
                known = await writer.begin()
                places = Places(await writer.client(), self._names)
                made = await change(places, known)
                await writer.commit(made.record, made.begins)
                name = made.record.definition.name
                where = (self._names.subscriptions, 0)
                client = await writer.client()
                kept = (await read_all(client, where, -1, await settled_end(client, where)))[name]
                answered = await self._answered(Places(client, self._names), kept or Kept(made.record, -1))
                return answered._replace(is_new=made.is_new)
            except (FencedError, UncertainError, UnreachableError) as error:
                if attempt == ATTEMPTS - 1:
                    raise Refused(503, "not_ready", f"the change may not have been made: {error}") from error
            finally:
                await writer.close()
        raise AssertionError  # the last attempt returns or raises

    @asynccontextmanager
    async def _places(self) -> AsyncIterator[tuple[Places, dict[str, Kept]]]:
        client = await connect(self._options, [])
        try:
            places = Places(client, self._names)
            await places.require_topics(self._names.subscriptions, self._names.progress)
            where = (self._names.subscriptions, 0)
            found = await read_all(client, where, -1, await settled_end(client, where))
            yield places, {name: kept for name, kept in found.items() if kept is not None}
        except (KafkaError, UnreachableError) as error:
            raise Refused(503, "not_ready", f"{type(error).__name__}: {error}") from error
        finally:
            await client.close()

    async def _answered(self, places: Places, kept: Kept) -> Answered:
        record, name = kept.record, kept.record.definition.name
        kinds = kinds_of(record.definition, self._deciders)
        positions = await places.positions(name, kinds, record.incarnation)
        body = {
            **msgspec.to_builtins(record.definition),
            "reason": record.reason,
            "positions": positions,
            "lag": (await places.lag(positions))._asdict(),
            "deliveries": None,
            "topics": self._topics(record.definition),
        }
        if record.definition.delivery != STREAM:
            body["deliveries"] = await places.unsettled(self._names.deliveries(name), record.incarnation)
        return Answered(body, etag_of(kept))

    def _topics(self, definition: Definition) -> list[str]:
        names, name = self._names, definition.name
        more = [] if definition.delivery == STREAM else [names.acks(name), names.parked(name), names.deliveries(name)]
        return [names.subscribers(name), *more]


def _is_there(kept: Kept) -> bool:
    return not kept.record.is_deleted


def _there(known: Mapping[str, Kept], name: str) -> Kept:
    kept = known.get(name)
    if kept is None or kept.record.is_deleted:
        raise Refused(404, "not_found", f"there is no subscription {name!r}")
    return kept
