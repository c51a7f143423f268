"""What a worker's log says of what it decided: where, which and why; never a command's `data`.

One line per batch for what cannot be read or does not count, and one per command that failed by a defect: somebody has
to look at them. One per command only where the level is `debug`, which reads the records again.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import structlog

from annals.schemas.wire.dead_letter import DeadLetter
from annals.schemas.wire.reading import read_commands
from annals.topics.headers import origin_of
from annals.topics.keys import partition_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from annals.agents.ports import CommandRecord
    from annals.agents.writing.batches.batch import Tally
    from annals.agents.writing.shard_id import ShardId
    from annals.schemas.envelope import Command

MOST_NAMED: Final = 20  # offsets in one line: a million records of garbage are no log of a million lines


class DecisionLog:
    """The log of one shard's decisions."""

    def __init__(self, place: ShardId, max_command_bytes: int) -> None:
        """Bind the shard to each line."""
        self._log = structlog.get_logger(__name__).bind(kind=place.kind, partition=place.partition)
        self._place = place
        self._max_command_bytes = max_command_bytes

    def committed(self, tally: Tally, records: Sequence[CommandRecord]) -> None:
        """Say what became of these records, once it is lasting."""
        if tally.oversized:
            self._log.warning(
                "snapshots too large for their topic",
                aggregates=tally.oversized[:MOST_NAMED],
                more=max(0, len(tally.oversized) - MOST_NAMED),
            )
        if self._log.is_enabled_for(logging.DEBUG):
            self._tell_each(records)
        if tally.dead_letters:
            self._log.warning(
                "dead letters",
                reasons=dict(tally.dead_letters),
                offsets=sorted(tally.dead_lettered)[:MOST_NAMED],
                more=max(0, len(tally.dead_lettered) - MOST_NAMED),
            )
        for offset, error, raised_at in tally.defects:
            self._log.error("command failed by a defect", offset=offset, error=error, raised_at=raised_at)

    def _tell_each(self, records: Sequence[CommandRecord]) -> None:
        for record, command in self._read(records):
            self._log.debug(
                "command committed",
                offset=record.offset,
                aggregate_id=command.aggregate_id,
                command_id=command.id,
                type=command.type,
                correlation_id=command.correlation_id,
            )

    def folded(self, counts: Mapping[str, int], position: int) -> None:
        """Say what a fold met that does not count; `annals verify` names each place."""
        met = {verdict: counts[verdict] for verdict in ("void", "foreign") if counts.get(verdict)}
        if met:
            self._log.error("records that do not count", **met, up_to_offset=position)

    def _read(self, records: Sequence[CommandRecord]) -> Iterator[tuple[CommandRecord, Command]]:
        """Yield each record that has a command with it, unless it lies here by mistake for the second time."""
        partition, partitions = self._place.partition, self._place.partitions
        for record, said in zip(records, read_commands(records, self._max_command_bytes), strict=True):
            if isinstance(said, DeadLetter):
                continue
            if origin_of(record.headers) and partition_of(said.aggregate_id.encode(), partitions) != partition:
                continue
            yield record, said
