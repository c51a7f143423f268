"""Answers of subscribers over HTTP: written to the subscription's topic of answers, as they would write them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec
from msgspec import Struct

from annals.agents.reading.gathering.gather import gather
from annals.schemas.ack import LARGEST_BYTES, Ack, parse_ack
from annals.schemas.cid import parse_cid
from annals.workers.api.gathered import gather_until
from annals.workers.api.http.answers import json_answer
from annals.workers.api.http.problems import InvalidMember, Problem, not_found, not_ready
from annals.workers.api.http.routing import Answer, Route, Scope
from annals.workers.api.routes.subscriptions import PATH, read_object, with_problems

if TYPE_CHECKING:
    from collections.abc import Sequence

    from annals.agents.reading.found import FoundEvent
    from annals.agents.reading.gathering.all_shards import AllShards
    from annals.workers.api.http.routing import Call


class Answering(Struct, frozen=True):
    """A subscription whose subscriber answers."""

    name: str


class Accepted(Struct, frozen=True):
    """How many answers are written; what becomes of them is decided by who delivers."""

    accepted: int


class Acks(Protocol):
    """The topics of answers; each may raise `Refused`."""

    async def kinds(self, name: str) -> Sequence[str]:
        """Return the kinds of a subscription that takes answers."""

    async def send(self, name: str, kind: str, aggregate_id: str, value: bytes) -> None:
        """Return when all in-sync replicas have the answer, to an event of this aggregate."""


class AckRoutes:
    """The route of answers."""

    def __init__(self, acks: Acks, shards: AllShards) -> None:
        """Take where answers go, and the shards that know which aggregate an event is of."""
        self._acks = acks
        self._shards = shards

    def routes(self) -> tuple[Route, ...]:
        """Return it."""
        return (
            Route(
                "POST",
                f"{PATH}/acks",
                Scope.ACKS,
                "Answer a delivery: `ack`, `nack`, `park` or `extend`.",
                Answering,
                Accepted,
                self.answer,
                body=Ack,
                status=202,
                problems=(409, 422),
                most_body_bytes=LARGEST_BYTES,
            ),
        )

    async def answer(self, call: Call) -> Answer:
        """Write an answer."""
        name = call.parameters.name
        ack = parse_ack(read_object(call.body, "invalid_ack"))
        if not isinstance(ack, Ack):
            errors = [InvalidMember(path, message) for path, message in ack]
            raise Problem(422, "invalid_ack", f"{errors[0].path}: {errors[0].message}", errors=errors)
        kinds = await with_problems(self._acks.kinds(name))
        found = await self._event(call, parse_cid(ack.cid), [kind for kind in kinds if ack.kind in (None, kind)])
        kind, aggregate_id = found.event["kind"], found.event["aggregate_id"]
        value = msgspec.json.encode(msgspec.structs.replace(ack, kind=kind))
        await with_problems(self._acks.send(name, kind, aggregate_id, value))
        return json_answer(Accepted(1), status=202)

    async def _event(self, call: Call, cid: bytes, kinds: Sequence[str]) -> FoundEvent:
        """Return the event of a CID: the body does not say which aggregate it is of.

        Raises:
            Problem: there is none (404), or it may be where nobody answers (503).
        """
        found = await gather(
            self._shards.of_kinds(kinds),
            lambda shard: shard.by_cid(cid),
            gather_until(call),
            is_enough=lambda event: event is not None,
        )
        event = next((answer for answer in found.answers.values() if answer is not None), None)
        if event is not None:
            return event
        if unsure := [*found.missing, *found.stale]:
            first = unsure[0]
            raise not_ready(f"the event may be in {first.kind}-{first.partition}: {first.reason}")
        raise not_found("the subscription has no event of this CID")
