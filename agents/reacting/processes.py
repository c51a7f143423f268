"""The processes of one reaction in one journal partition: states, timers by due time, and what has changed. Pure.

Everything here is thrown away and read again where it is not known whether a change was committed.
"""

from __future__ import annotations

from base64 import b32encode
from collections import Counter
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
from blake3 import blake3

from annals.agents.due_index import DueIndex
from annals.agents.event_keys import event_key
from annals.agents.reacting.failures import ReactionFailedError, TooManyCommandsError, UnusableError, guarded, name_of
from annals.agents.reacting.ports import OutgoingCommand
from annals.agents.reactions.reaction import CancelTimer, Occurred, Reacted, Reaction, SetTimer, TimerFired
from annals.schemas.cid import cid_text
from annals.schemas.data.copies import own
from annals.schemas.depth import decoded
from annals.schemas.reaction_rows import (
    STATE_ROWS,
    ProcessId,
    StateRow,
    TimerRow,
    decode_timer,
    parse_row_key,
    state_key,
    timer_key,
)
from annals.schemas.wire.via import ANNALS_VIA, has_come_round, via_with
from annals.topics.headers import EVENT_VIA

if TYPE_CHECKING:
    from collections.abc import Sequence

    from annals.agents.deciding.decider import Decider
    from annals.agents.reading.found import JournalEvent
    from annals.schemas.commands import NewCommand
    from annals.schemas.messages import Message
    from annals.topics.headers import Header

RUN_BYTES: Final = 16 << 20  # of commands in a transaction, and of those that one event may lead to
MOST_SET_MEANWHILE: Final = 1_000  # while timers fire before an event: one that sets itself again at once never ends
CLOUD_EVENT: Final = "ce_"  # how the names of those headers begin that would make a command a CloudEvent
_ENCODER: Final = msgspec.json.Encoder(order="deterministic")


class _Taken(NamedTuple):
    """What a process makes of what occurred. state: as its row has it; None: it has none, since it is as it begins."""

    state: bytes | None
    is_over: bool
    timers: list[tuple[str, TimerRow | None]]
    commands: list[OutgoingCommand]


class Changes(NamedTuple):
    """What has changed since it was last asked for: rows to write, commands to send, and how many timers fired.

    come_round: events of another deployment that were passed over, since they have come through this one.
    """

    rows: dict[bytes, bytes | None]
    commands: list[OutgoingCommand]
    fired: int = 0
    come_round: int = 0


