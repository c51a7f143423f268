"""Verification of journals: of all, of one kind, of one aggregate, or of plain records."""

from __future__ import annotations

import asyncio
import os
from itertools import chain, groupby, islice
from typing import TYPE_CHECKING, Final

from annals.schemas.cid import cid_text
from annals.workers.audit.chains import Chains, JournalId
from annals.workers.audit.chunks import CHUNK_OFFSETS, chunks_of, surveyor
from annals.workers.audit.journals import find_journals
from annals.workers.audit.kept_heads import KeptHead, heads_by_place
from annals.workers.audit.processes import SurveyError, survey_in_processes
from annals.workers.audit.report import Broken, Report
from annals.workers.audit.scan import survey
from annals.workers.settings import client_options

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from annals.workers.audit.chains import Head
    from annals.workers.audit.chunks import Chunk
    from annals.workers.audit.journals import Journal
    from annals.workers.audit.scan import Record, Survey, Unread
    from annals.workers.settings import Settings

    Progress = Callable[[int, int], None]  # offsets that are done, offsets in all

_NO_EVENT: Final = "there is no event of this aggregate"
ALONE_OFFSETS: Final = 2 * CHUNK_OFFSETS  # starting processes takes as long as surveying this


def silent(done: int, total: int) -> None:
    """Show no progress."""


def verify_records(place: JournalId, records: Iterable[Record], report: Report | None = None) -> Report:
    """Verify the records of one partition (offset, key, value, headers) in the journal's order, wherever they are from.

    A gap in offsets says nothing: transaction markers take them.
    """
    found = report or Report()
    chains = Chains(place, found)
    remaining = iter(records)
    while part := list(islice(remaining, CHUNK_OFFSETS)):
        chains.add(survey(place.kind, place.partition, place.partitions, part))
    return found


def verify_journals(
    settings: Settings,
    kinds: Sequence[str],
    *,
    tolerates_void: bool = False,
    heads: Sequence[KeptHead] | None = None,
    processes: int | None = None,
    progress: Progress = silent,
) -> Report:
    """Verify the journals of some kinds, as far as they are committed now, with as many processes as there are cores.

    heads: of a single kind, each of which its aggregate's chain must contain.

    Blocks, and runs event loops of its own. Memory grows with the aggregates of the largest partition, not with events.

    Raises:
        MissingTopicError: a kind has no journal.
        KafkaError, SurveyError, ChecksumError, RangeGoneError: Kafka did not give what it has. What cannot be read
            alone is reported.
    """
    report = Report(tolerates_void, kept_heads=None if heads is None else len(heads))
    journals = asyncio.run(find_journals(settings, kinds))
    _report_starts(journals, report)
    kept = heads_by_place([journal.place for journal in journals], heads or ())
    chunks = chain.from_iterable(chunks_of(journal) for journal in journals)
    surveys = _surveys(settings, journals, chunks, processes, progress)
    # One partition after the other: when the next one begins, the last one's chains are done with.
    for place, surveyed in groupby(surveys, key=lambda each: each[0].place):
        mine = kept.pop(place)
        chains = Chains(place, report, watched=mine)
        for _, each in surveyed:
            chains.add(each)
        _report_unmet(place, chains, mine, report)
    for place, mine in kept.items():  # of partitions without a record
        _report_unmet(place, Chains(place, report, watched=mine), mine, report)
    return report


def verify_aggregate(
    settings: Settings,
    kind: str,
    aggregate_id: str,
    *,
    tolerates_void: bool = False,
    expected_head: bytes | None = None,
    trusted_head: bytes | None = None,
    processes: int | None = None,
    progress: Progress = silent,
) -> Report:
    """Verify one aggregate; the same as `verify_journals`, of its partition only.

    expected_head: a binary CID that its chain must contain; trusted_head: one whose event, and what came before, is not
    looked at again, so that the counts are of what came after. A record that came after it and links to a void one from
    before it is then called a gap.
    """
    report = Report(tolerates_void)
    key = aggregate_id.encode()
    (journal,) = asyncio.run(find_journals(settings, [kind], key))
    place, start, heads = journal.place, journal.start, dict[bytes, "Head"]()
    trusted: tuple[int, bytes] | None = None

    def complain(version: int | None, reason: str) -> None:
        report.add(Broken(kind, aggregate_id, place.topic, place.partition, None, version, reason))

    if trusted_head is None:
        _report_starts([journal], report)
    else:
        found, unread = asyncio.run(_find(settings, journal, key, trusted_head))
        if found is None:
            for each in unread:
                Chains(place, report).add_unread(each)
            complain(None, f"the journal has no event {cid_text(trusted_head)} of this aggregate: nothing was verified")
            return report
        offset, version = found
        trusted = (version, trusted_head)
        start, heads = offset + 1, {key: trusted}
    expected = None if expected_head is None else KeptHead(aggregate_id, expected_head)
    chains = Chains(place, report, heads, [expected] if expected else ())
    for _, surveyed in _surveys(settings, [journal], chunks_of(journal, key, start), processes, progress):
        chains.add(surveyed)
    report.aggregates = min(report.events, 1)
    version, head = chains.head(key)
    if head is None:
        complain(0, _NO_EVENT)
    elif expected is not None and expected_head != trusted_head and not chains.has_met(expected):
        complain(version, _not_met(expected.cid, (version, head), trusted))
    return report


