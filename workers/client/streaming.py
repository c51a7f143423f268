"""A stream of lines, each answered by one line, in the order of the input and as the answers come."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, NamedTuple

import orjson

from annals.agents.waiting import ended
from annals.schemas.outcome import REJECTED, decode_outcome
from annals.workers.client.commands import NoAnswerError
from annals.workers.client.sendable import NotSendableError, from_line
from annals.workers.clock import new_id

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Collection

    from annals.workers.client.commands import CommandClient
    from annals.workers.client.lines import Line
    from annals.workers.client.outcomes import Pending

IN_FLIGHT: Final = 4_096
"""Commands that are sent and not yet answered: enough for the worker's batches, little enough for any memory."""


class Answer(NamedTuple):
    """One line of the answer; whether nobody knows what became of the command; whether it was rejected.

    is_refused: nothing became of it, since it could not be sent.
    """

    text: bytes
    is_unknown: bool
    is_rejected: bool
    is_refused: bool = False


async def answers(
    client: CommandClient, lines: AsyncIterator[list[Line]], kinds: Collection[str], max_command_bytes: int
) -> AsyncGenerator[Answer | None, None]:
    """Send a command per line and yield an answer per line; None whenever the next one is not there yet.

    Raises:
        MissingTopicError: a kind has no topics.
        OSError: the lines cannot be read.
        KafkaError: the outcomes cannot be read.
    """
    queue: asyncio.Queue[tuple[Line, Pending | NotSendableError] | None] = asyncio.Queue(IN_FLIGHT)

    async def send_all() -> None:
        try:
            async for some in lines:
                for line in some:
                    await queue.put((line, await _submitted(client, line, kinds, max_command_bytes)))
        except Exception:
            await queue.put(None)  # what was sent before is still answered
            raise
        await queue.put(None)

    sending = asyncio.create_task(send_all())
    try:
        while True:
            if queue.empty():
                yield None
            item = await queue.get()
            if item is None:
                break
            line, sent = item
            if isinstance(sent, NotSendableError):
                yield _refused(line, sent)
                continue
            if not sent.answer.done():
                yield None
            try:
                yield _answered(await client.answer(sent))
            except NoAnswerError:
                yield Answer(
                    orjson.dumps({"command_id": sent.id, "status": "unknown"}), is_unknown=True, is_rejected=False
                )
            except NotSendableError as error:
                yield _refused(line, error)
        await sending
    finally:
        await ended(sending)  # a cancellation of the caller itself is raised


async def _submitted(
    client: CommandClient, line: Line, kinds: Collection[str], max_command_bytes: int
) -> Pending | NotSendableError:
    if line.text is None:
        return NotSendableError(f"too_large: a command has at most {max_command_bytes} bytes")
    try:
        return await client.submit(from_line(line.text, kinds, max_command_bytes, new_id))
    except NotSendableError as error:
        return error


def _refused(line: Line, error: NotSendableError) -> Answer:
    said = orjson.dumps({"line": line.number, "error": str(error)})
    return Answer(said, is_unknown=True, is_rejected=False, is_refused=True)


def _answered(value: bytes) -> Answer:
    text = value if b"\n" not in value else orjson.dumps(orjson.loads(value))
    return Answer(text, is_unknown=False, is_rejected=decode_outcome(value).status == REJECTED)
