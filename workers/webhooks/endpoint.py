"""What all who post to one URL share: how many at a time, and its circuit."""

from __future__ import annotations

import asyncio
from typing import Final
from weakref import WeakValueDictionary

from annals.agents.publishing.webhooks.circuit import Circuit

AT_A_TIME: Final = 32


class Endpoint:
    """One URL. turns: held while something is posted to it."""

    def __init__(self) -> None:
        """Begin with nothing under way."""
        self.turns = asyncio.Semaphore(AT_A_TIME)
        self.circuit = Circuit()


class Endpoints:
    """The endpoints that somebody posts to."""

    def __init__(self) -> None:
        """Begin with none."""
        self._known: WeakValueDictionary[str, Endpoint] = WeakValueDictionary()

    def get(self, url: str) -> Endpoint:
        """Return the endpoint of a URL."""
        endpoint = self._known.get(url)
        if endpoint is None:
            self._known[url] = endpoint = Endpoint()
        return endpoint
