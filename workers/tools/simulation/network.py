"""The network between a process and the brokers: requests travel, arrive, are answered, and may be lost either way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from aiokafka.errors import KafkaConnectionError, RequestTimedOutError

from annals.workers.memory.server import END_TXN, RENEWING_END

if TYPE_CHECKING:
    from collections.abc import Callable

    from annals.workers.tools.simulation.process import Process
    from annals.workers.tools.simulation.world import World

PER_SECOND: Final = 500  # of the exponential distribution of a journey: 2 ms on the average
LATE_S: Final = 20.0
TIMEOUT_S: Final = 15.0
BREAKS_S: Final = 1.0  # after which a broken connection is noticed


class Network:
    """What one process has of the network (`annals.workers.memory.client.Network`).

    is_cut: whether these connections reach nobody, whatever other ones of the process do.
    """

    def __init__(self, world: World, process: Process, of: str = "") -> None:
        """Take the world whose weather it is; of: whose connections these are, if not those of all."""
        self.is_cut = False
        self._world = world
        self._process = process
        self._rng = world.chance(f"network of {of}{process.number}")

    async def ask(self, request: Any, serve: Callable[[Any], Any]) -> Any:
        """Return the answer; raise what aiokafka raises where there is none.

        A request on its way arrives whatever becomes of who sent it.
        """
        world, process = self._world, self._process
        loop, rng, weather = world.loop, self._rng, world.weather
        if not process.is_alive or process.is_cut or self.is_cut:
            raise KafkaConnectionError("the connection is closed")
        future = loop.create_future()
        is_lost = rng.random() < weather.lost_requests
        loses_answer = rng.random() < weather.lost_answers
        journey = rng.uniform(0.1, LATE_S) if rng.random() < weather.late else rng.expovariate(PER_SECOND)

        def arrive() -> None:
            answer = serve(request)
            if loses_answer or process.is_cut or self.is_cut:
                loop.call_later(rng.expovariate(1 / BREAKS_S), fail)
            else:
                loop.call_later(rng.expovariate(PER_SECOND), deliver, answer)

        def deliver(answer: Any) -> None:
            if (frozen := process.frozen_until - loop.time()) > 0:
                loop.call_later(frozen, deliver, answer)
            elif not future.done():
                future.set_result(answer)

        def fail() -> None:
            if not future.done():
                future.set_exception(KafkaConnectionError("the connection broke"))

        if is_lost:
            loop.call_later(rng.expovariate(1 / BREAKS_S), fail)
        else:
            starts = max(0.0, process.frozen_until - loop.time())
            loop.call_later(starts + journey, arrive)
            if (
                request.API_VERSION == RENEWING_END
                and request.API_KEY == END_TXN
                and rng.random() < weather.doubled_ends
            ):
                loop.call_later(starts + journey + rng.expovariate(20), serve, request)
        timer = loop.call_later(TIMEOUT_S, self._time_out, future)
        try:
            return await future
        finally:
            timer.cancel()

    @staticmethod
    def _time_out(future: Any) -> None:
        if not future.done():
            future.set_exception(RequestTimedOutError("no answer in time"))
