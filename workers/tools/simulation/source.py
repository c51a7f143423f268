"""Where a simulated shard's commands come from: fetches of its partition, while its process may fetch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from annals.agents.ports import Delivery

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from annals.workers.memory.partition import Record
    from annals.workers.tools.simulation.process import Process

POLL_S: Final = 0.05
IDLE_S: Final = 0.2
MOST: Final = 40


class SimulatedSource:
    """One command partition (the `CommandSource` port)."""

    is_damaged = False  # the disks of histories damage other things

    def __init__(self, process: Process, partition: tuple[str, int], offer: Callable[[Delivery], None]) -> None:
        """Begin closed: nothing is fetched before `deliver_from`."""
        self.generation = 0
        self._process = process
        self._partition = partition
        self._offer = offer
        self._position = 0
        self._delivered_until = 0
        self._is_paused = False
        # As a plain pair reads: another text would be another history of each seed.
        self._rng = process.world.chance(f"source of {process.number} {tuple(partition)}")

    def deliver_from(self, offset: int) -> None:
        """Deliver from this offset on. What was fetched before belongs to an older generation."""
        self.generation += 1
        self._position = self._delivered_until = offset
        self._is_paused = False
        self._process.world.loop.call_soon(self._fetch, self.generation)

    def decided_until(self, next_offset: int) -> int:
        """Return the offset below which nothing is left to decide; see `CommandSource`."""
        return max(next_offset, self._position) if self._delivered_until <= next_offset else next_offset

    def pause(self) -> None:
        """Fetch no more for the time being."""
        self._is_paused = True

    def resume(self) -> None:
        """Fetch again."""
        self._is_paused = False

    def _fetch(self, generation: int) -> None:
        process = self._process
        world = process.world
        if generation != self.generation or not process.is_alive:
            return
        loop, rng = world.loop, self._rng
        if process.can_reach() and not self._is_paused:
            log = world.model.logs[self._partition]
            if not self._is_there(self._position):
                loop.call_later(rng.expovariate(500), self._deliver, generation, self._position, ())
                return
            records, position = log.committed(self._position, rng.randrange(1, MOST))
            loop.call_later(rng.expovariate(500), self._deliver, generation, position, records)
        else:
            loop.call_later(POLL_S, self._fetch, generation)

    def _deliver(self, generation: int, position: int, records: Sequence[Record]) -> None:
        """Hand out what a fetch brought; as in a worker, a seek may have come between the two."""
        process = self._process
        if not process.is_alive:
            return
        is_gone = not records and not self._is_there(position)
        if generation == self.generation:
            self._position = position
            if records:
                self._delivered_until = records[-1].offset + 1
        if records or is_gone:
            self._offer(Delivery(*self._partition, generation, records))
        if generation == self.generation and not is_gone:
            process.world.loop.call_later(
                self._rng.expovariate(1 / (POLL_S if records else IDLE_S)), self._fetch, generation
            )

    def _is_there(self, position: int) -> bool:
        log = self._process.world.model.logs[self._partition]
        return log.start <= position <= log.end
