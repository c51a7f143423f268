"""The reactors of a reaction to another deployment's events, or to a re-keyed stream, beside one of our partitions.

Whoever has partition p of ours runs it in the partitions p, p + n, p + 2n … of the other topic, where n is how many
we have of that kind: each partition there is one member's, however many there are.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

import structlog
from aiokafka.errors import KafkaError

from annals.agents.backoff import Backoff, run_again
from annals.agents.event_keys import PROJECTION
from annals.agents.reacting.ports import is_active
from annals.agents.reacting.reactor import FIRST_RETRY_S, LAST_RETRY_S
from annals.agents.reactions.reaction import Reaction
from annals.workers.kafka.connections import MissingTopicError, connect, partitions_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aiokafka.client import AIOKafkaClient

    from annals.agents.event_keys import Rekeyed
    from annals.agents.reacting.ports import Controls, ReactionTelemetry

    Make = Callable[[AIOKafkaClient, int, int], "Reads"]  # for a partition of how many


class Reads(Protocol):
    """What reads a partition of the other topic: a reactor, or the shard of a stream."""

    @property
    def problem(self) -> str | None:
        """Why it does not, where that is to be mended here."""

    async def run(self) -> None:
        """Read until the task is cancelled."""

    async def suspend(self) -> None:
        """Let the transaction under way end, and begin no other."""

    def resume(self) -> None:
        """Go on after a rebalance that left the partition here."""

    async def close(self) -> None:
        """Close what is open. `run` must have ended or been cancelled."""


class TopicReactors:
    """One reaction, or one stream that is folded, beside one partition of ours. is_closed: whether it was closed."""

    def __init__(
        self,
        reaction: Reaction[Any] | Rekeyed,
        partition: int,
        partitions: int,
        topic: str,
        options: Mapping[str, Any] | None,
        said: Callable[[BaseException | None], str],
        make: Make,
        controls: Controls,
        telemetry: ReactionTelemetry,
        what: str = "the journal of another deployment",
    ) -> None:
        """Take the reaction, which of our partitions this is, the topic there and what makes a reactor for it.

        options: of aiokafka clients for the other deployment; None: it is not known here. said: what is said of an
        error there, and of None where it is not known. telemetry: said to be not running as long as the topic is not
        found. what: it is.
        """
        self._what = what
        self._reaction = reaction
        self._here = partition, partitions
        self._topic = topic
        self._options = options
        self._said = said
        self._make = make
        self._controls = controls
        self._telemetry = telemetry
        of_reaction = isinstance(reaction, Reaction)
        named = {"reaction" if of_reaction else PROJECTION: reaction.name}
        deployment = reaction.deployment if isinstance(reaction, Reaction) else None
        self._log = structlog.get_logger(__name__).bind(**named, deployment=deployment, kind=reaction.kind)
        self._may_run = True
        self.is_closed = False
        self._client: AIOKafkaClient | None = None
        self._reactors: list[Reads] = []
        self._problem: str | None = None

    @property
    def problem(self) -> str | None:
        """Why it does not run, where that is to be mended here."""
        found = (self._problem, *(each.problem for each in self._reactors))
        return next((each for each in found if each is not None), None)

    async def run(self) -> None:
        """Find the other journal once the reaction is to run, then react until the task is cancelled."""
        backoff = Backoff(FIRST_RETRY_S, LAST_RETRY_S)
        while True:
            known = self._controls.get(self._reaction.name)
            if not is_active(known):
                self._telemetry.running(is_so=None)
                self._problem = None
                await self._controls.until_changed(self._reaction.name, known)
                continue
            if self._options is None:
                self._problem = f"{self._reaction.name} does not react: {self._said(None)}"
                self._telemetry.running(is_so=False)
                self._log.error("reaction stopped", reason=self._problem)
                await self._controls.until_changed(self._reaction.name, known)
                continue
            try:
                await self._open(self._options)
            except (MissingTopicError, KafkaError, OSError, TimeoutError, AssertionError) as error:
                self._telemetry.running(is_so=False)
                self._log.warning(f"{self._what} is not found", reason=self._said(error))
                await backoff.wait()
                continue
            self._telemetry.closed()
            if not self._reactors:  # there are fewer partitions there than here
                await self._controls.until_changed(self._reaction.name, known)
                continue
            what = f"{self._reaction.name} in {self._what}"
            await asyncio.gather(*(run_again(each.run, what) for each in self._reactors))

    async def suspend(self) -> None:
        """Let the transactions under way end, and begin no others."""
        self._may_run = False
        await asyncio.gather(*(each.suspend() for each in self._reactors))

    def resume(self) -> None:
        """Go on after a rebalance that left the partition here."""
        self._may_run = True
        for each in self._reactors:
            each.resume()

    async def close(self) -> None:
        """Close the connections. `run` must have ended or been cancelled."""
        self.is_closed = True
        await asyncio.gather(*(each.close() for each in self._reactors))
        self._telemetry.closed()
        if self._client is not None:
            client, self._client = self._client, None
            await client.close()

    async def _open(self, options: Mapping[str, Any]) -> None:
        """Connect, and make a reactor for each partition there that is one of ours."""
        client = await connect(options, [])  # all topics are known so; a question about one could create it
        try:
            await client.force_metadata_update()
            count = partitions_of(client, self._topic)
        except BaseException:
            with suppress(KafkaError, OSError):
                await client.close()
            raise
        if self._client is not None:
            await self._client.close()
        self._client = client
        first, step = self._here
        self._reactors = [self._make(client, partition, count) for partition in range(first, count, step)]
        if not self._may_run:  # partitions are moving
            await self.suspend()
