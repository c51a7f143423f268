"""What must hold when things go wrong: two writers at once, and a worker that is killed with commands in its hands."""

from __future__ import annotations

import asyncio
from collections import Counter
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from annals.schemas.commands import command
from annals.schemas.kinds import location, person
from annals.schemas.outcome import ACCEPTED, DUPLICATE, REJECTED, VERSION_CONFLICT, decode_outcome
from annals.topics.keys import partition_of
from annals.workers.client.history import history
from annals.workers.client.sendable import from_members
from annals.workers.clock import new_id
from annals.workers.tools.demo.story import LAB
from annals.workers.tools.demo.teller import ACTOR, expect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from annals.schemas.commands import NewCommand
    from annals.schemas.outcome import Outcome
    from annals.workers.client import CommandClient
    from annals.workers.client.outcomes import Pending
    from annals.workers.client.sendable import Sendable
    from annals.workers.settings import Settings

GUESTS: Final = 200
VISITS: Final = 15
KILL_AFTER: Final = 4  # when one of so many commands is answered
SENDERS: Final = 400  # commands that are sent and not answered, at the most, until the kill


class Conflict(NamedTuple):
    """What became of two commands that expected the same version."""

    expected: int
    winner: Outcome
    loser: Outcome


async def conflict(client: CommandClient, settings: Settings) -> Conflict:
    """Let two writers see the same version of the lab, and change it at the same time.

    Raises:
        DifferedError: not exactly one of them won, or the other was told something else than the versions.
    """
    seen = [counted.event["version"] async for counted in history(settings, "location", LAB)][-1]
    # No run before can have set these: versions only grow.
    wishes = [location.SetCapacity(capacity=100 + 2 * seen + clerk) for clerk in (0, 1)]
    new = [command("location", LAB, wish).with_id(new_id()).by(ACTOR).expecting(seen) for wish in wishes]
    outcomes = await asyncio.gather(*(client.send("location", each.envelope()) for each in new))
    winner, loser = sorted(outcomes, key=lambda outcome: outcome.status != ACCEPTED)
    error = loser.error
    expect(
        (winner.status, loser.status) == (ACCEPTED, REJECTED)
        and winner.version == seen + 1
        and error is not None
        and (error.code, error.details) == (VERSION_CONFLICT, {"expected": seen, "actual": seen + 1}),
        f"of two commands that expect version {seen} one should win and one should conflict: {outcomes}",
    )
    return Conflict(seen, winner, loser)


class Flood(NamedTuple):
    """What became of the commands that were under way when a worker was killed."""

    ids: frozenset[str]
    statuses: Counter[str]
    answered_before: int
    in_its_hands: int
    """Commands for partitions of the killed worker that were sent, and not answered, at the kill."""
    seconds: float
    """From the kill to the last answer."""
    versions: dict[str, tuple[int, str]]


async def flood(
    client: CommandClient, run: int, settings: Settings, owned: set[int], kill: Callable[[], None]
) -> Flood:
    """Send thousands of commands, kill a worker in mid-flight, and wait for every answer.

    owned: the partitions of persons that the worker answers for; kill: kills it.

    Raises:
        DifferedError: a command was refused, or the worker had nothing in its hands.
    """
    commands = [from_members(new.kind, new.envelope(), settings.max_command_bytes, new_id) for new in _visits(run)]
    is_its_own = [partition_of(each.key, settings.partitions) in owned for each in commands]
    return await _Flood(client, kill).run(commands, is_its_own)


class _Flood:
    def __init__(self, client: CommandClient, kill: Callable[[], None]) -> None:
        self._client = client
        self._kill = kill
        self._room = asyncio.Semaphore(SENDERS)
        self._has_killed = asyncio.Event()
        self._answered = 0

    async def run(self, commands: list[Sendable], is_its_own: list[bool]) -> Flood:
        sent: list[Pending] = []
        sending = asyncio.create_task(self._send(commands, sent))
        killing = asyncio.create_task(self._kill_when(len(commands) // KILL_AFTER, sent, is_its_own))
        try:
            answered_before, in_its_hands, killed_at = await killing
            await sending
            outcomes = [decode_outcome(await self._client.answer(pending)) for pending in sent]
        finally:
            for task in (sending, killing):
                task.cancel()
            await asyncio.gather(sending, killing, return_exceptions=True)
        seconds = perf_counter() - killed_at
        statuses: Counter[str] = Counter(outcome.status for outcome in outcomes)
        wrong = next((outcome for outcome in outcomes if outcome.status == REJECTED or not outcome.events), None)
        expect(wrong is None, f"a command of the {len(commands)} was not carried out: {wrong}")
        expect(in_its_hands > 0, "the killed worker had no command in its hands: nothing was shown by it")
        versions = {f"{each.kind}/{each.aggregate_id}": (each.version, each.head or "") for each in outcomes}
        ids = frozenset(command.id for command in commands)
        return Flood(ids, statuses, answered_before, in_its_hands, seconds, versions)

    async def _send(self, commands: list[Sendable], sent: list[Pending]) -> None:
        for each in commands:
            if not self._has_killed.is_set():
                # Until then at the speed of the answers, so that the kill comes in the middle on any machine.
                await self._room.acquire()
            pending = await self._client.submit(each)
            pending.answer.add_done_callback(self._note)
            sent.append(pending)

    def _note(self, _: Any) -> None:
        self._answered += 1
        self._room.release()

    async def _kill_when(self, answers: int, sent: list[Pending], is_its_own: list[bool]) -> tuple[int, int, float]:
        while True:
            open_ = [number for number, pending in enumerate(sent) if not pending.answer.done()]
            in_its_hands = sum(is_its_own[number] for number in open_)
            # With something in its hands, or else the kill would show nothing.
            if self._answered >= answers and in_its_hands:
                self._kill()
                self._has_killed.set()
                self._room.release()
                return self._answered, in_its_hands, perf_counter()
            await asyncio.sleep(0)


def _visits(run: int) -> Iterator[NewCommand]:
    """Guests register, once and for all, and are then renamed, in every run anew."""
    for visit in range(VISITS):
        for guest in range(GUESTS):
            name = f"g-{guest:03}"
            wish = (
                person.RegisterPerson(name=f"Guest {guest}")
                if visit == 0
                else person.RenamePerson(name=f"Guest {guest}, {run}.{visit}")
            )
            command_id = f"demo.{name}.registered" if visit == 0 else f"demo-{run}.{name}.renamed.{visit}"
            yield command("person", name, wish).with_id(command_id).by(ACTOR)


def counted_statuses(flood_: Flood) -> str:
    """The statuses in words: `3,000 accepted`."""
    order = (ACCEPTED, DUPLICATE)
    return ", ".join(f"{flood_.statuses[status]:,} {status}" for status in order if flood_.statuses[status])