class Processes:
    """due_until: the latest due time of a timer that has fired. command_bytes: of the commands that are to be sent."""

    def __init__(self, reaction: Reaction[Any], decider: Decider[Any], here: str | None = None) -> None:
        """Begin with none. here: this deployment's id; a reaction to events of another one needs it."""
        self._reaction = reaction
        self._here = here
        self._decider = decider
        self._state = msgspec.json.Decoder(reaction.state)
        self._names = {message.__name__ for message in reaction.wanted}
        self._states: dict[ProcessId, bytes] = {}  # as rows have them: nobody can change these in place
        self._timers: dict[ProcessId, dict[str, TimerRow]] = {}
        self._by_due: DueIndex[tuple[str, ProcessId, str]] = DueIndex(self._is_set)
        self._count = 0
        self._changes = Changes({}, [])
        self.command_bytes = 0
        self.due_until = ""

    @property
    def timers(self) -> int:
        """How many timers are set."""
        return self._count

    def load(self, key: bytes, value: bytes) -> None:
        """Take a row's record; one of another version says nothing.

        Raises:
            ValueError: it is no row.
            ReactionFailedError: it is a state of this version, and none that this release can read.
        """
        process, timer = parse_row_key(key)
        if timer is None:
            state = decoded(STATE_ROWS.decode, value)
            if state.version == self._reaction.version:
                self._states[process] = self._loaded(process, bytes(state.state))
        else:
            row = decode_timer(value)
            if row.version == self._reaction.version:
                self._keep_timer(process, timer, row)

    def next_due(self) -> str | None:
        """Return when the next timer fires; None if there is none."""
        first = self._by_due.first()
        return None if first is None else first[0]

    def take(self, source: JournalEvent, *, is_quiet: bool, quiet_due: str = "") -> None:
        """React to an event, and before it to the timers of its process that were due when it was recorded.

        is_quiet: commands are not sent; quiet_due: nor are those of timers up to this time that were set so.

        Raises:
            ReactionFailedError: it cannot be taken; nothing of it has changed, but for timers that fired before it.
        """
        event = source.event
        if event["type"] not in self._names:
            return
        if self._has_come_round(source.carried):
            self._changes = self._changes._replace(come_round=self._changes.come_round + 1)
            return
        where = name_of(source)

        def read() -> tuple[Message, str | None]:
            # A reaction may change what it is given, and others are given the same data.
            message = own(self._decider.read_event(event["type"], event["schema_version"], event["data"]))
            return message, event_key(self._reaction.key, event["correlation_id"], event["data"])

        message, key = guarded(read, where)
        if key is None:
            return
        process = ProcessId(key, "") if self._reaction.rekeyed else ProcessId(event["aggregate_id"], key)
        self._fire_before(process, event["recorded_at"], where, is_quiet=is_quiet, quiet_due=quiet_due)
        cid = cid_text(source.cid)
        occurred = Occurred(
            event["kind"],
            event["aggregate_id"],
            event["version"],
            event["recorded_at"],
            cid,
            event["correlation_id"],
            message,
            self._reaction.deployment,
        )
        self._react(process, occurred, None if is_quiet else cid, self._carried(source.carried), where)

    def fire(self, now: str, most: int, *, quiet_due: str = "") -> bool:
        """Fire what is due, in the order of due times; return whether there may be more.

        Raises:
            ReactionFailedError: a timer's firing cannot be taken; nothing of it has changed.
        """
        for _ in range(most):
            first = self._by_due.first()
            if first is None or first[0] > now:
                return False
            _, process, name = first
            self._fire(process, name, is_quiet=False, quiet_due=quiet_due)
        return True

    def changes(self) -> Changes:
        """Return what has changed, and begin to note anew."""
        found, self._changes, self.command_bytes = self._changes, Changes({}, []), 0
        return found

    def _fire_before(self, process: ProcessId, until: str, where: str, *, is_quiet: bool, quiet_due: str) -> None:
        """Fire the timers of a process that are due up to a time, and those that they set for before it."""
        timers = self._timers.get(process, {})
        fired, most = 0, MOST_SET_MEANWHILE + len(timers)
        due = [(timer.due, name) for name, timer in timers.items() if timer.due <= until]
        heapify(due)
        while due:
            at, name = heappop(due)
            if not self._is_set((at, process, name)):
                continue
            if fired == most:
                raise ReactionFailedError(f"{where}: {fired:,} timers fired before it, and more are due: without end?")
            fired += 1
            for set_at, each in self._fire(process, name, is_quiet=is_quiet, quiet_due=quiet_due):
                if set_at <= until:
                    heappush(due, (set_at, each))

    def _fire(self, process: ProcessId, name: str, *, is_quiet: bool, quiet_due: str) -> list[tuple[str, str]]:
        """Fire a timer; return due times and names of those that it sets."""
        timer = self._timers[process][name]
        occurred = Occurred(
            self._reaction.kind,
            process.aggregate_id,
            0,
            timer.due,
            timer.cause,
            timer.correlation_id,
            TimerFired(name, timer.due),
            self._reaction.deployment,
        )
        stem = f"t:{_digest(self._reaction.name, *process, name, timer.due, timer.cause)}"
        where = f"{self._reaction.kind} {process.aggregate_id!r}, timer {name!r} of {timer.due}"
        is_silent = is_quiet or (timer.is_quiet and timer.due <= quiet_due)
        carried = [(ANNALS_VIA, timer.via.encode())] if timer.via else []
        timers = self._react(process, occurred, None if is_silent else stem, carried, where, fires=name)
        self.due_until = max(self.due_until, timer.due)
        self._changes = self._changes._replace(fired=self._changes.fired + 1)
        return [(row.due, each) for each, row in timers if row is not None]

    def _react(
        self,
        process: ProcessId,
        occurred: Occurred,
        stem: str | None,
        carried: Sequence[Header],
        where: str,
        fires: str | None = None,
    ) -> list[tuple[str, TimerRow | None]]:
        """Have the reaction react, and take over all that comes of it; where it fails, nothing. Return its timers.

        stem: how the ids of its commands begin; None: it sends none. carried: the headers of these commands.
        """

        def react() -> _Taken:
            begun = _ENCODER.encode(self._reaction.state())
            kept = self._states.get(process, begun)
            reacted = Reacted(*self._reaction.react(self._state.decode(kept), occurred))
            is_over = reacted.state is None
            state = begun if is_over else self._encoded(reacted.state, kept)
            timers = [
                (
                    _name_of_timer(process, each),
                    None
                    if isinstance(each, CancelTimer)
                    else self._timer_row(each, occurred, carried, is_quiet=stem is None),
                )
                for each in reacted.timers
            ]
            commands = [] if stem is None else _commands(reacted.commands, occurred, stem, carried)
            # As it begins, a state needs no row.
            return _Taken(None if state == begun else state, is_over, timers, commands)

        taken = guarded(react, where)
        if fires is not None:
            self._set_timer(process, fires, None)
        self._set_state(process, taken.state)
        if taken.is_over:
            self._cancel_all(process)
        for name, row in taken.timers:
            self._set_timer(process, name, None if taken.is_over else row)
        self._changes.commands.extend(taken.commands)
        self.command_bytes += sum(len(each.value) for each in taken.commands)
        return taken.timers

    def _loaded(self, process: ProcessId, state: bytes) -> bytes:
        """Return a state that was kept, if this release can read it: its type may have code of its own."""

        def read() -> bytes:
            try:
                decoded(self._state.decode, state)
            except ValueError as error:
                why = f"it is no {self._reaction.state.__name__} of this release"
                raise UnusableError(f"{why}. A state that changes needs a new version of the reaction") from error
            return state

        kept_by = f"the state that is kept by version {self._reaction.version}"
        return guarded(read, f"{self._reaction.kind} {process.aggregate_id!r}: {kept_by}")

    def _encoded(self, state: Any, kept: bytes) -> bytes:
        """Return a state as its row has it; msgspec makes one of members that are not of their types, too.

        Raises:
            UnusableError: it could not be read again.
        """
        encoded = _ENCODER.encode(state)
        try:
            if encoded != kept:
                decoded(self._state.decode, encoded)
        except ValueError as error:
            raise UnusableError(f"its state could not be read again as {self._reaction.state.__name__}") from error
        return encoded

    def _has_come_round(self, carried: Sequence[Header]) -> bool:
        """Whether an event of another deployment is to be passed over, or deployments would drive one another for ever.

        Raises:
            ReactionFailedError: it is not known which deployment this is.
        """
        if self._reaction.deployment is None:
            return False
        if self._here is None:
            raise ReactionFailedError(f"{self._reaction.name}: this deployment has no id: set ANNALS_DEPLOYMENT")
        return has_come_round(dict(carried).get(EVENT_VIA), self._here)

    def _carried(self, carried: Sequence[Header]) -> list[Header]:
        """Return the headers of commands that an event leads to: its trace, and what deployments it came through."""
        via = dict(carried).get(EVENT_VIA)
        if self._reaction.deployment is not None:
            via = via_with(via, self._reaction.deployment)
        headers = [header for header in carried if not header[0].startswith(CLOUD_EVENT)]
        return headers if via is None else [*headers, (ANNALS_VIA, via)]

    def _timer_row(self, timer: SetTimer, occurred: Occurred, carried: Sequence[Header], *, is_quiet: bool) -> TimerRow:
        via = dict(carried).get(ANNALS_VIA, b"").decode()
        due = timer.due(occurred.recorded_at)
        return TimerRow(self._reaction.version, due, occurred.cid, occurred.correlation_id, is_quiet, via)

    def _set_state(self, process: ProcessId, state: bytes | None) -> None:
        if state == self._states.get(process):
            return
        if state is None:
            del self._states[process]
        else:
            self._states[process] = state
        row = None if state is None else _ENCODER.encode(StateRow(self._reaction.version, msgspec.Raw(state)))
        self._changes.rows[state_key(process)] = row

    def _set_timer(self, process: ProcessId, name: str, row: TimerRow | None) -> None:
        was = self._forget_timer(process, name)
        if row is not None:
            self._keep_timer(process, name, row)
        elif not was:
            return
        self._changes.rows[timer_key(process, name)] = None if row is None else _ENCODER.encode(row)

    def _cancel_all(self, process: ProcessId) -> None:
        for name in list(self._timers.get(process, ())):
            self._set_timer(process, name, None)

    def _keep_timer(self, process: ProcessId, name: str, row: TimerRow) -> None:
        self._timers.setdefault(process, {})[name] = row
        self._count += 1
        self._by_due.put((row.due, process, name), self._count)

    def _is_set(self, entry: tuple[str, ProcessId, str]) -> bool:
        due, process, name = entry
        timer = self._timers.get(process, {}).get(name)
        return timer is not None and timer.due == due

    def _forget_timer(self, process: ProcessId, name: str) -> bool:
        timers = self._timers.get(process)
        if timers is None or timers.pop(name, None) is None:
            return False
        if not timers:
            del self._timers[process]
        self._count -= 1
        self._by_due.sweep(self._count)
        return True


