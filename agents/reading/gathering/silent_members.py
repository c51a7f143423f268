"""Members that have just not answered in time are passed over for some seconds.

One that hangs would take the time that an owner is waited for of every question.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from annals.agents.reading.gathering.questions import WAITS, AskStatus
from annals.agents.reading.ports import NotReadyError
from annals.agents.waiting import ended

if TYPE_CHECKING:
    from annals.agents.reading.found import ShardStatus
    from annals.agents.reading.gathering.all_shards import Peers
    from annals.agents.reading.gathering.questions import Question
    from annals.agents.reading.ports import Member

PASSED_OVER_S: Final = 5.0
SILENT_S: Final = 0.45  # without an answer; who refuses, or is not there, says so sooner


class PassingOver:
    """Asks other workers (the `Peers` port), but none that has just not answered.

    Who does not answer is asked where the partition stands, which takes no time: a question that takes long puts nobody
    aside for longer than that.
    """

    def __init__(self, peers: Peers) -> None:
        """Take how they are asked."""
        self._peers = peers
        self._silent: dict[str, asyncio.Task[None]] = {}

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
            NotReadyError: as `Peers` says; or it has just not answered.
        """
        if member.id in self._silent:
            raise NotReadyError(
                f"{kind}-{partition}: worker {member.id!r} has just not answered in time, and is asked again in "
                f"{PASSED_OVER_S:g} s at the latest"
            )
        asked_at = asyncio.get_running_loop().time()
        try:
            return await self._peers.ask(member, kind, partition, question, deadline, standby=standby)
        except (NotReadyError, asyncio.CancelledError) as error:
            took_s = asyncio.get_running_loop().time() - asked_at
            is_given_up = isinstance(error, asyncio.CancelledError) and isinstance(question, WAITS)
            if took_s >= SILENT_S and not is_given_up and member.id not in self._silent:
                probe = self._probe(member, kind, partition, standby=standby)
                self._silent[member.id] = asyncio.create_task(probe)
            raise

    async def close(self) -> None:
        """Ask nobody any more."""
        await ended(*self._silent.values())

    async def _probe(self, member: Member, kind: str, partition: int, *, standby: bool) -> None:
        deadline = asyncio.get_running_loop().time() + PASSED_OVER_S
        try:
            await self._peers.ask(member, kind, partition, AskStatus(), deadline, standby=standby)
        except NotReadyError:
            pass  # not yet, or it is gone: the next question finds out
        finally:
            del self._silent[member.id]
