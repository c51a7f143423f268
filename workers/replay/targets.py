"""Where replayed events go. None of the targets is a topic of commands: a replay never makes anybody decide."""

from __future__ import annotations

import asyncio
import inspect
from contextlib import asynccontextmanager
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from aiokafka import AIOKafkaProducer

from annals.agents.backoff import Backoff
from annals.agents.cancellation import is_task_cancelled
from annals.agents.publishing.records import form_of
from annals.schemas.cid import cid_text
from annals.schemas.dag_json import event_json
from annals.schemas.data.copies import copied
from annals.schemas.subscription import Definition
from annals.topics.catalog import SUBSCRIBER_TOPIC_BYTES
from annals.topics.keys import partition_of
from annals.topics.names import TopicNames
from annals.workers.kafka.connections import connect, creating_nothing
from annals.workers.replay.plan import HandlerFailedError, ReplayError
from annals.workers.settings import client_options

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from annals.agents.deciding.decider import EventSpec
    from annals.agents.reading.found import JournalEvent
    from annals.workers.replay.plan import Plan
    from annals.workers.settings import Settings

GROUP: Final = "annals.replay_handlers"
FIRST_WAIT_S: Final = 0.1
LAST_WAIT_S: Final = 10.0
IN_FLIGHT: Final = 1_000  # records of a partition that the brokers have not acknowledged
_NEWEST: Final = Definition(name="replay")


class Taken(NamedTuple):
    """What became of one event: lines for a file, and how often a handler failed on it."""

    lines: bytes = b""
    failures: int = 0


NOTHING: Final = Taken()


class Sink(Protocol):
    """Takes the events of one journal partition, in order."""

    async def take(self, event: JournalEvent, partition: int) -> Taken:
        """Take an event.

        Raises:
            HandlerFailedError: it cannot be taken, however often it is tried.
        """

    async def settle(self) -> None:
        """Return when all that was taken has arrived."""

    @property
    def is_settled(self) -> bool:
        """Whether all that was taken has arrived."""

    @property
    def takes_headers(self) -> bool:
        """Whether it wants the headers that are carried to subscribers: to look for them is an eighth of a replay."""


@asynccontextmanager
async def sinks(settings: Settings, plan: Plan) -> AsyncIterator[Callable[[], Sink]]:
    """Open the target of a plan, and give a function that returns a sink for one partition.

    Raises:
        ReplayError: there is no such handler, or no such topic, or an aggregate is registered wrongly.
        KafkaError: the brokers do not answer.
    """
    target = plan.target
    if target.topic is not None or target.handler is not None:
        _require_aggregates()
    if target.topic is not None:
        async with _topic_sinks(settings, target.topic) as make:
            yield make
    elif target.handler is not None:
        handle = load_handler(target.handler)
        yield lambda: HandlerSink(handle, plan.retries)
    else:
        yield LineSink if target.file is not None else NoSink


class NoSink:
    """Takes everything and does nothing: a dry run."""

    takes_headers = False

    async def take(self, event: JournalEvent, partition: int) -> Taken:  # noqa: ARG002 - the protocol's
        """Take an event."""
        return NOTHING

    async def settle(self) -> None:
        """Nothing is on its way."""

    @property
    def is_settled(self) -> bool:
        """Nothing is on its way."""
        return True


class LineSink(NoSink):
    """Makes the lines that `annals events` prints; whoever has the file appends them."""

    async def take(self, event: JournalEvent, partition: int) -> Taken:
        """Return an event's line."""
        return Taken(event_json(event.event, event.cid, partition, event.offset) + b"\n")


def load_handler(name: str) -> Callable[[dict[str, Any]], Any]:
    """Return the handler that an entry point names: a callable, or the method `handle` of an object or a new instance.

    Raises:
        ReplayError: there is none, it cannot be loaded, or it is no handler.
    """
    points = {point.name: point for point in entry_points(group=GROUP)}
    if name not in points:
        known = ", ".join(sorted(points)) or "none"
        raise ReplayError(f"there is no handler {name!r}: the entry points of {GROUP} are {known}")
    where = f"entry point {name} = {points[name].value} of {GROUP}"
    try:
        loaded = points[name].load()
        handler = loaded() if isinstance(loaded, type) else loaded
    except (Exception, SystemExit) as error:
        raise ReplayError(f"{where} cannot be loaded: {type(error).__name__}: {error}") from error
    handle = getattr(handler, "handle", handler)
    if not callable(handle):
        raise ReplayError(f"{where} is no handler: it can neither be called nor has it a method `handle`")
    found: Callable[[dict[str, Any]], Any] = handle
    return found


