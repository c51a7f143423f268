"""When an endpoint is left alone: after failures in a row, and while it asks for it.

    closed ──`OPENS_AFTER` failures in a row──► open ──its time is up──► probing ──an answer──► closed
                                                 ▲                          │
                                                 └──failure: twice as long──┘

What is not sent meanwhile waits in its row until `until`, under the reason `CIRCUIT_OPEN` or `ASKED_TO_WAIT`: so the
rows, which outlive the process, say why nothing is sent and for how long, and `restore` reads it from them. They say
also which endpoint that was (`endpoint_of`): where a webhook has another URL, its rows no longer wait for the former.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from blake3 import blake3

from annals.schemas.delivery import WAITING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from annals.schemas.delivery import Row

OPENS_AFTER: Final = 10
FIRST_MS: Final = 1_000
LAST_MS: Final = 60_000
PROBED_MS: Final = 1_000  # how long the others wait while one event is tried
CIRCUIT_OPEN: Final = "circuit_open"
ASKED_TO_WAIT: Final = "endpoint_asked_to_wait"
NAME_BYTES: Final = 8


def endpoint_of(url: str) -> str:
    """Return what rows call the endpoint of a URL, which may have a token in it."""
    return blake3(url.encode()).hexdigest(NAME_BYTES)


class Circuit:
    """The circuit of one endpoint. Times are milliseconds since 1970."""

    def __init__(self) -> None:
        """Begin closed."""
        self._failures = 0
        self._interval_ms = 0  # 0: closed
        self._until = 0
        self._asked_until = 0
        self._is_probing = False

    @property
    def is_open(self) -> bool:
        """Whether events are kept back because of failures."""
        return bool(self._interval_ms)

    def restore(self, rows: Iterable[Row]) -> None:
        """Take up what rows of before a restart say."""
        for row in rows:
            if row.state == WAITING and row.reason == ASKED_TO_WAIT:
                self._asked_until = max(self._asked_until, row.due)
            elif row.state == WAITING and row.reason == CIRCUIT_OPEN and row.due > self._until:
                self._until = row.due
                self._interval_ms = min(max(self._interval_ms, row.due - row.at, FIRST_MS), LAST_MS)
                self._failures = max(self._failures, OPENS_AFTER)

    def wait_ms(self, now: int) -> int:
        """Return 0 if an event may be sent now, else how long it waits. 0 obliges: say how that ended."""
        if self._asked_until > now:
            return self._asked_until - now
        if not self._interval_ms:
            return 0
        if self._until > now:
            return self._until - now
        if self._is_probing:
            return PROBED_MS
        self._is_probing = True
        return 0

    def answered(self) -> None:
        """Take that the endpoint answered, whatever it said of the event."""
        self._failures = self._interval_ms = self._until = 0
        self._is_probing = False

    def failed(self, now: int) -> bool:
        """Take that it did not answer, or with a failure of its own; return whether this opened the circuit."""
        self._failures += 1
        was_probing, self._is_probing = self._is_probing, False
        if self._interval_ms and not was_probing:
            return False  # sent before it opened
        if self._failures < OPENS_AFTER:
            return False
        has_opened = not self._interval_ms
        self._interval_ms = min(max(2 * self._interval_ms, FIRST_MS), LAST_MS)
        self._until = now + self._interval_ms
        return has_opened

    def asked(self, now: int, wait_ms: int) -> None:
        """Take that the endpoint asks to be left alone: it is up, and has too much to do."""
        self._is_probing = False
        self._asked_until = max(self._asked_until, now + wait_ms)

    def dropped(self) -> None:
        """Take that what was to be sent was not: it says nothing of the endpoint."""
        self._is_probing = False
