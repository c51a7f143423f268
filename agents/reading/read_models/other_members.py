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
SILENT_S: Final = 60.0  # for so long a member that does not answer is waited for


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


class OtherMembers:
    """The members of the group but this one.

    One that does not answer does not hold a turn up for ever: wherever rows of the new version are behind, the former
    one goes on answering there (`ReadModels.version_of`).
    """

    def __init__(self, members: Members, clock: Clock) -> None:
        """Take the group, and the clock."""
        self._members = members
        self._clock = clock
        self._silent_since: dict[AskReached, float] = {}
        self._told: dict[AskReached, Awaited] = {}
        self._log = structlog.get_logger(__name__)

    async def have_reached(self, asked: AskReached, peers: Peers | None) -> bool:
        """Whether all have reached a version, but for those that have not answered for a minute."""
        me = self._members.me
        others = [member for member in self._members.all() if me is None or member.id != me.id]
        deadline = asyncio.get_running_loop().time() + ANSWER_S
        answers = await asyncio.gather(*(_answer(peers, member, asked, deadline) for member in others))
        found = list(zip(others, answers, strict=True))
        awaited = Awaited(
            [member.id for member, answer in found if answer is False],
            [member.id for member, answer in found if answer is None],
        )
        self._say(asked, awaited)
        if not awaited.silent:
            self._silent_since.pop(asked, None)
        elif self._clock.monotonic() - self._silent_since.setdefault(asked, self._clock.monotonic()) < SILENT_S:
            return False
        return not awaited.behind

    def _say(self, asked: AskReached, awaited: Awaited) -> None:
        if self._told.get(asked, Awaited([], [])) != awaited:
            self._told[asked] = awaited
            self._log.info(
                "a version of a projection is waited for at other workers",
                projection=asked.projection,
                version=asked.version,
                behind=awaited.behind,
                silent=awaited.silent,
            )


async def _answer(peers: Peers | None, member: Member, asked: AskReached, deadline: float) -> bool | None:
    if peers is None:
        return None
    with suppress(NotReadyError):
        return await peers.has_reached(member, asked, deadline)
    return None
