"""What a worker's log says of what it decided: where, which and why; never a command's `data`.

One line per batch for what cannot be read or does not count, since somebody has to look at it; one per command only
where the level is `debug`. Both read the records again: nothing of it is paid for by a batch that is as it should be.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import structlog

from annals.schemas.wire.dead_letter import MISROUTED, DeadLetter
from annals.schemas.wire.reading import read_commands
from annals.topics.headers import origin_of
from annals.topics.keys import partition_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from annals.agents.ports import CommandRecord
    from annals.agents.writing.batch import Place, Tally
    from annals.schemas.envelope import Command

MOST_NAMED: Final = 20  # offsets in one line: a million records of garbage are no log of a million lines


class DecisionLog:
    """The log of one shard's decisions."""

    def __init__(self, place: Place, max_command_bytes: int) -> None:
        """Bind the shard to each line."""
        self._log = structlog.get_logger(__name__).bind(kind=place.kind, partition=place.partition)
        self._place = place
        self._max_command_bytes = max_command_bytes

    def committed(self, tally: Tally, records: Sequence[CommandRecord]) -> None:
        """Say what became of these records, once it is lasting."""
        is_debug = self._log.is_enabled_for(logging.DEBUG)
        if not is_debug and not tally.dead_letters:
            return
        dead_lettered = []
        for record, said in self._read(records):
            if isinstance(said, str):
                dead_lettered.append(record.offset)
            elif is_debug:
                self._log.debug(
                    "command committed",
                    offset=record.offset,
                    aggregate_id=said.aggregate_id,
                    command_id=said.id,
                    type=said.type,
                    correlation_id=said.correlation_id,
                )
        if tally.dead_letters:
            self._log.warning(
                "dead letters",
                reasons=dict(tally.dead_letters),
                offsets=dead_lettered[:MOST_NAMED],
                more=max(0, len(dead_lettered) - MOST_NAMED),
            )

    def folded(self, counts: Mapping[str, int], position: int) -> None:
        """Say what a fold met that does not count; `annals verify` names each place."""
        met = {verdict: counts[verdict] for verdict in ("void", "foreign") if counts.get(verdict)}
        if met:
            self._log.error("records that do not count", **met, up_to_offset=position)

    def _read(self, records: Sequence[CommandRecord]) -> Iterator[tuple[CommandRecord, Command | str]]:
        """Yield each record with its command, or the reason why it has none."""
        partition, partitions = self._place.partition, self._place.partitions
        for record, said in zip(records, read_commands(records, self._max_command_bytes), strict=True):
            if isinstance(said, DeadLetter):
                yield record, said.reason
            elif origin_of(record.headers) and partition_of(said.aggregate_id.encode(), partitions) != partition:
                yield record, MISROUTED
            else:
                yield record, said
