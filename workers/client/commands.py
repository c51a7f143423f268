"""A client that sends commands and gets their outcomes: what `annals send`, the demo, the benchmarks and tests use."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, Self

from aiokafka.errors import BrokerResponseError, KafkaError, UnknownError

from annals.schemas.outcome import decode_outcome
from annals.schemas.wire.reading import MOST_KEY_AND_HEADER_BYTES
from annals.topics.keys import partition_of
from annals.topics.names import TopicNames
from annals.workers.client.outcomes import NOT_KNOWN, OutcomeReader, Pending
from annals.workers.client.sendable import NotSendableError, Sendable, from_members
from annals.workers.clock import new_id
from annals.workers.kafka.connections import connect, partitions_of
from annals.workers.kafka.diagnosis import lacking_right
from annals.workers.kafka.write.idempotent import IdempotentProducer
from annals.workers.settings import client_options

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from aiokafka.client import AIOKafkaClient

    from annals.schemas.outcome import Outcome
    from annals.workers.settings import Settings

TIMEOUT_S: Final = 30.0
BATCH_BYTES: Final = 128 << 10


class NoAnswerError(Exception):
    """No outcome came in time: what became of the command is not known. Send it again, under the same id."""

    def __init__(self, command_id: str) -> None:
        super().__init__(f"no outcome of command {command_id!r} came in time: send it again, under the same id")
        self.command_id = command_id


class CommandClient:
    """Sends commands, and waits for what became of them. One of it serves any number of tasks of one event loop.

        async with CommandClient(load_settings()) as client:
            outcome = await client.send("person", {"type": "RegisterPerson", "aggregate_id": "p-1", "data": {…}})

    Outcomes of a kind are read from before its first command is sent; of those that carry the command's id, the first
    that answers this very record counts.
    """

    def __init__(self, settings: Settings, *, timeout_s: float = TIMEOUT_S) -> None:
        """Take the settings, and how long an answer is waited for."""
        self._settings = settings
        self._options = client_options(settings)
        self._names = TopicNames(settings.topic_prefix)
        self._timeout_s = timeout_s
        self._client: AIOKafkaClient | None = None
        self._producer: IdempotentProducer | None = None
        self._opening: dict[str, asyncio.Task[tuple[int, OutcomeReader]]] = {}

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Connect.

        Raises:
            KafkaConnectionError: no broker answers.
        """
        # For no topic in particular: a question about one that is missing could create it.
        self._client = await connect(self._options, [])
        try:
            self._producer = IdempotentProducer(
                self._options,
                max_batch_size=BATCH_BYTES,
                max_request_size=self._settings.max_command_bytes + MOST_KEY_AND_HEADER_BYTES,
            )
            await self._producer.start()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Send what is still to be sent, and disconnect."""
        if self._producer is not None:
            await self._producer.stop()
        for opening in self._opening.values():
            opening.cancel()
        opened = await asyncio.gather(*self._opening.values(), return_exceptions=True)
        await asyncio.gather(*(each[1].stop() for each in opened if not isinstance(each, BaseException)))
        self._opening.clear()
        if self._client is not None:
            await self._client.close()

    async def send(self, kind: str, command: Mapping[str, Any]) -> Outcome:
        """Send a command, its members as JSON types, and return what became of it; without an `id` it gets a new one.

        Raises:
            NotSendableError: it would be a dead letter, or the broker refuses it.
            NoAnswerError: no outcome came in time.
            MissingTopicError: the kind has no topics.
        """
        sendable = from_members(kind, command, self._settings.max_command_bytes, new_id)
        return decode_outcome(await self.answer(await self.submit(sendable)))

    async def submit(self, command: Sendable) -> Pending:
        """Send a command without waiting for its outcome.

        Raises:
            NotSendableError: it cannot be handed to the broker.
            MissingTopicError: the kind has no topics.
        """
        if self._producer is None:
            raise RuntimeError("the client was not started")
        opening = self._opening.get(command.kind)
        if opening is None or _has_failed(opening):
            opening = self._opening[command.kind] = asyncio.create_task(self._open(command.kind))
        # who sends may be cancelled meanwhile, and another waits for the same
        partitions, reader = opening.result() if opening.done() else await asyncio.shield(opening)
        deadline = asyncio.get_running_loop().time() + self._timeout_s
        pending = Pending(command.key, command.id, deadline)
        reader.expect(pending)
        pending.answer.add_done_callback(lambda _: reader.forget(pending))
        try:
            delivery = await self._producer.send(
                self._names.commands(command.kind),
                command.value,
                command.key,
                partition_of(command.key, partitions),
            )
        except KafkaError as error:
            pending.answer.cancel()
            raise NotSendableError(f"{type(error).__name__}: {error}") from error
        delivery.add_done_callback(lambda done: _delivered(pending, done))
        return pending

    async def answer(self, pending: Pending) -> bytes:
        """Return a command's outcome as it came.

        Raises:
            NoAnswerError: none came in time.
            NotSendableError: the broker refused the command.
            KafkaError: the outcomes cannot be read.
        """
        if pending.answer.done():
            return pending.answer.result()
        try:
            async with asyncio.timeout_at(pending.deadline):
                return await pending.answer
        except TimeoutError:
            raise NoAnswerError(pending.id) from None

    async def _open(self, kind: str) -> tuple[int, OutcomeReader]:
        assert self._client is not None  # noqa: S101 - `submit` is only called once it is
        await self._client.force_metadata_update()  # the kind may be younger than this client
        partitions = partitions_of(self._client, self._names.commands(kind))
        topic = self._names.outcomes(kind)
        reader = OutcomeReader(self._options, topic, partitions_of(self._client, topic))
        try:
            await reader.start(self._client)
        except BaseException:
            await reader.stop()
            raise
        return partitions, reader


def _has_failed(opening: asyncio.Task[Any]) -> bool:
    return opening.done() and (opening.cancelled() or opening.exception() is not None)


def _delivered(pending: Pending, delivery: asyncio.Future[Any]) -> None:
    """Learn where the broker put a command, or that it refused it; after any other failure the answer may yet come."""
    error = None if delivery.cancelled() else delivery.exception()
    if not pending.delivered.done():
        pending.delivered.set_result(error is None and not delivery.cancelled())
    is_refusal = isinstance(error, BrokerResponseError) and not (error.retriable or isinstance(error, UnknownError))
    if is_refusal and not pending.answer.done():
        why = lacking_right(error, "Write") or f"{type(error).__name__}: {error}"
        pending.answer.set_exception(NotSendableError(f"the broker refused it: {why}"))
    elif error is not None or delivery.cancelled():
        pending.sent(NOT_KNOWN)
    else:
        pending.sent(delivery.result().offset)
