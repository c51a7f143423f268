"""Walks over all events by pages, up and down, each page from another worker."""

from __future__ import annotations

import itertools
import threading
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Get = Callable[[str], tuple[int, Any]]

ASKED: tuple[dict[str, str], ...] = ({}, {"kind": "person"}, {"until": "9999-01-01T00:00:00Z"}, {"actor": "clerk 1/é"})
OK = 200
PAUSE_S = 0.1


class Walker:
    """Walks in a thread of its own until told to end. What any page has shown, every walk that begins later shows.

    walks: order, filter and events of each that came to its end; lost: of each that lacks something, its order, its
    filter, and how much.
    """

    def __init__(self, workers: Sequence[Get]) -> None:
        """Take who may be asked: a path is answered by a status, 0 where nobody listens, and a body."""
        self._workers = workers
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._shown: dict[str, Any] = {}
        self.walks: list[tuple[str, dict[str, str], list[Any]]] = []
        self.lost: list[tuple[str, dict[str, str], int]] = []

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        self._is_over.set()
        self._thread.join()

    def _run(self) -> None:
        turns = itertools.count()
        for order, asked in itertools.cycle(itertools.product(("desc", "asc"), ASKED)):
            before = {cid for cid, event in self._shown.items() if _is_wanted(event, asked)}
            events: list[Any] = []
            path: str | None = f"/v1/events?{urlencode({**asked, 'order': order, 'limit': 40})}"
            while path is not None:
                if self._is_over.is_set():
                    return
                status, page = self._workers[next(turns) % len(self._workers)](path)
                if status == OK:
                    events += page["events"]
                    self._shown |= {event["cid"]: event for event in page["events"]}
                    path = page["next"]
                else:  # it was killed, or is not ready yet
                    self._is_over.wait(PAUSE_S)
            self.walks.append((order, asked, events))
            if lost := before - {event["cid"] for event in events}:
                self.lost.append((order, asked, len(lost)))


def _is_wanted(event: Any, asked: dict[str, str]) -> bool:
    return all(name == "until" or event[name] == value for name, value in asked.items())
