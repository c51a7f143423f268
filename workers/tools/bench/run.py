"""All of it, or some: the parts by name, measured one after the other on one ground."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from annals.workers.clock import SystemClock
from annals.workers.process import tune
from annals.workers.tools.bench.ground import ground, nowhere
from annals.workers.tools.bench.parts.chains import measure_append, measure_verify
from annals.workers.tools.bench.parts.deliver import measure_deliver
from annals.workers.tools.bench.parts.domain import measure_domain
from annals.workers.tools.bench.parts.drain import measure_backlog, measure_drain
from annals.workers.tools.bench.parts.fold import measure_fold
from annals.workers.tools.bench.parts.latency import measure_latency
from annals.workers.tools.bench.parts.memory import measure_memory, measure_sizes
from annals.workers.tools.bench.parts.reading import measure_read
from annals.workers.tools.bench.parts.restore import measure_restore
from annals.workers.tools.bench.parts.scaling import measure_pause, measure_scaling
from annals.workers.tools.bench.parts.size import measure_size
from annals.workers.tools.bench.parts.standby import measure_standby
from annals.workers.tools.bench.parts.subscribe import measure_subscribe
from annals.workers.tools.bench.parts.takeover import measure_takeover

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence
    from pathlib import Path

    from annals.workers.tools.bench.figures import Part
    from annals.workers.tools.bench.ground import Ground
    from annals.workers.tools.bench.plan import Plan

MEASURES: Final[dict[str, Callable[[Ground, Plan], Awaitable[Part]]]] = {
    "drain": measure_drain,
    "backlog": measure_backlog,
    "latency": measure_latency,
    "takeover": measure_takeover,
    "standby": measure_standby,
    "fold": measure_fold,
    "restore": measure_restore,
    "verify": measure_verify,
    "append": measure_append,
    "memory": measure_memory,
    "sizes": measure_sizes,
    "scaling": measure_scaling,
    "pause": measure_pause,
    "subscribe": measure_subscribe,
    "deliver": measure_deliver,
    "domain": measure_domain,
    "size": measure_size,
    "read": measure_read,
}
WITHOUT_BROKERS: Final = frozenset({"domain", "size"})


async def measure(
    names: Sequence[str], plan: Plan, bootstrap: str | None, folder: Path, say: Callable[[str], None]
) -> list[Part]:
    """Measure these parts in their order; SIGTERM stops it as Ctrl-C does, and all that was started with it.

    Raises:
        BenchError: a measurement could not be made.
    """
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    found = []
    needs_brokers = set(names) - WITHOUT_BROKERS
    async with ground(bootstrap, folder, say) if needs_brokers else nowhere(folder, say) as here:
        for name, measure_part in MEASURES.items():
            if name in names:
                circumstances = f"{SystemClock().now():%Y-%m-%d}, load before {os.getloadavg()[0]:.1f}"
                with collecting_as_a_worker():
                    part = await measure_part(here, plan)
                part.measured = circumstances
                found.append(part)
    return found


@contextmanager
def collecting_as_a_worker() -> Iterator[None]:
    """Have the garbage collector look as seldom as in a worker: some parts measure its classes in this process."""
    thresholds = gc.get_threshold()
    tune()
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()
