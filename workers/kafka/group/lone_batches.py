"""A batch that comes alone, where nobody has read what is before it: is it where it says?

A disk that changes a base offset, which is in no checksum, puts a batch in the place of a later one. Other batches of
the answer say so (`annals.workers.kafka.group.header_names`), and whoever has read up to there has met it. One that
comes alone, as a large one or the last of a segment does, is proven by the offset before it: a broker that is asked for
that sends what has it, and the batch itself where that was led forward.
"""

from __future__ import annotations

import asyncio
from struct import Struct
from typing import TYPE_CHECKING, Any, Final

from aiokafka.errors import CorruptRecordException, KafkaError, OffsetOutOfRangeError, for_code

from annals.workers.kafka.protocol.fetches import QuickFetchRequest
from annals.workers.kafka.read.ranges import FETCH_WAIT_MS

if TYPE_CHECKING:
    from aiokafka.client import AIOKafkaClient
    from aiokafka.structs import TopicPartition

_BASE: Final = Struct(">q")
_ANY, _UNCOMMITTED, _LEAST_BYTES = 0, 0, 1
MISPLACED: Final = "is damaged: its offset is wrong"
MOST_ASKED: Final = 10
RETRY_S: Final = 0.1  # a shard hears within seven seconds of what is not proven: errors come at once
_NONE_BEFORE: Final = (OffsetOutOfRangeError, CorruptRecordException)  # it is the first, or that one is damaged


class _UnprovenError(Exception):
    """A broker that answers does not send what has the offset before a batch; the message says what it answers."""


async def prove_lone(client: AIOKafkaClient, node: int, assignment: Any, fetched: dict[TopicPartition, Any]) -> None:
    """Prove what came alone, and have it told where it is not; where the broker is gone, it is fetched again.

    fetched: what consumers take from, by partition: aiokafka's results, and its errors.
    """
    doubtful = {
        where: result for where, result in fetched.items() if _is_doubtful(assignment.state_value(where), result)
    }
    for where in doubtful:
        del fetched[where]  # nobody takes it meanwhile
    for where, result in doubtful.items():
        there, state = result._partition_records, assignment.state_value(where)  # noqa: SLF001 - it tells nobody
        base = there._records.lone_base  # noqa: SLF001 - the same
        # Meanwhile nothing else is fetched of this broker's: what stays unproven is asked about once each time.
        most = 1 if getattr(state, "unproven", None) == base else MOST_ASKED
        try:
            there._records.doubt = doubt = await _doubt(client, node, where, base, most)  # noqa: SLF001 - the same
        except KafkaError:
            return  # those behind it are fetched again, too: to wait for a broker that is gone takes long for each
        if not assignment.active or where in fetched:  # that of who leads it now
            continue
        state.unproven = None if doubt in {None, MISPLACED} else base
        if doubt is None:  # else it is asked about at each fetch of it
            state.read_to = there.next_fetch_offset
        fetched[where] = result


def _is_doubtful(state: Any, result: Any) -> bool:
    """Whether nothing was taken of a result yet, and nobody has asked whether its first batch is in its place."""
    there: Any = getattr(result, "_partition_records", None)
    records: Any = getattr(there, "_records", None)
    is_lone = getattr(records, "lone_base", None) is not None
    return is_lone and records.doubt is None and there.next_fetch_offset != getattr(state, "read_to", None)


async def _doubt(client: AIOKafkaClient, node: int, where: TopicPartition, base: int, most: int) -> str | None:
    """Return what is wrong with a batch that came alone; None: it is proven."""
    try:
        return MISPLACED if await _first_base(client, node, where, base - 1, most) == base else None
    except _UnprovenError as error:
        return f"came alone, and nothing proves its place: broker {node} answers for the offset before it {error}"


async def _first_base(client: AIOKafkaClient, node: int, where: TopicPartition, offset: int, most: int) -> int | None:
    """Return the base offset of the batch that a broker sends for an offset; None where it has none to send.

    Whatever else it answers is asked again, so often at most: what was not looked for is not proven.

    Raises:
        _UnprovenError: it went on answering so.
        KafkaError: it is gone, or leads the partition no more.
    """
    asked_for = [(where.topic, [(where.partition, offset, _LEAST_BYTES)])]
    # In less time tiered storage may have nothing each time; what a broker has on its disk it sends at once.
    request = QuickFetchRequest(FETCH_WAIT_MS, _ANY, _LEAST_BYTES, _UNCOMMITTED, asked_for)
    asked, told = 0, ""
    while asked < most:
        answer = await client.send(node, request)
        told = "nothing"
        for _, ((_, code, *_, data),) in answer.topics:  # of one partition, or none
            error = for_code(code)
            if data and len(data) >= _BASE.size:
                return int(_BASE.unpack_from(data)[0])
            if issubclass(error, _NONE_BEFORE):
                return None
            if error.invalid_metadata:
                raise error(f"{where.topic}-{where.partition}")
            told = f"{error.__name__} ({code})" if code else told
        asked += bool(answer.topics or not answer.throttle_time_ms)  # what a quota takes is no answer (KIP-219)
        await asyncio.sleep(max(answer.throttle_time_ms / 1000, RETRY_S))
    raise _UnprovenError(told)
