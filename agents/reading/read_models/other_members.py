"""Whether all members have reached a version of a global projection: each answers with rows that it folds itself."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

import structlog
from msgspec import Struct

from annals.agents.reading.ports import NotReadyError

if TYPE_CHECKING:
    from annals.agents.ports import Clock
    from annals.agents.reading.ports import Member, Members

ANSWER_S: Final = 2.0
SILENT_S: Final = 60.0  # for so long a member that does not answer is waited for; what was before that says nothing


class AskReached(Struct, frozen=True):
    """Are a member's rows of a version of a global projection nowhere behind those of a former one?"""

    projection: str
    version: int
    former: int


class Reached(Struct, frozen=True):
    """A member's answer."""

    has_reached: bool


class Peers(Protocol):
    """Asks other workers."""

    async def has_reached(self, member: Member, asked: AskReached, deadline: float) -> bool:
        """Return what another worker says of its rows. deadline: of the event loop's clock.

        Raises:
            NotReadyError: it does not answer, or knows no such question.
        """


class Awaited(NamedTuple):
    """The members for which a turn waits, by id."""

    behind: list[str]
    silent: list[str]


class Round(NamedTuple):
    """What was found when all were asked. at, silent_since: monotonic seconds, the latter by member id."""

    at: float
    silent_since: dict[str, float]
    awaited: Awaited


class OtherMembers:
    """The members of the group but this one.

    One that does not answer does not hold a turn up for ever: wherever rows of the new version are behind, the former
    one goes on answering there (`ReadModels.version_of`).
    """

    def __init__(self, members: Members, clock: Clock) -> None:
        """Take the group, and the clock."""
        self._members = members
        self._clock = clock
        self._rounds: dict[AskReached, Round] = {}
        self._log = structlog.get_logger(__name__)

    async def have_reached(self, asked: AskReached, peers: Peers | None) -> bool:
        """Whether all have reached a version, but for each that has not answered for a minute."""
        me = self._members.me
        others = [member for member in self._members.all() if me is None or member.id != me.id]
        deadline = asyncio.get_running_loop().time() + ANSWER_S
        answers = await asyncio.gather(*(_answer(peers, member, asked, deadline) for member in others))
        now, last = self._clock.monotonic(), self._rounds.get(asked)
        before = last.silent_since if last is not None and now - last.at <= SILENT_S else {}
        found = [(member.id, answer) for member, answer in zip(others, answers, strict=True)]
        since = {member: before.get(member, now) for member, answer in found if answer is None}
        awaited = Awaited(
            [member for member, answer in found if answer is False],
            [member for member, at in since.items() if now - at < SILENT_S],
        )
        self._rounds[asked] = Round(now, since, awaited)
        if any(awaited) and (last is None or last.awaited != awaited):
            self._log.info(
                "a version of a projection is waited for at other workers",
                projection=asked.projection,
                version=asked.version,
                behind=awaited.behind,
                silent=awaited.silent,
            )
        return not any(awaited)


async def _answer(peers: Peers | None, member: Member, asked: AskReached, deadline: float) -> bool | None:
    if peers is None:
        return None
    with suppress(NotReadyError):
        return await peers.has_reached(member, asked, deadline)
    return None
