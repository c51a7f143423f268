"""What a worker knows of its membership in the consumer group: whether it can be a member, and what keeps it out."""

from __future__ import annotations

import asyncio
from math import inf
from typing import Final

import structlog
from aiokafka.errors import (
    BrokerResponseError,
    GroupAuthorizationFailedError,
    InconsistentGroupProtocolError,
    InvalidGroupIdError,
    InvalidSessionTimeoutError,
    for_code,
)

from annals.workers.clock import loop_time
from annals.workers.kafka.group.refusals import CODES, GroupFullError

log = structlog.get_logger(__name__)

SESSION_TIMEOUT_MS: Final = 8_000  # after kill -9 a partition has no owner for so long; the broker's minimum is 6 s
READING_SESSION_TIMEOUT_MS: Final = 30_000  # a drain may take the reading process its processor for a while
REBALANCE_TIMEOUT_MS: Final = 30_000
FIRST_RETRY_S: Final = 0.5
LAST_RETRY_S: Final = 10.0
HOPELESS: Final = (InvalidGroupIdError, InvalidSessionTimeoutError)
REMEDIES: Final = {
    InconsistentGroupProtocolError: "another program is in this group and assigns partitions in another way. "
    "Stop it, or give one of the two a group of its own with ANNALS_APP_ID or ANNALS_TOPIC_PREFIX",
    GroupAuthorizationFailedError: "the user may not join it. Allow READ on the group",
    GroupFullError: "it has as many members as the brokers' group.max.size allows. Raise that, or stop a worker",
    InvalidGroupIdError: "the brokers refuse its name. Change ANNALS_APP_ID or ANNALS_TOPIC_PREFIX",
    InvalidSessionTimeoutError: "the brokers refuse its session timeout. Let their group.min.session.timeout.ms and "
    "group.max.session.timeout.ms include 8000 and, for the group that reads, 30000",
}


def reason_of(code: int) -> str:
    """Return what keeps a worker out of the group where its coordinator answers with this error code."""
    error = CODES.get(code, for_code(code))
    return REMEDIES.get(error) or _described(error())


class Membership:
    """The state of one worker's membership, for readiness, the log and the worker's end."""

    def __init__(self, group: str, instance_id: str | None, session_timeout_ms: int | None = None) -> None:
        """Begin outside of the group. `instance_id`: a static member's; session_timeout_ms: unless the write path's."""
        self.group = group
        self.instance_id = instance_id
        self.session_timeout_ms = session_timeout_ms
        self.is_member = False
        self._problem: str | None = None
        self._answered_at = inf
        self._session_s = inf
        self.is_hopeless = asyncio.Event()
        """Set when no other try can succeed before a setting is changed."""
        self._retry_s = FIRST_RETRY_S

    @property
    def problem(self) -> str | None:
        """What is wrong with the membership now, with what to do."""
        silent_s = loop_time() - self._answered_at
        if self._problem is not None or silent_s <= self._session_s:
            return self._problem
        return (
            f"the consumer group {self.group} has not answered for {silent_s:.0f} s, longer than the session of a "
            f"member lasts ({self._session_s:g} s): others may have its partitions"
        )

    def asks_to_join(self) -> None:
        """Take that the group is asked for a session, whose end is told by the answer."""
        self._answered_at = inf

    def answered(self, asked_at: float, session_s: float) -> None:
        """Take that the group knew this member when it was asked, at `asked_at` by the loop's time.

        An answer that a session outlasts says nothing of the session now: the process was held still meanwhile.
        """
        now = loop_time()
        if now - asked_at <= session_s:
            self._answered_at, self._session_s = now, session_s

    def joined(self) -> None:
        """Take that this worker is a member."""
        if self._problem is not None:
            log.info("in the consumer group again", group=self.group)
        self._problem, self.is_member = None, True
        self._retry_s = FIRST_RETRY_S

    def failed(self, error: BaseException) -> float:
        """Take that a try failed; return the seconds after which to try again."""
        self.is_member = False
        self._say(f"cannot be in the consumer group {self.group}: {REMEDIES.get(type(error)) or _described(error)}")
        if isinstance(error, HOPELESS):
            self.is_hopeless.set()
        retry_s, self._retry_s = self._retry_s, min(2 * self._retry_s, LAST_RETRY_S)
        return retry_s

    def replaced(self, host: str | None) -> None:
        """Take that another member has this worker's instance id, and from which host it came, if that is known."""
        self.is_member = False
        where = f" (from {host})" if host is not None else ""
        self._say(
            f"another worker{where} is in the consumer group {self.group} with ANNALS_INSTANCE_ID={self.instance_id}, "
            f"and started later. Give each worker an id of its own; this one waits until the other is gone"
        )

    def left(self, why: str) -> None:
        """Take that this worker left the group by itself."""
        self.is_member = False
        self._say(f"has left the consumer group {self.group}: {why}")

    def misassigned(self, topics: list[str]) -> None:
        """Take that the leader assigned topics here that this worker does not have."""
        self._say(
            f"the leader of the consumer group {self.group} assigned {', '.join(topics)} to this worker, which does "
            f"not have them: an older release leads the group. Nobody decides those commands before it is upgraded"
        )

    def _say(self, problem: str) -> None:
        if problem != self._problem:
            log.error("the consumer group", group=self.group, problem=problem)
        self._problem = problem


def _described(error: BaseException) -> str:
    if isinstance(error, BrokerResponseError):
        return f"{error.message}: {error.description}"
    cause = error.__cause__ if error.__cause__ is not None else error
    return f"{type(cause).__name__}: {cause}".rstrip(": ")
