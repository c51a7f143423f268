"""The reaction of the histories, and whether it runs: it tells a gauge of each event of a counter, and sets timers."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from annals.agents.reacting.ports import Kept, is_active
from annals.agents.reactions.reaction import Occurred, Reacted, Reaction, TimerFired, after, cancel
from annals.schemas.commands import command
from annals.schemas.progress import Progress, encode_progress, progress_key, reaction_name
from annals.schemas.reaction_rows import Control
from annals.workers.tools.simulation.counter import (
    Counted,
    CounterClosed,
    CounterOpened,
    CounterRenamed,
    RenameCounter,
)
from annals.workers.tools.simulation.plan import AGGREGATES, PARTITIONS

if TYPE_CHECKING:
    from annals.agents.reactions.reaction import CancelTimer, SetTimer
    from annals.schemas.commands import NewCommand
    from annals.workers.memory.partition import Entry
    from annals.workers.tools.simulation.world import World

SOURCE: Final = "counter"
TARGET: Final = "gauge"
NAME: Final = "reminders"
OPEN_S: Final = 4.0
NAME_S: Final = 2.0
COUNTED_S: Final = 1.5


class Seen(Struct, frozen=True):
    """How many events of a counter there were."""

    events: int = 0


def react(state: Seen, event: Occurred) -> Reacted[Seen]:
    """Say which event this is, or which timer has fired behind how many events.

    A counter that was opened has a timer until it counts; its name has one that each new name sets anew; whatever is
    counted has one of its own. With the counter all end.
    """
    target = f"a{(int(event.aggregate_id[1:]) + 1) % AGGREGATES}"  # in another partition than its own, for some

    def tell(said: str) -> list[NewCommand]:
        return [command(TARGET, target, RenameCounter(name=said))]

    match event.message:
        case TimerFired(name=name):
            return Reacted(state, tell(f"{name}.{state.events}"))
        case CounterOpened():
            timers: list[SetTimer | CancelTimer] = [after("open", OPEN_S)]
        case CounterRenamed():
            timers = [after("name", NAME_S)]
        case Counted():
            timers = [cancel("open"), after(f"count-{event.version}", COUNTED_S)]
        case _:
            return Reacted(None, tell(f"event.{state.events + 1}"))
    return Reacted(Seen(state.events + 1), tell(f"event.{state.events + 1}"), timers)


REMINDERS: Final = Reaction(
    NAME, 1, SOURCE, frozenset({CounterOpened, CounterRenamed, Counted, CounterClosed}), Seen, react
)


def reminders(version: int) -> Reaction[Seen]:
    """Return the reaction as a release has it."""
    return replace(REMINDERS, version=version)


class SimulatedControls:
    """Whether the reaction runs (the `Controls` port), known to every worker as soon as it is said.

    release: the version that workers have which start from now on; before: what each partition of the journal had when
    the reaction was resumed for the first time.
    """

    def __init__(self, world: World) -> None:
        """Take the world; nobody has resumed it yet."""
        self._world = world
        self._kept: Kept | None = None
        self._changed = asyncio.Event()
        self.release = 1
        self.before: dict[int, list[Entry]] = {}

    def get(self, name: str) -> Kept | None:
        """Return what was said last."""
        del name
        return self._kept

    async def until_changed(self, name: str, known: Kept | None) -> None:
        """Wait until it is no longer what somebody knows."""
        del name
        while self._kept is known:
            await self._changed.wait()

    async def until_current(self) -> None:
        """Return at once: each change is known."""

    def begin(self) -> None:
        """Resume it for the first time: its progress comes with the record that says so."""
        names = self._world.names
        for partition in range(PARTITIONS):
            log = self._world.model.logs[names.events(SOURCE), partition]
            self.before[partition] = [entry for entry in log.entries if entry.end <= log.stable]
            key = progress_key(reaction_name(NAME), names.events(SOURCE), partition)
            progress = Progress(0, version=self.release, quiet_until=log.stable)
            self._world.append(names.progress, partition, key, encode_progress(progress))
        self.turn(is_active=True)

    @property
    def is_active(self) -> bool:
        """Whether it is to run."""
        return is_active(self._kept)

    def resume(self) -> None:
        """Resume it, if somebody paused it."""
        if self._kept is not None and not self.is_active:
            self.turn(is_active=True)

    def turn(self, *, is_active: bool) -> None:
        """Pause it, or resume it."""
        offset = 0 if self._kept is None else self._kept.offset + 1
        self._kept = Kept(Control("active" if is_active else "paused"), offset)
        self._changed.set()
        self._changed = asyncio.Event()
