"""Publishing in a journal that was restored from a copy of its records: it goes on by events, since offsets are others.

What is live names the last event that was published. Whoever has a progress of its own stands there too, or names an
event; where none of both is so, nobody knows what it has had. The progress of all is written anew before anything is
published: one that was left as it was would later be taken for an offset of this journal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog
from msgspec.structs import replace

from annals.agents.ports import StoppedError
from annals.agents.publishing.ports import Writes
from annals.agents.reading.following.history import in_this_journal, is_in_place, shown
from annals.agents.reading.ports import NotReadyError
from annals.agents.waiting import in_turns
from annals.schemas.progress import LIVE, Progress
from annals.schemas.subscription import STREAM

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from annals.agents.pace import Pace
    from annals.agents.publishing.ports import Kept, PublishLog
    from annals.agents.publishing.roster import Roster
    from annals.agents.reading.ports import JournalPartition, JournalSource

ANOTHER_JOURNAL: Final = (
    "Restore it; or, if it is another one on purpose, delete the topic of progress and the group that ends in "
    ".publish, and every subscription begins where it began."
)

NOT_HERE: Final = (
    "the journal lost events that it has had, or no worker has written that in the topic of progress. Note its "
    "definition, delete it and its topic, and put it again with the start that it is to have"
)

PROVEN_A_TURN: Final = 100  # of the event loop: each is looked up in the store
MOST_MOVED: Final = 2_000  # in one transaction

log = structlog.get_logger(__name__)


async def progress_in(
    source: JournalSource,
    writer: PublishLog,
    known: Mapping[str, Kept],
    progress: dict[str, Progress],
    end: int,
    reach: Callable[[int, int], Awaitable[None]],
    pace: Pace,
) -> dict[str, Progress]:
    """Return the progress of what is live and of others as it stands in the journal.

    Nobody else writes it meanwhile. end: where the journal ends; reach: waits until it is read up to an offset, and
    takes the one up to which it was published; pace: how much a transaction may hold.

    Raises:
        StoppedError: it is another journal, or where a subscription stands in it is not known.
    """
    own = {
        each: progress[each]
        for each, kept in known.items()
        if each in progress and not kept.record.is_deleted and progress[each].incarnation == kept.record.incarnation
    }
    live = progress.get(LIVE)
    published = end if live is None else live.position
    await reach(min(published, end), published)
    if await _are_in_place(source, live, own, end):
        return progress
    await reach(end, published)
    moved = await _all_moved(source, known, own, live, end)
    await _write(writer, moved, live, pace)
    log.warning(
        "the journal was restored from a copy of its records: publishing goes on behind the last published events",
        kind=source.kind,
        partition=source.partition,
        positions={each: there.position for each, there in moved.items()},
    )
    return {**progress, **moved}


async def beyond_end(
    source: JournalSource, journal: JournalPartition, positions: Mapping[str, int], live: int
) -> dict[str, str]:
    """Return which subscriptions have come further than the journal, by name, and why they cannot go on.

    All that comes would be passed over for them, and nobody would see it. Where what is live is beyond the end, too,
    the publisher stops. One whose subscriber answers may have come further than that, in a journal that has lost its
    end since, and that somebody accepted.
    """
    _, end = await journal.bounds()
    if not source.status().reached:
        return {}
    name = f"{source.kind}-{source.partition}"
    return {
        each: f"it has come to offset {position} of {name}, which ends at {end}: {NOT_HERE}"
        for each, position in positions.items()
        if position > end >= live
    }


async def misplaced(source: JournalSource, roster: Roster) -> dict[str, str]:
    """Return which of the running subscriptions cannot go on from the progress that was read of them, and why.

    The event that it names is not the last one before it: what lies between would be published twice, or never. What
    names none, and what is not read so far, is not known.
    """
    name, found = f"{source.kind}-{source.partition}", {}
    async for some in in_turns(list(roster.unproven.items()), PROVEN_A_TURN):
        for each, own in some:
            if not roster.is_running(each) or source.status().offset < own.position:
                continue
            try:
                last = await source.last_before(own.position)
            except NotReadyError:
                continue
            if last == own.cid:
                del roster.unproven[each]
            else:
                there = f"behind event {shown(own.cid)}, and the last event before it is {shown(last)}"
                found[each] = f"it has come to offset {own.position} of {name}, {there}: {NOT_HERE}"
    return found


async def _all_moved(
    source: JournalSource, known: Mapping[str, Kept], own: Mapping[str, Progress], live: Progress | None, end: int
) -> dict[str, Progress]:
    """Return the progress of what is live and of all who have one of their own, as it stands in this journal.

    Raises:
        StoppedError: it is another journal, or where a subscription stands in it is not known.
    """
    name = f"{source.kind}-{source.partition}"
    if live is not None:
        stands = await in_this_journal(source, f"{name}: published", live, end, ANOTHER_JOURNAL)
    else:  # nothing was, and what is put later begins behind all that is there
        stands = Progress(end, await source.last_before(end))
    moved = {LIVE: stands}
    for each, there in own.items():
        found = await _moved(source, there, live, stands)
        if found is None:
            raise _unknown(name, f"offset {there.position}, up to which the subscription {each} had come,", each)
        moved[each] = found
    for each, kept in known.items():
        if kept.record.is_deleted:
            continue
        if live is None and each not in moved and source.kind in kept.record.begin:
            raise _unknown(name, f"the offset up to which the subscription {each} had come", each)
        is_stream = kept.record.definition.delivery == STREAM  # of others, events of before can come again
        judged = moved.get(each, stands).position if is_stream else 0
        if (until := _judged_until(kept, source)) > judged:
            raise _unknown(name, f"offset {until}, up to which the subscription {each} had other filters,", each)
    return moved


async def _write(writer: PublishLog, moved: Mapping[str, Progress], live: Progress | None, pace: Pace) -> None:
    """Write the progress of all, in as many transactions as it takes.

    What is live is moved in the last one: where the others are moved only in part, it says so, and they name events.
    """
    others = [each for each in moved if each != LIVE]
    while live is not None and len(others) > (most := pace.part_of(MOST_MOVED)):
        await pace.obey(writer.throttled_s())
        some = {each: moved[each] for each in others[:most]}
        with pace.committing(pace.most, writer.throttled_s):
            await writer.commit(Writes({}, {**some, LIVE: live}, live.position))
        del others[:most]
    with pace.committing(pace.most, writer.throttled_s):
        await writer.commit(Writes({}, {each: moved[each] for each in (*others, LIVE)}, moved[LIVE].position))


async def _are_in_place(source: JournalSource, live: Progress | None, own: Mapping[str, Progress], end: int) -> bool:
    """Whether the progress is of this journal, as far as it tells. own: of subscriptions, asked where none is live."""
    if live is not None:
        return live.position <= end and await is_in_place(source, live)
    for each in own.values():
        if each.position > end or (each.cid is not None and not await is_in_place(source, each)):
            return False
    return True


def _judged_until(kept: Kept, source: JournalSource) -> int:
    """Return the offset below which former definitions of a subscription judge."""
    ends = (former.until.get(source.kind, ()) for former in kept.record.former)
    return max((each[source.partition] for each in ends if source.partition < len(each)), default=0)


def _unknown(name: str, what: str, subscription: str) -> StoppedError:
    return StoppedError(
        f"{name}: the journal was restored from a copy of its records, and it is not known what {what} is in it. Note "
        f"the definition of {subscription}, delete it, restart the worker, and put it again with the start that it is "
        f"to have."
    )


async def _moved(source: JournalSource, own: Progress, live: Progress | None, stands: Progress) -> Progress | None:
    """Return where a subscription stands in a restored journal; None where that is not known.

    stands: where that is, what was `live`.
    """
    if own.position == 0:
        return own
    if own.cid is not None and (place := await source.place_of(own.cid)) is not None:
        return replace(own, position=place + 1)
    if live is not None and (own.position == live.position or (own.is_resting and own.position < live.position)):
        return replace(own, position=stands.position, cid=stands.cid)
    return None
