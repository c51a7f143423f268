"""What a shard does about a store that fails: a damaged one is only a fold, and makes room for the next one.

Where that does not help, or the machine lacks something, others may have what the shard stands on: `DamagedStores.
failing` says so to whoever leaves the group for that.
"""

from __future__ import annotations

from asyncio import sleep
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from annals.agents.ports import StoreDamagedError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable

    from structlog.typing import FilteringBoundLogger

    from annals.agents.ports import Clock

MOST: Final = 3  # stores set aside within an hour; where there are more, it is the disk or the memory
HOUR_S: Final = 3600.0
RETRY_S: Final = 5.0
FIRST_WAIT_S: Final = 0.5
LONGEST_WAIT_S: Final = 10.0
LATELY_S: Final = 60.0


class Stores(Protocol):
    """What opens the stores of a shard."""

    async def set_aside(self, damage: StoreDamagedError) -> None:
        """Make room for another store."""

    async def open(self) -> Any:
        """Open the store, or begin one."""

    async def close(self, store: Any) -> None:
        """Close the store."""


class Failing(NamedTuple):
    """What opens a store that cannot be used, why that is, and until when, by the clock, it is left as it is."""

    stores: Stores
    reason: str
    rests_until: float


class DamageCounter(Protocol):
    """What counts the damaged stores of a shard."""

    def damaged(self) -> None:
        """Count one."""


class DamagedStores:
    """Sets one shard's damaged stores aside, at most three times an hour, and knows for how long none could be used."""

    def __init__(self, stores: Stores, clock: Clock, telemetry: DamageCounter, log: FilteringBoundLogger) -> None:
        """Begin without any damage."""
        self._stores = stores
        self._clock = clock
        self._telemetry = telemetry
        self._log = log
        self._set_aside_at: list[float] = []
        self._failed_at: list[float] = []
        self._reason = ""
        self.rests_until: float | None = None
        """Until when, by the clock, a store that is damaged again and again is not folded anew; None: it is at once."""

    async def set_aside(self, failure: StoreError, tell: Callable[[str], None]) -> None:
        """Make room for a new fold if the failure is damage; where that was done too often, wait first.

        What the machine lacks (space, files, rights) is logged and waited for.

        The store must be closed. tell: what the shard is waiting for.
        """
        if isinstance(failure, StoreDamagedError):
            await self._set_aside(failure, tell)
        else:
            await self._wait_for_room(failure)

    def failing(self, seconds: float) -> Failing | None:
        """Return why no store can be used, if that is so now and has been for so long, a moment's success apart."""
        if not self._reason or self._clock.monotonic() - self._failed_at[0] < seconds:
            return None
        return Failing(self._stores, self._reason, self.rests_until or 0.0)

    async def _wait(self, wait_s: float, reason: str) -> None:
        """Wait as one whose store cannot be used."""
        now = self._clock.monotonic()
        self._failed_at = [*(at for at in self._failed_at if now - at < LATELY_S), now]
        self._reason = reason
        try:
            await sleep(wait_s)
        finally:
            self._reason = ""

    async def _wait_for_room(self, failure: StoreError) -> None:
        """Wait longer each time within a minute: a store that opens, and fails when it writes, is no success."""
        now = self._clock.monotonic()
        self._failed_at = [at for at in self._failed_at if now - at < LATELY_S]
        wait_s = FIRST_WAIT_S * (2 ** len(self._failed_at) - 1)
        self._log.warning("the store cannot be used", reason=str(failure))
        await self._wait(min(LONGEST_WAIT_S, wait_s), str(failure))

    async def _set_aside(self, damage: StoreDamagedError, tell: Callable[[str], None]) -> None:
        self._telemetry.damaged()
        self._log.error("the store is damaged", reason=str(damage))
        tell(f"the store is damaged, folding the journal anew: {damage}")
        if (wait_s := self._wait_s()) > 0:
            reason = (
                f"the store was damaged {MOST + 1} times within an hour, and is folded anew in {wait_s:.0f} s: look at "
                f"the disk and the memory of this machine, or run the worker on another. {damage}"
            )
            self._log.error("stores are damaged again and again", reason=reason)
            tell(reason)
            self.rests_until = self._clock.monotonic() + wait_s
            await self._wait(wait_s, reason)
            self.rests_until = None
        try:
            await self._stores.set_aside(damage)
        except StoreError as error:
            self._log.error("the damaged store cannot be set aside", reason=str(error))
            tell(f"the damaged store cannot be set aside: {error}")
            await self._wait(RETRY_S, str(error))
        else:
            self._set_aside_at.append(self._clock.monotonic())

    def _wait_s(self) -> float:
        now = self._clock.monotonic()
        self._set_aside_at = [at for at in self._set_aside_at if now - at < HOUR_S]
        return self._set_aside_at[-MOST] + HOUR_S - now if len(self._set_aside_at) >= MOST else 0.0
