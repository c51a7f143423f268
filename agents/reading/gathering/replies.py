"""Replies of one worker to the questions of another. Events travel as their blocks: each CID is computed anew.

As of `questions`: what is added to a struct needs a default.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec
from msgspec import Struct, field

from annals.agents.reading.found import (
    AggregatePage,
    EventPage,
    FoundEvent,
    FoundState,
    KeptSnapshot,
    RowPage,
    ShardNumbers,
    ShardPosition,
    ShardStatus,
)
from annals.agents.reading.gathering.questions import (
    Ask,
    AskAggregates,
    AskByCid,
    AskDropSnapshot,
    Asked,
    AskFind,
    AskHistory,
    AskKeepSnapshot,
    AskNumbers,
    AskOffsetOf,
    AskRows,
    AskSnapshots,
    AskState,
    AskStatus,
    AskUntilOffset,
    AskUntilVersion,
)
from annals.agents.reading.keeping.blocks import event_of
from annals.agents.reading.ports import (
    BrokenChainError,
    NotReadyError,
    UnreadableEventError,
    VersionMissingError,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from annals.agents.reading.gathering.questions import Question
    from annals.agents.reading.ports import ReadingShard

K = TypeVar("K", str, bytes)

GREATEST: Final = 2**63  # no version is as great


class SentEvent(Struct, frozen=True, array_like=True):
    """An event on its way to another worker."""

    offset: int
    block: bytes


class SentPage(Struct, frozen=True):
    """An `EventPage` on its way."""

    events: list[SentEvent]
    next_offset: int
    is_end: bool
    position: int
    journal: bytes
    begun: list[bytes] | None = None
    mark: bytes = b""


class SentHistory(Struct, frozen=True):
    """A part of an aggregate's events on its way; is_whole: these are all that were asked for."""

    events: list[SentEvent]
    is_whole: bool


class Reply(Struct, frozen=True):
    """What became of a question.

    status: where the shard stood before it answered; answer: msgpack of what the port's function returns; failure: the
    error that it raised, by a name of `FAILURES`, and message.
    """

    status: ShardStatus | None = None
    answer: msgspec.Raw = field(default_factory=lambda: msgspec.Raw(msgspec.msgpack.encode(None)))
    failure: str | None = None
    message: str = ""


PART_EVENTS: Final = 1_000
PART_BYTES: Final = 8 << 20
NOT_HERE: Final = "not_here"
FAILURES: Final[dict[str, type[Exception]]] = {
    "not_ready": NotReadyError,
    "broken_chain": BrokenChainError,
    "unreadable_event": UnreadableEventError,
    "version_missing": VersionMissingError,
    "unknown": LookupError,
}

ANSWERS: Final[dict[type[Ask], Any]] = {
    AskStatus: None,
    AskUntilOffset: bool,
    AskUntilVersion: bool,
    AskOffsetOf: int | None,
    AskState: FoundState | None,
    AskHistory: SentHistory,
    AskFind: SentPage,
    AskByCid: SentEvent | None,
    AskAggregates: AggregatePage,
    AskSnapshots: list[KeptSnapshot],
    AskKeepSnapshot: KeptSnapshot | None,
    AskDropSnapshot: bool,
    AskNumbers: ShardNumbers,
    AskRows: RowPage,
}


class UnreadableReplyError(ValueError):
    """What a worker replied is no answer to the question."""


