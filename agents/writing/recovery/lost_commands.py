"""Commands that were answered and lost: the outcome promised events that are void in the journal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from annals.agents.ports import command_key
from annals.agents.writing.recovery.outcomes import borne_out, is_command_at
from annals.agents.writing.restore.restored import resolve
from annals.schemas.outcome import ACCEPTED, decode_outcome

if TYPE_CHECKING:
    from annals.agents.ports import LogRecovery, LogState, ShardStore
    from annals.agents.writing.shard_id import ShardId


async def lost_commands(journal: LogRecovery, store: ShardStore, place: ShardId, seen: LogState) -> list[int]:
    """Return the offsets of the commands whose promised events are void, and that nothing answered since.

    Outcomes are hints here as well: one counts as the promise only where the command that it names is at the offset
    that it names, and as a later answer only if the journal bears it out.
    """
    found: list[int] = []
    after = b""
    while voids := store.voids(after):
        after = max(voids)
        await resolve(store, journal, [command_key(*void) for void in voids.values()])
        await resolve(store, journal, [command_key(*void) for void in voids.values()])
        unknown = {void for void in voids.values() if store.command(command_key(*void)) is None}
        if unknown:
            found += await _lost_of(journal, store, place, seen, unknown)
    return found


async def _lost_of(
    journal: LogRecovery, store: ShardStore, place: ShardId, seen: LogState, voids: set[tuple[bytes, bytes]]
) -> list[int]:
    lost: dict[tuple[str, str], int] = {}
    async for record in journal.outcomes_of(voids):
        try:
            outcome = decode_outcome(record.value or b"")
        except ValueError:  # a stranger's
            continue
        command = outcome.command_id, outcome.aggregate_id
        if (command[1].encode(), command[0].encode()) not in voids:
            continue
        offset = record.command_offset
        if outcome.status == ACCEPTED and outcome.events:
            is_there = seen.commands_start <= offset < seen.commands_stable
            if is_there and await is_command_at(journal, offset, *command):
                lost[command] = offset
        elif command in lost and await borne_out(journal, store, place, seen, [record]):
            del lost[command]
    return list(lost.values())
