"""Administers subscriptions: what the command line and the API ask for, straight on Kafka.

Each change fences the other writers of the topic, reads it to its end, and is one transaction: two administrators never
overwrite each other. Whoever is fenced meanwhile tries once more.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec

from annals.agents.ports import UncertainError
from annals.agents.publishing.administration import (
    Change,
    Refused,
    compiled_filters,
    definition_of,
    deleted,
    etag_of,
    kinds_of,
    newest_versions,
    posts_to,
    pruned,
    put,
    require_etag,
    require_stored,
    with_status,
)
from annals.agents.publishing.members import member_problems
from annals.agents.publishing.ports import Kept
from annals.agents.publishing.records import former_versions
from annals.agents.waiting import all_of, together
from annals.schemas.subscription import STREAM, UNLIMITED
from annals.topics.catalog import SUBSCRIPTION_TOPIC_BYTES
from annals.workers.kafka.write.failures import reaching
from annals.workers.publishing.followed_writer import Answered, changed_by
from annals.workers.publishing.kafka_subscriptions import KafkaSubscriptions
from annals.workers.publishing.places import Places, connected
from annals.workers.publishing.subscriber_topics import create_missing
from annals.workers.publishing.subscriptions_topic import SubscriptionsWriter, read_known, there
from annals.workers.webhooks.wiring import rules

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from aiokafka.client import AIOKafkaClient

    from annals.agents.deciding.decider import Decider
    from annals.schemas.data.complaints import Problem
    from annals.schemas.subscription import Definition, Positions, Record
    from annals.workers.publishing.compacted_views import CompactedViews
    from annals.workers.settings import Settings


ROOM_BYTES: Final = 64 << 10  # of a record
ANSWERED_AT_ONCE: Final = 8  # of a page


class SubscriptionService(KafkaSubscriptions):
    """Puts, shows, pauses, resumes and deletes subscriptions."""

    def __init__(
        self,
        settings: Settings,
        options: Mapping[str, Any],
        deciders: Mapping[str, Decider[Any]],
        views: CompactedViews | None = None,
    ) -> None:
        """Take the settings, aiokafka client options, the kinds that there are, and what others have read."""
        super().__init__(settings, options, deciders, views)
        self._one_changes = asyncio.Lock()  # or requests to one worker would fence one another
        self._webhooks = rules(settings)

    async def page(self, after: str = "", limit: int | None = None) -> tuple[list[Answered], bool]:
        """Return those that are not deleted by name, from behind one on, and whether there are no more."""
        async with self._places() as (places, known):
            wanted = [kept for name, kept in sorted(known.items()) if name > after and _is_there(kept)]
            shown = wanted[:limit]
            definitions = (kept.record.definition for kept in shown)
            answering = (self._names.deliveries(each.name) for each in definitions if each.delivery != STREAM)
            await places.look_for(*answering)
            answered: dict[int, Answered] = {}

            async def answer(at: int, kept: Kept) -> None:
                answered[at] = await self._answered(places, kept)

            await all_of((partial(answer, at, kept) for at, kept in enumerate(shown)), ANSWERED_AT_ONCE)
            return [answered[at] for at in range(len(shown))], len(shown) == len(wanted)

    async def get(self, name: str) -> Answered:
        """Return one.

        Raises:
            Refused: there is none (404).
        """
        async with self._places() as (places, known):
            return await self._answered(places, there(known, name))

    async def put(self, name: str, body: Mapping[str, Any], if_match: str | None = None) -> Answered:
        """Make one or change it.

        Raises:
            Refused: 403, 409, 412, 422 or 503.
        """
        held = await compiled_filters(name, body)
        definition = definition_of(name, body, self._deciders, self._webhooks)
        del held

        async def change(places: Places, known: Mapping[str, Kept]) -> Change:
            kept = known.get(name)
            kinds = kinds_of(definition, self._deciders)
            begin = await places.begin(definition, kinds)
            await self._require_versions(places, definition, kept, begin)
            require_etag(kept, if_match)
            ends = await places.ends(list(self._deciders))
            has_topic = await places.has_topic(self._names.subscribers(name))
            # Of one that there never was nothing is published, so that nobody's transaction can say how far it is.
            passed = {} if kept is None else await places.passed(name, list(self._deciders))
            made = put(kept, definition, begin, ends, passed, has_topic=has_topic)
            settled = passed
            if made.record.former:  # else no row need be read for it
                settled = await places.settled(name, passed, made.record)

            def record_at(ends: Positions) -> Record:
                changed = put(kept, definition, begin, ends, passed, has_topic=has_topic)
                return pruned(changed.record, settled)

            record = record_at(ends)
            _require_room(record)
            await create_missing(
                self._settings,
                name,
                await places.partitions(kinds[0]),
                with_deliveries=definition.delivery != STREAM,
                is_kept=definition.retention == UNLIMITED,
            )
            if kept is None or made.record.former == kept.record.former:
                return made._replace(record=record)
            return made._replace(record=record, was=kept.record, record_at=record_at)

        await self._until_settled(name)
        return await self._change(change)

    async def _until_settled(self, name: str) -> None:
        """Wait until it is certain how far a subscription is, before others are kept from making changes: it may last.

        Raises:
            Refused: it lasts too long (503).
        """
        async with connected(self._options, self._names.subscriptions, self._names.progress) as client:
            if name in await read_known(client, self._names, self._views, is_settled=False):
                await Places(client, self._names, self._views).passed(name, ())

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

    async def pause(
        self, name: str, reason: str | None = None, endpoint: str | None = None, offset: int | None = None
    ) -> Answered:
        """Publish nothing more for one, until it is resumed; it goes on where it stopped.

        endpoint: the URL that is why; offset: of the record that is why. One that posts to another, or is another, by
        now is left as it is.
        """

        def paused(kept: Kept, _: Positions) -> Record:
            is_meant = (endpoint is None or posts_to(kept.record, endpoint)) and offset in {None, kept.offset}
            return with_status(kept.record, "paused", reason) if is_meant else kept.record

        return await self._with(name, paused)

    async def resume(self, name: str) -> Answered:
        """Go on with one that is paused."""
        return await self._with(name, lambda kept, _: with_status(kept.record, "active"))

    async def delete(self, name: str, if_match: str | None = None) -> None:
        """Delete one; its topic stays, and its name goes on from there when it is put again."""
        await self._with(name, lambda kept, passed: deleted(kept.record, passed), if_match)

    async def _with(
        self, name: str, change: Callable[[Kept, Positions], Record], if_match: str | None = None
    ) -> Answered:
        async def changed(places: Places, known: Mapping[str, Kept]) -> Change:
            kept = there(known, name)
            if if_match is not None:
                require_etag(kept, if_match)
            return Change(change(kept, await places.passed(name, list(self._deciders))), {}, is_new=False)

        return await self._change(changed, is_settled=False)

    async def _change(
        self, change: Callable[[Places, Mapping[str, Kept]], Awaitable[Change]], *, is_settled: bool = True
    ) -> Answered:
        """Make a change as the only writer, and answer with the record as it is read back.

        is_settled: see `Places`; how far a subscription is decides nothing where it is only paused, resumed or deleted.
        """
        written: list[Change] = []  # the last one is made, or may be: its result is looked for

        async def made_by(writer: SubscriptionsWriter) -> Answered:
            client = await writer.fence()
            known = await read_known(client, self._names, self._views)
            if written and _is_made(written[-1], known):
                made = written[-1]
            else:
                places = Places(client, self._names, self._views, is_settled=is_settled)
                await places.look_for(*map(self._names.events, self._deciders))
                made = await change(places, known)
                before = known.get(made.record.definition.name)
                if before is not None and made.record is before.record:  # it is left as it is
                    return await self._answered(places, before)
                acks = await places.answered_until(made.record.definition.name) if made.begins else []
                changes = [made]
                try:
                    await self._commit(writer, client, changes, acks)
                except UncertainError:
                    written.append(changes[-1])
                    raise
                written.append(changes[-1])
            with reaching("the brokers, of what was changed"):
                known = await read_known(client, self._names, self._views)
                kept = known.get(made.record.definition.name)
                places = Places(client, self._names, self._views, is_settled=False)
                answered = await self._answered(places, kept or Kept(made.record, -1), made.begins)
            return answered._replace(is_new=made.is_new)

        group = self._names.publishing_group(self._settings.app_id)
        async with self._one_changes:
            return await changed_by(lambda: SubscriptionsWriter(self._options, self._names, group), made_by)

    async def _commit(
        self, writer: SubscriptionsWriter, client: AIOKafkaClient, changes: list[Change], acks: list[int]
    ) -> None:
        """Write the change that is in `changes`; what was written last is added to it.

        Where another definition holds from the ends of the journals, these are asked for once the topic shows that
        something is being written. Whoever publishes reads events, then waits for that: so nothing behind these ends
        is judged by the former definition.
        """
        made = changes[-1]
        if made.was is None or (record_at := made.record_at) is None:
            await writer.commit(made.record, made.begins, acks)
            return

        async def at_the_ends() -> Record:
            ends = await Places(client, self._names, self._views).ends(list(self._deciders))
            changes.append(made._replace(record=record_at(ends)))
            return changes[-1].record

        await writer.commit(made.was, made.begins, acks, at_the_ends)

    @asynccontextmanager
    async def _places(self) -> AsyncIterator[tuple[Places, Mapping[str, Kept]]]:
        """Connect for one request, and ask at once for what each needs."""
        needed = self._names.subscriptions, self._names.progress
        async with connected(self._options, *needed, *map(self._names.events, self._deciders)) as client:
            places = Places(client, self._names, self._views, is_settled=False)
            await places.require_topics(*needed)
            reading = read_known(client, self._names, self._views, is_settled=False)
            known, _ = await together(reading, places.ask(list(self._deciders)))
            yield places, known

    async def _answered(self, places: Places, kept: Kept, begins: Positions | None = None) -> Answered:
        record, name = kept.record, kept.record.definition.name
        kinds = kinds_of(record.definition, self._deciders)
        positions = await places.positions(name, kinds, record.incarnation, begins)
        body = {
            **msgspec.to_builtins(record.definition),
            "reason": record.reason,
            "positions": positions,
            "lag": (await places.lag(positions))._asdict(),
            "deliveries": None,
            "warnings": [{"path": path, "message": message} for path, message in self.warnings(record.definition)],
            "topics": self._topics(record.definition),
        }
        if record.definition.delivery != STREAM:
            body["deliveries"] = await places.unsettled(self._names.deliveries(name), record.incarnation)
        return Answered(body, etag_of(kept))

    def warnings(self, definition: Definition) -> list[Problem]:
        """Return what a subscription asks for in vain, as far as this release knows."""
        return member_problems(definition, self._deciders)

    def _topics(self, definition: Definition) -> list[str]:
        names, name = self._names, definition.name
        more = [] if definition.delivery == STREAM else [names.acks(name), names.parked(name), names.deliveries(name)]
        return [names.subscribers(name), *more]


def _is_made(change: Change, known: Mapping[str, Kept]) -> bool:
    kept = known.get(change.record.definition.name)
    return kept is not None and kept.record == change.record


def _require_room(record: Record) -> None:
    """Hold a record to what the topic takes, with room for why it is paused and where it was deleted.

    Raises:
        Refused: it is too large (422).
    """
    most = SUBSCRIPTION_TOPIC_BYTES - ROOM_BYTES
    if (needed := len(msgspec.json.encode(record))) > most:
        what = f"filters: {record.definition.name} would be a record of {needed:,} bytes, and {most:,} are taken"
        if record.former:
            what += f", {len(record.former)} former definitions among them: until what they judge is settled"
        raise Refused(422, "invalid_subscription", what, [("filters", "are too large")])


def _is_there(kept: Kept) -> bool:
    return not kept.record.is_deleted
