"""Reading: what the library answers, what folding costs, and what all roles together do on a broker."""

from __future__ import annotations

from typing import TYPE_CHECKING

from annals.workers.tools.bench.figures import Part
from annals.workers.tools.bench.parts.reading_library import measure_library
from annals.workers.tools.bench.parts.reading_served import measure_served

if TYPE_CHECKING:
    from annals.workers.tools.bench.ground import Ground
    from annals.workers.tools.bench.plan import Plan


async def measure_read(ground: Ground, plan: Plan) -> Part:
    """Measure reading without Kafka, then on a broker."""
    alone, of_library = await measure_library(ground, plan)
    served, of_worker = await measure_served(ground, plan)
    return Part(name="read", title="Reading", method=f"{alone}\n{served}", figures=[*of_library, *of_worker])
