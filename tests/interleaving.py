"""A network in memory on which something happens between two answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from annals.workers.memory.client import Direct

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class Between(Direct):
    """A network on which something happens once, behind a certain answer."""

    def __init__(self, answers: int, happens: Callable[[], Awaitable[None]]) -> None:
        self._answers = answers
        self._happens = happens

    async def ask(self, request: Any, serve: Callable[[Any], Any]) -> Any:
        answer = await super().ask(request, serve)
        self._answers -= 1
        if self._answers == 0:
            await self._happens()
        return answer