async def put(shard: ReadingShard, question: Question, deadline: float) -> Any:
    """Put a question to a shard that is here; deadline: monotonic seconds, for those that wait."""
    match question:
        case AskStatus():
            return None
        case AskUntilOffset(offset):
            return await shard.until_offset(offset, deadline)
        case AskUntilVersion(aggregate_id, version):
            return await shard.until_version(aggregate_id, version, deadline)
        case AskOffsetOf(aggregate_id, version):
            return await shard.offset_of(aggregate_id, version)
        case AskState(aggregate_id, version, at):
            return await shard.state(aggregate_id, version=version, at=at)
        case AskHistory(aggregate_id, first, last, descending, limit):
            found = await shard.history(aggregate_id, first=first, last=last, descending=descending, limit=limit)
            return found, True
        case AskFind(wanted, start, descending, limit):
            return await shard.find(wanted, start=start, descending=descending, limit=limit)
        case AskByCid(cid):
            return await shard.by_cid(cid)
        case AskAggregates(status, since, until, after_id, limit, knows_places):
            listed = await shard.aggregates(status=status, since=since, until=until, after=after_id, limit=limit)
            if not (knows_places or listed.is_end or len(listed.aggregates) == limit):
                raise NotReadyError(
                    "the asking worker does not know such pages of aggregates: it is of a former release"
                )
            return listed
        case AskSnapshots(aggregate_id, behind, None, limit):
            return (await shard.snapshots(aggregate_id, behind=behind, descending=True, limit=limit))[::-1]
        case AskSnapshots(aggregate_id, behind, bool(descending), limit):
            return await shard.snapshots(aggregate_id, behind=behind, descending=descending, limit=limit)
        case AskKeepSnapshot(aggregate_id):
            return await shard.keep_snapshot(aggregate_id)
        case AskDropSnapshot(aggregate_id, version):
            return await shard.drop_snapshot(aggregate_id, version)
        case AskNumbers():
            return await shard.numbers()
        case AskRows(projection, version, index, after_key, limit, knows_places, also):
            try:
                page = await shard.rows(projection, version, index, after=after_key, limit=limit, also=also)
            except ValueError as error:  # a former release asks by words that no row has
                raise NotReadyError(str(error)) from None
            if not knows_places and (page.ordered_by is not None or not (page.rows or page.is_end)):
                raise NotReadyError("the asking worker does not know such pages of rows: it is of a former release")
            return page


async def reply_to(shard: ReadingShard | None, asked: Asked, deadline: float) -> bytes:
    """Answer another worker's question by a shard that is here. It is not passed on: None is `not_here`."""
    if shard is None:
        return msgspec.msgpack.encode(Reply(failure=NOT_HERE, message=f"{asked.kind}-{asked.partition} is not here"))
    status = shard.status()
    question = asked.question
    if isinstance(question, AskHistory) and (question.limit is None or question.limit > PART_EVENTS):
        question = msgspec.structs.replace(question, limit=PART_EVENTS)
    try:
        answer = await put(shard, question, deadline)
    except tuple(FAILURES.values()) as error:
        name = next(name for name, kind in FAILURES.items() if isinstance(error, kind))
        return msgspec.msgpack.encode(Reply(status, failure=name, message=str(error)))
    return msgspec.msgpack.encode(Reply(status, msgspec.Raw(msgspec.msgpack.encode(_sent(asked.question, answer)))))


def read_answer(asked: Asked, reply: Reply) -> Any:
    """Return the answer in a reply, as the shard's own function would.

    Raises:
        UnreadableReplyError: it is no answer to this question.
    """
    question = asked.question
    status = reply.status
    if status is None or (status.kind, status.partition) != (asked.kind, asked.partition):
        raise UnreadableReplyError(f"it is none of {asked.kind}-{asked.partition}")
    try:
        answer = msgspec.msgpack.decode(reply.answer, type=ANSWERS[type(question)])
        return _received(asked, answer)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise UnreadableReplyError(f"it is no answer to {type(question).__name__}: {error}") from error


def _sent(question: Question, answer: Any) -> Any:
    if isinstance(question, AskHistory):
        return _history_part(question, answer[0])
    if isinstance(answer, FoundEvent):
        return SentEvent(answer.offset, answer.block)
    if isinstance(answer, EventPage):
        events = [SentEvent(found.offset, found.block) for found in answer.events]
        at = answer.position.offset
        return SentPage(events, answer.next_offset, answer.is_end, at, answer.journal, answer.begun, answer.mark)
    if isinstance(question, AskAggregates) and not question.knows_places:
        return answer.aggregates, answer.is_end
    return answer


