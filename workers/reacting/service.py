"""Shows, pauses and resumes reactions, for the command line and the API."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from annals.agents.publishing.administration import Refused
from annals.agents.reacting.ports import BEGIN_ANEW
from annals.schemas.progress import Progress, reaction_name, rekeying_name
from annals.schemas.reaction_rows import ACTIVE, PAUSED, Control, decode_timer, parse_row_key
from annals.schemas.suggestion import with_known
from annals.topics.names import TopicNames
from annals.workers.kafka.connections import MissingTopicError
from annals.workers.publishing.compacted_views import CompactedViews
from annals.workers.publishing.followed_writer import Answered, changed_by
from annals.workers.publishing.places import Places, connected
from annals.workers.reacting.controls_topic import ControlsWriter, read_controls
from annals.workers.reacting.foreign import foreign_problem, unknown_deployment
from annals.workers.settings import foreign_deployments

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from aiokafka.client import AIOKafkaClient

    from annals.agents.reacting.ports import Kept
    from annals.agents.reactions.reaction import Reaction
    from annals.workers.settings import ForeignDeployment, Settings

NEVER_RESUMED: Final = "nobody has resumed it yet"
NO_PROGRESS: Final[Mapping[int, Progress]] = MappingProxyType({})


class ReactionService:
    """Asks and writes the topics alone; no worker needs to run."""

    def __init__(
        self,
        settings: Settings,
        options: Mapping[str, Any],
        reactions: Mapping[str, Reaction[Any]],
        views: CompactedViews | None = None,
    ) -> None:
        """Take the settings, aiokafka client options, the reactions that there are, and what others have read."""
        self._settings = settings
        self._options = options
        self._reactions = reactions
        self._names = TopicNames(settings.topic_prefix)
        self._foreign = foreign_deployments(settings)
        self._one_changes = asyncio.Lock()  # or requests to one worker would fence one another
        self._views = views or CompactedViews()

    async def all(self) -> list[Answered]:
        """Return all, by name."""
        async with connected(self._options) as client:
            places = Places(client, self._names, self._views, is_settled=False)
            controls = await self._controls(client, places)
            return [
                await self._answered(places, reaction, controls.get(name))
                for name, reaction in sorted(self._reactions.items())
            ]

    async def get(self, name: str) -> Answered:
        """Return one, with its timers.

        Raises:
            Refused: there is none (404).
        """
        reaction = self._known(name)
        async with connected(self._options) as client:
            places = Places(client, self._names, self._views, is_settled=False)
            controls = await self._controls(client, places)
            answered = await self._answered(places, reaction, controls.get(name))
            return answered._replace(body={**answered.body, "timers": await self._timers(client, places, reaction)})

    async def pause(self, name: str, reason: str | None = None) -> Answered:
        """Have one neither react nor fire timers until it is resumed; it goes on where it stopped."""
        return await self._set(self._known(name), Control(PAUSED, reason))

    async def resume(self, name: str) -> Answered:
        """Have one react: from where it stopped, and the first time to what comes from now on."""
        return await self._set(self._known(name), Control(ACTIVE))

    def _known(self, name: str) -> Reaction[Any]:
        if name not in self._reactions:
            raise Refused(404, "not_found", with_known("there is no reaction", name, self._reactions))
        return self._reactions[name]

    async def _set(self, reaction: Reaction[Any], control: Control) -> Answered:
        """Write it as the only writer, and answer with the record as it is read back."""

        async def made_by(writer: ControlsWriter) -> Answered:
            client = await writer.fence()
            begins = await self._begins(client, reaction) if control.status == ACTIVE else {}
            await writer.commit(control, begins, self._topic(reaction) if begins else "")
            places = Places(client, self._names, self._views, is_settled=False)
            controls = await self._controls(client, places)
            return await self._answered(places, reaction, controls.get(reaction.name), begins)

        app_id = self._settings.app_id
        async with self._one_changes:
            names = reaction.name, _progress_name(reaction)
            return await changed_by(lambda: ControlsWriter(self._options, self._names, app_id, *names), made_by)

    async def _begins(self, client: AIOKafkaClient, reaction: Reaction[Any]) -> dict[int, Progress]:
        """Return where it begins in the partitions in which it never ran: quiet up to their ends.

        Only where it seems to begin are transactions waited for that may say otherwise; not where nobody has resumed it
        yet: its first progress comes with its first record.

        Raises:
            Refused: the deployment to whose events it reacts is not known, or does not answer (503).
        """
        begins: dict[int, Progress] = {}
        is_first = False
        for is_settled in (False, True):
            places = Places(client, self._names, self._views, is_settled=is_settled)
            if not is_settled:
                is_first = reaction.name not in await self._controls(client, places)
            known = await self._progress(places, reaction)
            async with self._journals(places, reaction) as journals:
                ends = (await journals.ends([reaction.kind]))[reaction.kind]
            begins = {
                partition: Progress(0, version=reaction.version, quiet_until=end)
                for partition, end in enumerate(ends)
                if partition not in known
            }
            if is_first or not begins:
                break
        return begins

    async def _answered(
        self, places: Places, reaction: Reaction[Any], kept: Kept | None, begins: Mapping[int, Progress] = NO_PROGRESS
    ) -> Answered:
        """Return it as it is; begins: progress that was just written, perhaps behind a transaction that is open yet."""
        is_known = reaction.deployment is None or reaction.deployment in self._foreign
        progress = {**begins, **(await self._progress(places, reaction) if is_known else {})}
        known = {at: each.position for at, each in progress.items()}
        count, behind, problem = max(known, default=-1) + 1, None, None
        try:
            async with self._journals(places, reaction) as journals:
                count = await journals.partitions(reaction.kind)
                lag = await journals.lag({reaction.kind: [known.get(at) for at in range(count)]})
                behind = lag.events
                problem = _lost(known, (await journals.ends([reaction.kind]))[reaction.kind])
        except Refused as refused:
            if reaction.deployment is None:
                raise
            problem = str(refused)  # of another deployment; the others are shown all the same
        positions = {reaction.kind: [known.get(at) for at in range(count)]}
        failed = _failed(reaction.kind, progress, reaction.version)
        if reaction.rekeyed:
            stream = await self._stream(places, reaction)
            positions[f"rekeyed.{reaction.name}"] = stream.positions
            behind = None if behind is None else behind + stream.behind
            problem = problem or stream.problem
            failed += stream.failed
        control = Control(PAUSED, NEVER_RESUMED) if kept is None else kept.control
        body = {
            "name": reaction.name,
            "version": reaction.version,
            "kind": reaction.kind,
            "deployment": reaction.deployment,
            "status": control.status,
            "reason": "; ".join(filter(None, (control.reason, problem))) or None,
            "positions": positions,
            "lag": {"events": behind},
            "failed": failed,
        }
        return Answered(body, "none" if kept is None else str(kept.offset))  # the first record is at offset 0

    async def _stream(self, places: Places, reaction: Reaction[Any]) -> _Stream:
        """Return how far a re-keyed reaction is in its stream."""
        topic = self._names.rekeyed(reaction.name)
        progress = await places.progress_of(reaction_name(reaction.name), topic)
        ends = await places.ends_of(topic)
        known = {at: each.position for at, each in progress.items()}
        behind = 0
        for at, end in enumerate(ends):
            behind += (await places.behind(reaction.kind, TopicPartition(topic, at), known.get(at, 0), end)).events
        positions = [known.get(at) for at in range(len(ends))]
        failed = _failed(f"rekeyed.{reaction.name}", progress, reaction.version)
        return _Stream(positions, behind, _lost(known, ends, "its stream"), failed)

    async def _progress(self, places: Places, reaction: Reaction[Any]) -> dict[int, Progress]:
        """Return its progress by partition of the journal; places: of this deployment."""
        return await places.progress_of(_progress_name(reaction), self._topic(reaction))

    def _topic(self, reaction: Reaction[Any]) -> str:
        """Return the journal that it reacts to, which may be another deployment's.

        Raises:
            Refused: that deployment is not known here (503).
        """
        if reaction.deployment is None:
            return self._names.events(reaction.kind)
        return TopicNames(self._other(reaction.deployment).topic_prefix).events(reaction.kind)

    def _other(self, deployment: str) -> ForeignDeployment:
        if deployment not in self._foreign:
            raise Refused(503, "not_ready", unknown_deployment(deployment, self._foreign))
        return self._foreign[deployment]

    @asynccontextmanager
    async def _journals(self, places: Places, reaction: Reaction[Any]) -> AsyncIterator[Places]:
        """Return the places of the deployment to whose events it reacts.

        Raises:
            Refused: it is not known, or does not answer (503).
        """
        if reaction.deployment is None:
            yield places
            return
        other = self._other(reaction.deployment)
        try:
            async with connected(other.options(self._options)) as client:
                yield Places(client, TopicNames(other.topic_prefix))
        except (KafkaError, Refused, MissingTopicError) as error:
            cause = error.__cause__ if isinstance(error, Refused) and error.__cause__ is not None else error
            raise Refused(503, "not_ready", self._said(reaction.deployment, cause)) from error

    def _said(self, deployment: str, error: BaseException) -> str:
        return foreign_problem(deployment, self._foreign, self._options, error)

    async def _controls(self, client: AIOKafkaClient, places: Places) -> dict[str, Kept]:
        return await read_controls(client, self._names) if await places.has_topic(self._names.reactions) else {}

    async def _timers(self, client: AIOKafkaClient, places: Places, reaction: Reaction[Any]) -> dict[str, Any]:
        topic = self._names.timers(reaction.name)
        if not await places.has_topic(topic):
            return {"pending": 0, "next_due": None}
        rows = await self._views.rows(client, topic, _due, is_settled=False)
        count = sum(map(len, rows))
        return {"pending": count, "next_due": min((due for each in rows for due in each.values()), default=None)}


def _due(key: bytes | None, value: bytes, _offset: int) -> str | None:
    """Return when the timer is due that a record says; None: it is a state. ValueError: it is neither."""
    _, timer = parse_row_key(key)
    return None if timer is None else decode_timer(value).due


class _Stream(NamedTuple):
    """How far a reaction is in its stream. problem: which partitions lost their end; failed: as it is answered."""

    positions: list[int | None]
    behind: int
    problem: str | None
    failed: list[dict[str, Any]]


def _failed(kind: str, progress: Mapping[int, Progress], version: int) -> list[dict[str, Any]]:
    """Return in which partitions a reaction of a version does not go on, and why."""
    found = []
    for partition, each in sorted(progress.items()):
        reason = each.failure
        if each.version > version:
            reason = f"version {each.version} has run here, and this release has version {version}: run the newer one"
        if reason:
            found.append({"kind": kind, "partition": partition, "reason": reason})
    return found


def _progress_name(reaction: Reaction[Any]) -> str:
    """Return what stands in the keys of progress for how far a journal is reacted to, or copied to a stream."""
    return rekeying_name(reaction.name) if reaction.rekeyed else reaction_name(reaction.name, reaction.deployment)


def _lost(known: Mapping[int, int], ends: Sequence[int], what: str = "the journal") -> str | None:
    """Say which partitions end before what was reacted to; None: none does."""
    lost = [f"partition {at} up to {position}" for at, position in sorted(known.items()) if position > _end(ends, at)]
    if not lost:
        return None
    return (
        f"it reacted to events that {what} has no more ({', '.join(lost)}): its end was cut off, or it was made "
        f"anew. Nothing is reacted to there. Restore it; {BEGIN_ANEW}"
    )


def _end(ends: Sequence[int], partition: int) -> int:
    return ends[partition] if partition < len(ends) else 0
