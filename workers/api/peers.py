"""One worker asks another for a partition that is there: both sides of `POST /peer/v1/shards`.

Of global projections it asks how far the other's rows are: `POST /peer/v1/projections`.

A question is JSON and its reply msgpack (`annals.agents.reading.gathering.questions`). Whoever is asked answers by its
own shards alone. A reply is read up to a size and until a deadline; what is no answer to the question is none.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import urlsplit

import aiohttp
import msgspec

from annals.agents.reading.gathering.all_shards import NotHereError
from annals.agents.reading.gathering.questions import WAITS, Asked
from annals.agents.reading.gathering.replies import (
    FAILURES,
    NOT_HERE,
    Reply,
    UnreadableReplyError,
    read_answer,
    reply_to,
)
from annals.agents.reading.ports import NotReadyError
from annals.agents.reading.read_models.other_members import AskReached, Reached
from annals.schemas.depth import decoded
from annals.workers.api.callers.forwarding import HEADER, Caller
from annals.workers.api.callers.forwarding import MISDIRECTED as MISDIRECTED_REQUEST
from annals.workers.api.http.answers import json_answer
from annals.workers.api.http.problems import FORBIDDEN, Problem, invalid
from annals.workers.api.http.routing import CALL, JSON, Answer, NoParameters, Route, Scope

if TYPE_CHECKING:
    from collections.abc import Callable

    from annals.agents.reading.found import ShardStatus
    from annals.agents.reading.gathering.questions import Question
    from annals.agents.reading.ports import Member, Reading
    from annals.workers.api.callers.forwarding import Forwarding
    from annals.workers.api.http.routing import Call

PATH: Final = "/peer/v1/shards"
REACHED_PATH: Final = "/peer/v1/projections"
CONTENT_TYPE: Final = "application/msgpack"
REPLY_BYTES: Final = 32 << 20  # a page is cut at 8 MiB, and one event is at most 4
READ_AT_ONCE: Final = 64 << 10  # more is read by a thread: each event is decoded, and its CID computed
CONNECTIONS: Final = 64  # to one worker
WAITING_CONNECTIONS: Final = 256  # beside these, for questions that wait: they take none of those that do not
CONNECT_S: Final = 2.0
LONGEST_S: Final = 60.0
ON_THE_WAY_S: Final = 0.5  # how long before the asker's deadline an answer is sent, at most
OWN: Final = Caller("annals", (Scope.READ.value,))  # what a worker asks for itself
OK: Final = 200
REFUSED: Final = 403
MISDIRECTED: Final = 421
_ASKED: Final = msgspec.json.Decoder(Asked)
_ASK_REACHED: Final = msgspec.json.Decoder(AskReached)
_REACHED: Final = msgspec.json.Decoder(Reached)
T = TypeVar("T")


class HttpPeers:
    """Asks other workers over HTTP (the `Peers` port), in the name of who asks this one."""

    def __init__(self, forwarding: Forwarding) -> None:
        """Take how requests are signed."""
        self._forwarding = forwarding
        self._sessions: dict[bool, aiohttp.ClientSession] = {}
        self._is_closed = False

    async def close(self) -> None:
        """Close all connections; nobody is asked any more."""
        sessions, self._sessions, self._is_closed = self._sessions, {}, True
        for session in sessions.values():
            await session.close()

    async def ask(
        self,
        member: Member,
        kind: str,
        partition: int,
        question: Question,
        deadline: float,
        *,
        standby: bool = False,
    ) -> tuple[ShardStatus, Any]:
        """Return where the shard of another worker stood, and its answer. standby: it is asked as a standby.

        Raises:
            NotHereError: it does not have the partition, or is not the member that it was taken for.
            NotReadyError: it may not be asked, does not answer in time, or what it answers cannot be read.
        """
        name = f"{kind}-{partition}: worker {member.id!r}"
        within_s, is_wait = _within_s(deadline), isinstance(question, WAITS)
        if is_wait:  # who does not want to wait is told what there is: it is answered at once
            within_s = max(within_s, ON_THE_WAY_S)
        asked = Asked(kind, partition, question, within_s, standby)
        body = await self._reply(name, member, PATH, asked, within_s, is_wait=is_wait)
        if len(body) < READ_AT_ONCE:
            return _answer(name, asked, body)
        return await asyncio.to_thread(_answer, name, asked, body)

    async def has_reached(self, member: Member, asked: AskReached, deadline: float) -> bool:
        """Return what another worker says of its rows of a global projection.

        Raises:
            NotReadyError: it does not answer, or knows no such question.
        """
        name = f"{asked.projection}: worker {member.id!r}"
        body = await self._reply(name, member, REACHED_PATH, asked, _within_s(deadline))
        try:
            return decoded(_REACHED.decode, body).has_reached
        except ValueError as error:
            raise NotReadyError(f"{name} gives an answer that cannot be read: {error}") from error

    async def _reply(
        self, name: str, member: Member, path: str, asked: Asked | AskReached, within_s: float, *, is_wait: bool = False
    ) -> bytes:
        """Return the body of another worker's answer. name: what is asked of whom, in messages.

        Raises:
            NotHereError: it does not have the partition, or is not the member that it was taken for.
            NotReadyError: it may not be asked, or does not answer in time.
        """
        call = CALL.get(None)
        if call is not None and call.principal.is_forwarded:
            raise NotReadyError(f"{name} has it, and a question is passed on once")
        refusal = "this worker ends" if self._is_closed else self._forwarding.refusal(member.url)
        if refusal is not None:
            raise NotReadyError(f"{name} cannot be asked: {refusal}")
        if within_s <= 0:
            raise NotReadyError(f"{name} was not asked: there was no time left")
        try:
            status, body = await self._post(member, path, msgspec.json.encode(asked), within_s, is_wait=is_wait)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            why = "in time" if isinstance(error, TimeoutError) else f"({type(error).__name__})"
            raise NotReadyError(f"{name} does not answer {why}") from error
        if status == MISDIRECTED:
            raise NotHereError(f"{name} is another one by now, or has neither it nor a standby of it")
        if status == REFUSED:
            raise NotReadyError(f"{name} refuses to answer: are its peer key and its clock the same?")
        if status != OK:
            raise NotReadyError(f"{name} answers with status {status}")
        return body

    async def _post(
        self, member: Member, path: str, body: bytes, within_s: float, *, is_wait: bool
    ) -> tuple[int, bytes]:
        url = (member.url or "").rstrip("/") + path
        signed = self._forwarding.sign("POST", urlsplit(url).path, body, member.id, _caller())
        headers = {"content-type": JSON, "accept-encoding": "identity", HEADER: signed}
        timeout = aiohttp.ClientTimeout(total=within_s, sock_connect=CONNECT_S)
        async with self._connected(is_wait=is_wait).post(
            url, data=body, headers=headers, timeout=timeout, allow_redirects=False
        ) as response:
            read = bytearray()
            async for chunk in response.content.iter_any():
                read += chunk
                if len(read) > REPLY_BYTES:
                    raise ValueError("the reply is too large")
            return response.status, bytes(read)

    def _connected(self, *, is_wait: bool) -> aiohttp.ClientSession:
        if is_wait not in self._sessions:
            limit = WAITING_CONNECTIONS if is_wait else CONNECTIONS
            self._sessions[is_wait] = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, limit_per_host=limit),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,  # a small reply could unpack to any size
                trust_env=False,
            )
        return self._sessions[is_wait]


def _within_s(deadline: float) -> float:
    return min(LONGEST_S, deadline - asyncio.get_running_loop().time())


def _answer(name: str, asked: Asked, body: bytes) -> tuple[ShardStatus, Any]:
    try:
        reply = msgspec.msgpack.decode(body, type=Reply)
        if reply.failure == NOT_HERE:
            raise NotHereError(f"{name} does not have it (any more)")
        if reply.failure is not None:
            raise FAILURES.get(reply.failure, NotReadyError)(reply.message)
        answer = read_answer(asked, reply)
    except (UnreadableReplyError, msgspec.MsgspecError, RecursionError) as error:
        raise NotReadyError(f"{name} gives an answer that cannot be read: {error}") from error
    if reply.status is None:
        raise NotReadyError(f"{name} gives an answer without its position")
    return reply.status, answer


def _caller() -> Caller:
    """Return in whose name is asked; what they may do was checked here: who answers a subscription may not read."""
    call = CALL.get(None)
    return OWN if call is None else OWN._replace(principal=call.principal.name)


def _question(call: Call, decoder: msgspec.json.Decoder[T]) -> T:
    """Return what another worker asks.

    Raises:
        Problem: no worker asks, or it cannot be read.
    """
    if not call.principal.is_forwarded:
        raise Problem(403, FORBIDDEN, f"this is for workers of the group, which send the header {HEADER}")
    try:
        return decoded(decoder.decode, call.body)
    except ValueError as error:
        raise invalid("", f"this is no question of a worker: {error}") from None


def reached_route(has_reached: Callable[[AskReached], bool]) -> Route:
    """Return the route by which other workers ask how far the rows of a global projection are here."""

    async def answer(call: Call) -> Answer:
        return json_answer(Reached(has_reached(_question(call, _ASK_REACHED))))

    summary = "A question of another worker about rows of a global projection."
    return Route(
        "POST", REACHED_PATH, Scope.READ, summary, NoParameters, None, answer, body=AskReached, is_described=False
    )


def peer_routes(reading: Reading) -> tuple[Route, ...]:
    """Return the route by which other workers ask for the shards that are here."""

    async def answer(call: Call) -> Answer:
        asked = _question(call, _ASKED)
        within_s = max(0.0, min(LONGEST_S, asked.within_s) - ON_THE_WAY_S)
        deadline = asyncio.get_running_loop().time() + within_s
        owned, standby = reading.shard(asked.kind, asked.partition), reading.standby(asked.kind, asked.partition)
        if owned is None and standby is None:
            raise Problem(421, MISDIRECTED_REQUEST, f"{asked.kind}-{asked.partition} is neither here nor followed here")
        # A standby answers as one alone; where it has taken over since the asker looked, that is more than was asked.
        body = await reply_to(standby or owned if asked.standby else owned, asked, deadline)
        return Answer(body, content_type=CONTENT_TYPE)

    return (
        Route(
            "POST",
            PATH,
            Scope.READ,
            "A question of another worker to a shard that is here.",
            NoParameters,
            None,
            answer,
            body=Asked,
            is_stream=True,  # it has the asker's deadline
            is_described=False,
        ),
    )