def _report_unmet(place: JournalId, chains: Chains, heads: Iterable[KeptHead], report: Report) -> None:
    for head in heads:
        if not chains.has_met(head):
            version, last = chains.head(head.key)
            reason = _NO_EVENT if last is None else _not_met(head.cid, (version, last), None)
            report.add(Broken(place.kind, head.aggregate_id, place.topic, place.partition, None, version, reason))


def _not_met(expected: bytes, end: tuple[int, bytes], trusted: tuple[int, bytes] | None) -> str:
    """Return what can be said of a head that was not met: what was before a trusted one is not known."""
    last = f"version {end[0]} with {cid_text(end[1])}"
    if trusted is None:
        return f"the chain does not contain the expected head {cid_text(expected)}: it ends at {last}"
    return (
        f"the expected head {cid_text(expected)} was not met between the trusted one, version {trusted[0]} with "
        f"{cid_text(trusted[1])}, and the end, {last}; what was before the trusted one is not looked at: leave out "
        "--from-head to look there"
    )


def _report_starts(journals: Iterable[Journal], report: Report) -> None:
    for (kind, topic, partition, _), start, _ in journals:
        if start:
            reason = f"the journal begins at offset {start}: what was before is lost"
            report.add(Broken(kind, None, topic, partition, 0, None, reason))


def _surveys(
    settings: Settings, journals: Sequence[Journal], chunks: Iterator[Chunk], processes: int | None, progress: Progress
) -> Iterator[tuple[Chunk, Survey]]:
    topics = sorted({journal.place.topic for journal in journals})
    total = sum(journal.end - journal.start for journal in journals)
    count = cores() if processes is None else processes
    if count == 1 or (processes is None and total <= ALONE_OFFSETS):
        surveyed = _survey_alone(settings, topics, chunks)
    else:
        surveyed = survey_in_processes(settings, topics, chunks, min(count, -(-total // CHUNK_OFFSETS)))
    done = unread = 0
    for chunk, found in surveyed:
        yield chunk, found
        done += chunk.end - chunk.start
        progress(done, total)
        unread += sum(each.end - each.offset for each in found.unread)
        if unread == total:
            raise SurveyError(found.unread[-1].reason)


def _survey_alone(settings: Settings, topics: Sequence[str], chunks: Iterator[Chunk]) -> Iterator[tuple[Chunk, Survey]]:
    with asyncio.Runner() as runner:
        context = surveyor(client_options(settings), topics)
        look = runner.run(context.__aenter__())
        found: list[Survey] = []

        async def survey_one(chunk: Chunk) -> None:
            # Not as the task's result: at the end of each `run`, CPython's signal module makes a text of that.
            found.append(await look(chunk))

        try:
            for chunk in chunks:
                runner.run(survey_one(chunk))
                yield chunk, found.pop()
        finally:
            runner.run(context.__aexit__(None, None, None))


async def _find(
    settings: Settings, journal: Journal, key: bytes, cid: bytes
) -> tuple[tuple[int, int] | None, list[Unread]]:
    """Return offset and version of an event: of its first record, since a later one with the same block is void.

    Also what of the journal could not be read up to there.
    """
    unread: list[Unread] = []
    async with surveyor(client_options(settings), [journal.place.topic]) as look:
        for chunk in chunks_of(journal, key):
            surveyed = await look(chunk)
            unread += surveyed.unread
            for run in surveyed.runs:
                if cid in run.cids:
                    index = run.cids.index(cid)
                    return (run.offsets[index], run.version + index), unread
    return None, unread


def cores() -> int:
    """Return how many processes can work at the same time."""
    # Where a container is given fewer than there are; not every platform tells.
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1