def _commands(
    wanted: Sequence[NewCommand], occurred: Occurred, stem: str, carried: Sequence[Header]
) -> list[OutgoingCommand]:
    """Return the records of commands, with ids by which a reaction that is redone is a duplicate."""
    found = []
    seen: Counter[tuple[str, str, str]] = Counter()
    size = 0
    for each in wanted:
        name = type(each.message).__name__
        seen[each.kind, each.aggregate_id, name] += 1
        number = seen[each.kind, each.aggregate_id, name]
        said = msgspec.structs.replace(
            each,
            id=f"{stem}:{name}" + (f":{number}" if number > 1 else ""),
            correlation_id=occurred.correlation_id,
            causation_id=occurred.cid,
        )
        command = OutgoingCommand(said.kind, said.key(), said.value(), carried)
        size += len(command.value)
        if size > RUN_BYTES:
            raise TooManyCommandsError(f"its commands have more than {RUN_BYTES:,} bytes")
        found.append(command)
    return found


def _name_of_timer(process: ProcessId, timer: SetTimer | CancelTimer) -> str:
    """Return the name of a timer.

    Raises:
        UnusableError: nobody could read it again.
    """
    try:
        parse_row_key(timer_key(process, timer.name))
    except ValueError as error:
        raise UnusableError("the name of a timer is no text") from error
    return timer.name


def _digest(*said: str) -> str:
    """Return what tells a timer apart, also from one that another event set for the same time once it had fired."""
    return b32encode(blake3(msgspec.json.encode(said)).digest()).decode().rstrip("=").lower()