class HandlerSink(NoSink):
    """Calls a handler with each event, again after a failure, and with the next one only when it has returned."""

    def __init__(self, handle: Callable[[dict[str, Any]], Any], retries: int) -> None:
        """Take the handler, and how often an event is tried again."""
        self._handle = handle
        self._retries = retries

    async def take(self, event: JournalEvent, partition: int) -> Taken:
        """Call the handler until it returns."""
        backoff = Backoff(FIRST_WAIT_S, LAST_WAIT_S)
        for failures in range(self._retries + 1):
            if failures:
                await backoff.wait()
            try:
                answer = self._handle(newest(event, partition))
                if inspect.isawaitable(answer):
                    await answer
            except BaseException as error:  # a handler of one's own may raise anything
                if not isinstance(error, Exception) and (isinstance(error, GeneratorExit) or is_task_cancelled()):
                    raise  # it is the replay that is to end
                failed = error
            else:
                return Taken(failures=failures)
        of = event.event
        raise HandlerFailedError(
            f"the handler failed {self._retries + 1} times on {of['kind']} {of['aggregate_id']!r} version "
            f"{of['version']} ({cid_text(event.cid)}, partition {partition} offset {event.offset}): "
            f"{type(failed).__name__}: {failed}",
            self._retries + 1,
        ) from failed


def newest(event: JournalEvent, partition: int) -> dict[str, Any]:
    """Return an event as a handler gets it: as `annals events` prints it, with the data in their newest version.

    `previous` is the text of the CID, or None. What this release cannot take further comes as it was recorded. All of
    it is the handler's own: it may change it, and may be asked again.
    """
    of = event.event
    form = form_of(event, _spec_of(of), _NEWEST)
    return {
        **of,
        "schema_version": form.schema_version,
        "data": copied(form.data),
        "previous": None if of["previous"] is None else cid_text(of["previous"]),
        "cid": cid_text(event.cid),
        "partition": partition,
        "offset": event.offset,
    }


def _require_aggregates() -> None:
    from annals.workers.registry import RegistrationError, deciders  # noqa: PLC0415 - as `_spec_of`

    try:
        deciders()
    except RegistrationError as error:
        raise ReplayError(str(error)) from error


def _spec_of(event: dict[str, Any]) -> EventSpec | None:
    """Return what this release knows of an event's type; None: nothing."""
    from annals.workers.registry import deciders  # noqa: PLC0415 - a dry run, or one to a file, needs no aggregate

    return deciders()[event["kind"]].events.get(event["type"])


@asynccontextmanager
async def _topic_sinks(settings: Settings, name: str) -> AsyncIterator[Callable[[], Sink]]:
    topic = TopicNames(settings.topic_prefix).replays(name)
    options = client_options(settings)
    client = await connect(options, [])
    found = client.cluster.partitions_for_topic(topic)
    await client.close()
    if not found:
        raise ReplayError(f"there is no topic {topic}: create it, with the partitions and the retention that you need")
    producer = creating_nothing(
        AIOKafkaProducer(**options, acks="all", enable_idempotence=True, max_request_size=SUBSCRIBER_TOPIC_BYTES)
    )
    await producer.start()
    try:
        yield lambda: TopicSink(producer, topic, len(found))
    finally:
        await producer.stop()


class TopicSink:
    """Writes CloudEvents as subscribers get them, in the order of the journal."""

    takes_headers = True

    def __init__(self, producer: AIOKafkaProducer, topic: str, partitions: int) -> None:
        """Take an idempotent producer, and the topic."""
        self._producer = producer
        self._topic = topic
        self._partitions = partitions
        self._sent: list[asyncio.Future[Any]] = []

    async def take(self, event: JournalEvent, partition: int) -> Taken:  # noqa: ARG002 - the protocol's
        """Hand an event to the producer."""
        record = form_of(event, _spec_of(event.event), _NEWEST).outgoing(_NEWEST)
        to = partition_of(record.key, self._partitions)
        self._sent.append(
            await self._producer.send(self._topic, record.value, record.key, to, headers=list(record.headers))
        )
        if len(self._sent) >= IN_FLIGHT:
            await self.settle()
        return Taken()

    async def settle(self) -> None:
        """Return when the brokers have acknowledged all records.

        Raises:
            KafkaError: they refuse one.
        """
        await asyncio.gather(*self._sent)
        self._sent.clear()

    @property
    def is_settled(self) -> bool:
        """Whether the brokers have acknowledged all records."""
        return not self._sent
