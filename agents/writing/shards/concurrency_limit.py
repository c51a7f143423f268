"""An adaptive concurrency limit: how many shards of a process may be in a transaction at once.

Where the cores or the broker are the bottleneck, concurrent transactions slow one another down, and fewer, larger ones
lower the wait of every command. Where commits are slow because the broker is far away, a limit would only leave shards
idle. The limit is found by A/B trials, as in PCC (Dong et al., NSDI 2015): the current limit and a changed one take
turns, 16 commits each, and the one with the lower estimated wait is kept.

The estimate: a command waits, on average, for half a round of the shards and then for its own commit. With `held`
concurrent transactions, of `wanted` without a limit, a round takes `wanted / held` commits. Around the commit, which
takes four requests one after the other, there are about as many again (produce, fetch and fetch):

    wait = commit * (2 + wanted / (2 * held))
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

MIN_LIMIT: Final = 2  # one shard decides while another commits
SMALL: Final = 100  # commands; larger transactions cost by their size, and take no permit
PERMIT_S: Final = 1.0  # longer than a healthy commit: nobody waits behind a dead broker
COMMITS_PER_PHASE: Final = 16  # few, so that other changes of the load meet both sides of a trial
COMMITS_PER_SIDE: Final = 128  # single commits vary by 40 %, the mean of so many by 4 %
RECENT_COMMITS: Final = 64  # from which the present concurrency is estimated
COMMITS_BETWEEN_TRIALS: Final = 1_500  # after a trial that changed nothing; a trial without a result ends after as many


class Side:
    """What commits took on one side of a trial."""

    __slots__ = ("_held", "_logs", "_wanted", "count")

    def __init__(self) -> None:
        """Begin with none."""
        self.count = self._held = self._wanted = 0
        self._logs = 0.0

    def add(self, held: int, wanted: int, commit_s: float) -> None:
        """Count a commit; by its logarithm, so that one that took very long does not decide."""
        self.count += 1
        self._held += held
        self._wanted += wanted
        self._logs += math.log(commit_s)

    def wait_s(self) -> float:
        """Return how long a command waits, in seconds."""
        return math.exp(self._logs / self.count) * (2 + self._wanted / self._held / 2)


class LimitSearch:
    """Searches the limit by trials."""

    def __init__(self) -> None:
        """Begin without a limit."""
        self.most: float = math.inf
        """The limit, trials aside."""
        self.now: float = math.inf
        """The limit at this moment."""
        self.phase = 0
        """A number that changes with `now`."""
        self._rest = RECENT_COMMITS
        self._recent: deque[int] = deque(maxlen=RECENT_COMMITS)
        self._goes_up = False
        self._low = 0
        self._high = math.inf
        self._sides: tuple[Side, Side] | None = None
        self._is_high = False
        self._left = 0

    def record_commit(self, phase: int, held: int, wanted: int, commit_s: float) -> None:
        """Record a commit of a small batch.

        phase: the one in which its transaction began; held: how many were at once then, itself among them; wanted: how
        many there would be without a limit.
        """
        if self._sides is None:
            self._recent.append(wanted)
            self._rest -= 1
            if self._rest <= 0:
                self._begin()
            return
        if phase != self.phase or not (held > self._low if self._is_high else held >= self._low):
            self._rest -= 1  # begun before, or the limit was not reached: it says nothing of this side
            if self._rest <= 0:
                self._end(self.most)
            return
        self._sides[self._is_high].add(held, wanted, commit_s)
        self._left -= 1
        if self._left > 0:
            return
        if min(side.count for side in self._sides) < COMMITS_PER_SIDE:
            self._turn_to(is_high=not self._is_high)
        else:
            low, high = self._sides
            self._end(self._low if low.wait_s() < high.wait_s() else self._high)

    def remove_limit(self) -> None:
        """Remove the limit and search anew: a broker that does not answer is no sign of contention."""
        self._end(math.inf)
        self._rest = RECENT_COMMITS

    def _begin(self) -> None:
        """Begin a trial, if so many are at once that there is something to try."""
        usual = round(sum(self._recent) / len(self._recent))
        can_go_up, can_go_down = usual > self.most, min(usual, self.most) > MIN_LIMIT
        if not can_go_up and not can_go_down:
            self._rest = RECENT_COMMITS
            return
        self._goes_up = can_go_up and (self._goes_up or not can_go_down)
        if self._goes_up:
            self._low = int(self.most)
            self._high = self._low + max(1, self._low // 2)
        else:
            now = int(min(usual, self.most))
            self._low, self._high = max(MIN_LIMIT, now - max(1, now // 3)), self.most
        self._sides, self._rest = (Side(), Side()), COMMITS_BETWEEN_TRIALS
        self._turn_to(is_high=not self._goes_up)

    def _turn_to(self, *, is_high: bool) -> None:
        self._is_high, self._left = is_high, COMMITS_PER_PHASE
        self._set(self._high if is_high else self._low)

    def _end(self, found: float) -> None:
        if found == self.most:
            self._goes_up, self._rest = not self._goes_up, COMMITS_BETWEEN_TRIALS
        else:
            self._rest = RECENT_COMMITS
        self.most = found
        self._sides = None
        self._recent.clear()
        self._set(found)

    def _set(self, now: float) -> None:
        self.now = now
        self.phase += 1


class Permit:
    """The right to be in a transaction, within the limit."""

    __slots__ = ("_concurrency_limit", "_held", "_phase", "_until")

    def __init__(self, concurrency_limit: ConcurrencyLimit | None, phase: int = 0, held: int = 0) -> None:
        """Take the limit that it counts against; None: it counts against none, and its commit is not recorded."""
        self._concurrency_limit = concurrency_limit
        self._until = (
            asyncio.get_running_loop().call_later(PERMIT_S, self._expire) if concurrency_limit is not None else None
        )
        self._phase = phase
        self._held = held

    def record_commit(self, commands: int, commit_s: float) -> None:
        """Record its commit, unless it has ended or was large."""
        if self._concurrency_limit is not None and commands <= SMALL and commit_s > 0:
            self._concurrency_limit.rule.record_commit(
                self._phase, self._held, self._concurrency_limit.wanted, commit_s
            )

    def end(self) -> None:
        """Give the permit back, once; nothing happens if it has expired."""
        if self._concurrency_limit is not None and self._until is not None:
            concurrency_limit, self._concurrency_limit = self._concurrency_limit, None
            self._until.cancel()
            concurrency_limit.ended()

    def _expire(self) -> None:
        if self._concurrency_limit is not None:
            self._concurrency_limit.rule.remove_limit()
            self.end()


class ConcurrencyLimit:
    """Hands out permits, first come first served."""

    def __init__(self) -> None:
        """Begin without a limit."""
        self.rule = LimitSearch()
        self._held = 0
        self._waiting: deque[asyncio.Future[Permit]] = deque()

    @property
    def wanted(self) -> int:
        """How many have a permit or wait for one."""
        return self._held + len(self._waiting)

    @asynccontextmanager
    async def permit(self, commands: int) -> AsyncIterator[Permit]:
        """Wait for a permit, and hold it for the block, but no longer than `PERMIT_S`.

        commands: how many wait to be decided; with more than a small batch there is nothing to wait for.
        """
        permit = await self._taken() if commands <= SMALL else Permit(None)
        try:
            yield permit
        finally:
            permit.end()

    def ended(self) -> None:
        """Take a permit back, and give it to the next in line."""
        self._held -= 1
        while self._waiting and self._held < self.rule.now:
            future = self._waiting.popleft()
            if not future.done():  # else whoever waited was cancelled
                future.set_result(self._given())

    def _given(self) -> Permit:
        self._held += 1
        return Permit(self, self.rule.phase, self._held)

    async def _taken(self) -> Permit:
        if not self._waiting and self._held < self.rule.now:
            return self._given()
        future: asyncio.Future[Permit] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                future.result().end()  # it came at the same moment
            with suppress(ValueError):
                self._waiting.remove(future)
            raise
