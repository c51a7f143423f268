"""The group's offset as somebody sets it by a tool: what it passes over without an answer is told."""

import pytest
from structlog.testing import capture_logs

from annals.agents.writing.shards.shard import Phase
from shard_scene import Scene, patience, running  # noqa: F401 - `patience` is for all tests here

SAID = "the group's offset was set by hand, beyond the last outcome: commands from `first` on are passed over"


async def told(scene: Scene, offset: int) -> list[tuple[int, int]]:
    """What is told of an offset that a tool has set: the first command without an answer, and the offset."""
    scene.log.remember(offset)
    with capture_logs() as logs:
        async with running(scene):
            await scene.until(Phase.OPEN)
    return [(each["first"], each["of"]) for each in logs if each["event"] == SAID]


async def decided() -> Scene:
    """A shard that has answered three commands, and two more came while it was away."""
    scene = Scene()
    for name in ("Ada", "Bea", "Cleo"):
        scene.command(name, aggregate_id=f"p-{name}")
    async with running(scene):
        await scene.answered(3)
    after = Scene(log=scene.log)
    for name in ("Dora", "Eva"):
        after.command(name, aggregate_id=f"p-{name}")
    return after


@pytest.mark.parametrize(("offset", "expected"), [(0, []), (2, []), (3, []), (4, [(3, 4)]), (5, [(3, 5)])])
async def test_commands_that_an_offset_passes_over_without_an_answer_are_told(
    offset: int, expected: list[tuple[int, int]]
) -> None:
    """Goes red when they are passed over without a word: their senders never hear, and nobody knows why."""
    assert await told(await decided(), offset) == expected
