"""When a restore point is made anew: not for what the last one wrote itself."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
import structlog

from annals.agents.writing.restore.making import RestorePoints, RestorePolicy
from annals.agents.writing.shard_id import ShardId


@pytest.mark.parametrize(
    ("events", "seconds", "offsets", "count"),
    [
        (1, 600.0, 1, 0),  # the marker of its own transaction
        (1, 600.0, 2, 1),
        (5, 600.0, 4, 0),
        (5, 600.0, 5, 1),
        (5, 0.0, 1, 0),
        (5, 0.0, 2, 1),
    ],
)
def test_the_marker_of_a_restore_point_is_no_reason_for_the_next(
    events: int, seconds: float, offsets: int, count: int
) -> None:
    """Goes red when a shard with nothing to do writes the same restore point every second."""
    wanted: list[bool] = []
    journal: Any = SimpleNamespace(has_restore_points=True)
    clock: Any = SimpleNamespace(monotonic=lambda: 100.0)
    points = RestorePoints(
        ShardId("person", "commands.person", 0, 1),
        journal,
        1,
        RestorePolicy(events, seconds),
        clock,
        SimpleNamespace(),  # type: ignore[arg-type]
        asyncio.Semaphore(1),
        lambda: wanted.append(True),
        structlog.get_logger(),
    )
    points._since, points._looked_at = 10, 100.0
    points.consider(10 + offsets)
    assert len(wanted) == count
