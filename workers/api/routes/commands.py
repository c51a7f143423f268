"""`POST /v1/commands`: a command is sent as a producer would send it, and its outcome answered to who waits for it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, Protocol

from aiokafka.errors import KafkaError
from msgspec import Raw, Struct

from annals.schemas.outcome import REJECTED, decode_outcome
from annals.schemas.wire.dead_letter import TOO_LARGE
from annals.workers.api.http.answers import json_answer
from annals.workers.api.http.parameters import Wait
from annals.workers.api.http.problems import INTERNAL_ERROR, Problem, invalid, not_ready, timed_out
from annals.workers.api.http.problems import TOO_LARGE as TOO_LARGE_PROBLEM
from annals.workers.api.http.routing import Answer, Call, Route, Scope
from annals.workers.client.sendable import NotSendableError, from_line
from annals.workers.clock import new_id
from annals.workers.kafka.connections import MissingTopicError
from annals.workers.registry import deciders

if TYPE_CHECKING:
    from annals.workers.client.outcomes import Pending
    from annals.workers.client.sendable import Sendable

CONFLICTS: Final = frozenset({"version_conflict", "head_conflict"})
DELIVERY_S: Final = 10.0
BESIDE_COMMAND_BYTES: Final = 1 << 20
READ_AT_ONCE: Final = 8 << 10  # more is read by a thread: to go over a megabyte of small values takes seconds


class CommandParameters(Struct, frozen=True):
    """Parameters of a command."""

    wait: Wait = 0.0


class Command(Struct, frozen=True, omit_defaults=True):
    """A command and its kind. What each type takes in `data` is in its JSON Schema: `GET /v1/schemas`."""

    kind: str
    type: str
    aggregate_id: str
    data: dict[str, Any]
    id: str | None = None
    expected_version: int | str | None = None
    expected_head: str | None = None
    correlation_id: str | None = None
    causation_id: str | None = None
    actor: str | None = None
    issued_at: str | None = None


class CommandAccepted(Struct, frozen=True):
    """The broker has the command; it is decided later."""

    command_id: str


class OutcomeEvent(Struct, frozen=True):
    """An event that a command caused."""

    version: int
    type: str
    cid: str


class CommandOutcome(Struct, frozen=True):
    """What became of a command."""

    command_id: str
    kind: str
    aggregate_id: str
    status: str
    version: int
    head: str | None
    events: list[OutcomeEvent]
    error: dict[str, Any] | None


class Sender(Protocol):
    """Sends commands; a `CommandClient` is one."""

    async def submit(self, command: Sendable) -> Pending:
        """Send a command without waiting for its outcome."""


class CommandRoutes:
    """The route of commands."""

    def __init__(self, sender: Sender, max_command_bytes: int) -> None:
        """Take what sends, and how large a command is taken."""
        self._sender = sender
        self._max_command_bytes = max_command_bytes

    def routes(self) -> tuple[Route, ...]:
        """Return it."""
        return (
            Route(
                "POST",
                "/v1/commands",
                Scope.WRITE,
                "Send a command; with `wait` its outcome is answered.",
                CommandParameters,
                CommandOutcome,
                self.send,
                body=Command,
                other_answers=((202, CommandAccepted),),
                problems=(409, 422),
                most_body_bytes=self._max_command_bytes + BESIDE_COMMAND_BYTES,
            ),
        )

    async def send(self, call: Call) -> Answer:
        """Send a command."""
        if len(call.body) < READ_AT_ONCE:
            command = self._read(call)
        else:
            command = await asyncio.to_thread(self._read, call)
        try:
            pending = await self._sender.submit(command)
        except NotSendableError as error:
            raise not_ready(str(error)) from None
        except (MissingTopicError, KafkaError) as error:
            raise not_ready(f"the command cannot be sent: {error}") from None
        try:
            await self._delivered(pending)
            if not call.parameters.wait:
                return json_answer(CommandAccepted(command.id), status=202)
            return _answer(await self._outcome(pending, call.started + call.parameters.wait))
        finally:
            pending.answer.cancel()  # its outcome is waited for no more

    def _read(self, call: Call) -> Sendable:
        try:
            actor = call.principal.actor
            return from_line(call.body, deciders(), self._max_command_bytes, new_id, actor, what="the body")
        except NotSendableError as error:
            if error.reason == TOO_LARGE:
                raise Problem(413, TOO_LARGE_PROBLEM, str(error)) from None
            raise invalid(error.path, str(error)) from None

    async def _delivered(self, pending: Pending) -> None:
        """Wait until the broker has the command."""
        await asyncio.wait({pending.delivered}, timeout=DELIVERY_S)
        refusal = pending.answer.exception() if pending.answer.done() else None
        if refusal is not None:
            raise not_ready(f"command {pending.id!r}: {refusal}")
        if not pending.delivered.done() or not pending.delivered.result():
            raise not_ready(
                f"the broker did not say that it has command {pending.id!r}: send it again, under the same id"
            )

    async def _outcome(self, pending: Pending, deadline: float) -> bytes:
        left = max(0.0, deadline - asyncio.get_running_loop().time())
        await asyncio.wait({pending.answer}, timeout=left)
        if not pending.answer.done():
            raise timed_out(f"command {pending.id!r} was not decided in time, and may still be", command_id=pending.id)
        error = pending.answer.exception()
        if error is not None:
            raise not_ready(f"the outcome of command {pending.id!r} cannot be read: {error}")
        return pending.answer.result()


def _answer(text: bytes) -> Answer:
    outcome = decode_outcome(text)
    if outcome.status != REJECTED:
        return Answer(text)
    error = outcome.error
    code = INTERNAL_ERROR if error is None else error.code
    detail = "" if error is None else error.message
    raise Problem(409 if code in CONFLICTS else 422, code, detail, outcome=Raw(text))
