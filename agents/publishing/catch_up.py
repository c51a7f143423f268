"""One subscription that is behind: published from where it stands by a writer of its own, until the live one is near.

It never ends by itself what it began: its progress ends in the transaction of the live publisher that takes it over.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import structlog

from annals.agents.backoff import Backoff
from annals.agents.ports import FencedError, JournalError, NotPermittedError
from annals.agents.publishing.failures import Failures
from annals.agents.publishing.heavy import select_in_turns
from annals.agents.publishing.ports import TargetError, Writes
from annals.agents.publishing.selection import RECORD_BYTES, TRANSACTION_BYTES, Halt
from annals.agents.reading.following.history import run_behind
from annals.agents.reading.found import last_below
from annals.agents.reading.ports import BrokenChainError, NotIndexedError, NotReadyError
from annals.agents.waiting import first_of
from annals.schemas.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Callable

    from annals.agents.deciding.decider import Decider
    from annals.agents.pace import Pace
    from annals.agents.publishing.ports import PublishLog, PublishTelemetry
    from annals.agents.publishing.records import Outgoing
    from annals.agents.publishing.selection import Subscribed
    from annals.agents.publishing.share import Share
    from annals.agents.reading.ports import JournalSource

log = structlog.get_logger(__name__)

MOST_LOOKED_AT: Final = 20_000  # offsets that are looked at again after a kill
GATHERED_BYTES: Final = 4 << 20
FIRST_RETRY_S: Final = 0.5
LAST_RETRY_S: Final = 10.0
LOOK_S: Final = 1.0


class CatchUp:
    """Publishes for one subscription what the live publisher has published already.

    position: how far it is. halt: where the subscription could not go on. problem: which right its process lacks,
    or how it failed. has_reached: whether the rest is one run.
    """

    def __init__(
        self,
        subscribed: Subscribed,
        begin: Progress,
        source: JournalSource,
        decider: Decider[Any],
        log: PublishLog,
        live: Callable[[], int],
        share: Share,
        telemetry: PublishTelemetry,
        pace: Pace,
    ) -> None:
        """Take the subscription, its progress as far as it is known, and what tells where the live publisher is."""
        self._pace = pace
        self._backoff = Backoff(FIRST_RETRY_S, LAST_RETRY_S)
        self.subscribed = subscribed
        self.position = begin.position
        self.halt: Halt | None = None
        self.problem: str | None = None
        self.has_reached = False
        self._begin = begin
        self._source = source
        self._decider = decider
        self._log = log
        self._live = live
        self._share = share
        self._telemetry = telemetry
        self._stopping = asyncio.Event()
        self._looked_at, self._bytes = self.position, 0
        self._last = self._cid = begin.cid
        self._gathered: list[Outgoing] = []

    @property
    def trouble(self) -> str:
        """What slows it down now; empty if nothing does."""
        return self._backoff.held_up("") or self._pace.trouble

    def stop(self) -> None:
        """Begin no other transaction; `run` ends when the one under way has ended."""
        self._stopping.set()

    async def run(self) -> None:
        """Publish until the live publisher is near, the subscription cannot go on, or `stop`."""
        backoff, name = self._backoff, self.subscribed.name
        failures = Failures(name)
        try:
            while not self._is_done():
                try:
                    await self._pace.obey(self._log.throttled_s(), self._stopping)
                    with self._backoff.piece():
                        await self._fence()
                    while not self._is_done():
                        if await self._go_on():  # looking succeeds where each transaction fails
                            backoff.reset()
                            failures.reset()
                            self.problem = self.problem if backoff.is_lasting else None
                        await self._pace.obey(self._log.throttled_s(), self._stopping)
                except FencedError as error:
                    self._telemetry.fenced()
                    self.problem = str(error) if backoff.is_lasting else None
                except TargetError as error:  # nothing of it will be visible
                    self.halt = Halt(self.position, str(error))
                except (JournalError, NotReadyError, BrokenChainError) as error:
                    self._telemetry.uncertain()
                    is_told = isinstance(error, NotPermittedError) or backoff.is_lasting
                    self.problem = str(error) if is_told else None
                    log.warning("catch-up begins again", subscription=name, reason=str(error))
                except Exception as error:  # noqa: BLE001 - one subscription fails, and the others go on
                    self._telemetry.defect(error)
                    self.halt, self.problem = failures.note(error, self.position), failures.last
                if not self._is_done():  # a rebalance waits for who stops
                    await first_of(backoff.wait(), self._stopping.wait(), timeout_s=LAST_RETRY_S)
        finally:
            await self._log.close()

    async def _go_on(self) -> bool:
        """Do the next step, or wait for something to do; return whether it has published or passed anything over."""
        before = self.position
        try:
            has_moved = await self._step()
        except NotIndexedError:  # what it is to publish next: nothing is wrong
            has_moved = False
        if not has_moved:
            await self._wait()
        return self.position > before

    def _is_done(self) -> bool:
        return self._stopping.is_set() or self.has_reached or self.halt is not None

    async def _fence(self) -> None:
        await self._log.fence()
        known = (await self._log.progress()).get(self.subscribed.name)
        if known is None or known.incarnation > self._begin.incarnation:
            raise FencedError(f"{self.subscribed.name}: another worker writes it with what is live now, or anew")
        if known.incarnation == self._begin.incarnation:  # else whoever wrote last did not know that it was begun anew
            self.position, self._cid = known.position, known.cid
        self._forget()

    async def _wait(self) -> None:
        """Wait for the reading shard: a store that is read anew has less than was published from the one before it."""
        await first_of(self._source.until_behind(self._looked_at), self._stopping.wait(), timeout_s=LOOK_S)

    async def _step(self) -> bool:
        """Look at the next run, and publish when there is enough to write; return whether there was any.

        What a selective filter lets through of one run is not worth a transaction: it is written with that of the next
        ones. A position that is not written is looked at again after a kill.
        """
        async with self._share.turn():
            with self._backoff.piece():
                has_looked = await self._look()
        await asyncio.sleep(0)
        return has_looked

    async def _look(self) -> bool:
        """Take the next run; return whether there was any."""
        done, looked_at = f"{self.subscribed.name}: published", Progress(self._looked_at, self._last)
        run = await run_behind(self._source, done, looked_at, self._pace.most)
        if run.next_offset >= self._live():
            await self._write()
            self.has_reached = True
            return True
        if run.next_offset <= self._looked_at:
            await self._write()
            return False
        name = self.subscribed.name
        selected = await select_in_turns(
            run.events, [(self.subscribed, self._looked_at)], self._decider, TRANSACTION_BYTES - self._bytes
        )
        halt = selected.halts.get(name)
        self._looked_at = selected.cut or run.next_offset if halt is None else halt.offset
        self._last = last_below(run.events, self._looked_at) or self._last
        outgoing = selected.records.get(name, [])
        self._gathered += outgoing
        self._bytes += sum(RECORD_BYTES + len(each.value) for each in outgoing)
        is_full = len(self._gathered) >= self._pace.most or self._bytes >= GATHERED_BYTES
        is_due = self._looked_at - self.position >= MOST_LOOKED_AT or selected.cut is not None
        if is_full or is_due or halt is not None:
            await self._write()
            self.halt = halt
        self._telemetry.failed(name, self.subscribed.failures())
        self._telemetry.lag(name, self._source.status().offset - self._looked_at)
        return True

    async def _write(self) -> None:
        """Publish what was gathered, with the position that it came to."""
        if self._looked_at == self.position:
            return
        name, position = self.subscribed.name, self._looked_at
        records = {name: self._gathered} if self._gathered else {}
        progress = Progress(position, self._last, self._begin.incarnation)
        with self._pace.committing(len(self._gathered) or 1, self._log.throttled_s):
            await self._log.commit(Writes(records, {name: progress}, position))
        self.position, self._cid = position, self._last
        self._telemetry.published(name, len(self._gathered))
        self._forget()

    def _forget(self) -> None:
        """Go on from the position that is written."""
        self._looked_at, self._last, self._bytes = self.position, self._cid, 0
        self._gathered = []