def _history_part(question: AskHistory, found: Sequence[FoundEvent]) -> SentHistory:
    """Return as many events as fit into one reply, at least one; the asker asks for the rest (`is_whole`)."""
    sent: list[SentEvent] = []
    left = PART_BYTES
    for event in found:
        left -= len(event.block)
        if sent and left < 0:
            return SentHistory(sent, is_whole=False)
        sent.append(SentEvent(event.offset, event.block))
    # `answer` reads at most PART_EVENTS: with so many there may be more, if more were asked for
    was_cut = len(sent) == PART_EVENTS and (question.limit is None or question.limit > PART_EVENTS)
    return SentHistory(sent, is_whole=not was_cut)


def _received(asked: Asked, answer: Any) -> Any:
    match asked.question, answer:
        case AskFind(_, start, descending, limit), SentPage():
            offsets = [event.offset for event in answer.events]
            least, greatest = (0, start) if descending else (start or 0, None)
            passed = offsets and (min(offsets) < least or (greatest is not None and max(offsets) > greatest))
            if passed or len(offsets) > limit or offsets != sorted(set(offsets), reverse=descending):
                raise UnreadableReplyError("its offsets are not in order")
            position = ShardPosition(asked.kind, asked.partition, answer.position)
            events = _events(asked, answer.events)
            return EventPage(
                events, answer.next_offset, answer.is_end, position, answer.journal, answer.begun, answer.mark
            )
        case AskAggregates(_, _, _, after_id, limit), AggregatePage(listed, is_end, _, behind):
            ids = [aggregate.aggregate_id for aggregate in listed]
            is_cut = len(ids) < limit and not is_end and behind is None
            if len(ids) > limit or is_cut or not _are_in_order(ids, after_id, behind):
                raise UnreadableReplyError("its aggregates are not in order, or not as many as there are")
            return answer
        case AskRows(_, _, _, after, limit), RowPage(found, is_end):
            keys = [row.key for row in found]
            is_other_end = is_end == (answer.until is not None)
            if len(keys) > limit or is_other_end or not _are_in_order(keys, after, answer.behind):
                raise UnreadableReplyError("its rows are not in order, or there are more of them than were asked for")
            return answer
        case AskHistory(aggregate_id), SentHistory():
            events = _events(asked, answer.events)
            if not events and not answer.is_whole:
                raise UnreadableReplyError("a part of a history is empty")
            if any(found.event["aggregate_id"] != aggregate_id for found in events):
                raise UnreadableReplyError("it has events of another aggregate")
            return events, answer.is_whole
        case AskSnapshots(_, behind, bool(descending), limit), list():  # a former release sends the newest 1,000
            versions = range(behind) if descending and behind is not None else range((behind or 0) + 1, GREATEST)
            beyond = (kept for kept in answer if kept.version in versions)
            return sorted(beyond, key=lambda kept: kept.version, reverse=descending)[:limit]
        case AskByCid(cid), SentEvent():
            (event,) = _events(asked, [answer])
            if event.cid != cid:
                raise UnreadableReplyError("it is another event")
            return event
        case _:
            return answer


def _are_in_order(found: Sequence[K], after: K | None, until: K | None) -> bool:
    """Whether ids or keys come in order, each once, behind one and up to another, which may be the last of them."""
    ordered: list[K] = list(found)
    if after is not None:
        ordered.insert(0, after)
    if until is not None and until not in found[-1:]:
        ordered.append(until)
    return ordered == sorted(set(ordered))


def _events(asked: Asked, sent: Sequence[SentEvent]) -> list[FoundEvent]:
    return [event_of(asked.kind, asked.partition, event.offset, event.block) for event in sent]
