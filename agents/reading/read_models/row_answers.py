"""Rows and questions over all partitions: columns that are found only when asked for are added here."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from annals.agents.projections.asked_columns import MOST_SHARERS, with_overdue, with_sharers
from annals.agents.projections.people_directory import PEOPLE_DIRECTORY
from annals.agents.projections.projection import personal_key
from annals.agents.projections.workflow_board import WORKFLOW_BOARD
from annals.agents.reading.gathering.cursors import BadCursorError
from annals.agents.reading.gathering.gather import Lag
from annals.agents.reading.gathering.rows import NO_LAG, VERSION_MISSING, GatheredRows
from annals.agents.reading.read_models.asking import QUESTIONS, SHARERS, Question
from annals.agents.waiting import Turn, all_of
from annals.schemas.values.moments import recorded_at

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from annals.agents.ports import Clock
    from annals.agents.projections.projection import Projection
    from annals.agents.reading.gathering.gather import PartitionReason
    from annals.agents.reading.gathering.rows import Keys, RowSource

PAGE: Final = 1_000
MOST_ROWS: Final = 100_000  # that are read for one answer
MOST_PAGES: Final = 2 * MOST_ROWS // PAGE  # they may have few rows, or none
AT_ONCE: Final = 16  # rows that are looked at before others may have their turn
MOST_BYTES: Final = 32 << 20  # of the rows of one answer: rows may be large
MOST_ASKED: Final = 20  # pages for one page of an answer, which may have few rows of each, and of a tree
LOOKED_S: Final = 1.0  # for one page of an answer; then it ends with what was found
WHOLE_S: Final = 5.0  # for an answer without a limit
SHARED_S: Final = 5.0  # for who shares the addresses of an answer
# A request of so much time has time left to send what these find, each perhaps with a last page that does not come.
ROOMY_S: Final = 20.0
TIMEOUT_S: Final = 30.0
ASKED_AT_ONCE: Final = 8
ASKED_TOGETHER: Final = 25  # addresses of which one question asks who has them
SHARED_ROWS: Final = 200  # of one such question; where there are more, each address is asked for by itself


class Answer(NamedTuple):
    """Rows of one version, and what they rest on.

    is_truncated: not all rows that there are were looked at, or not all who share an address are named.

    is_end: all partitions answered, and had no more; after: where the next page begins.
    """

    rows: list[dict[str, Any]]
    is_end: bool
    after: Keys | None
    positions: dict[str, list[int | None]]
    missing: list[PartitionReason]
    stale: list[PartitionReason]
    is_truncated: bool = False
    version: int = 0
    lag: Lag = NO_LAG


class RowAnswers:
    """Answers with rows of projections, and to the questions by name (`asking`)."""

    def __init__(
        self,
        projections: Mapping[str, Sequence[Projection[Any]]],
        sources: Mapping[str, RowSource],
        version_of: Callable[[str], int],
        clock: Clock,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        """Take all projections, where rows of each scope come from, and which version of a projection answers.

        timeout_s: what a request may take.
        """
        self._projections = projections
        self._sources = sources
        self._version_of = version_of
        self._clock = clock
        self._share = min(1.0, timeout_s / ROOMY_S)  # of the seconds above

    async def rows(
        self, name: str, index: Mapping[str, str], after: Keys | None, limit: int, version: int | None = None
    ) -> Answer:
        """Return a page of a projection's rows. version, after: of the page before, whatever version answers now.

        Where no row was shown yet, it is of the version that answers now: nothing of another one was seen.

        Raises:
            LookupError: there is no such projection.
            NotReadyError: which version answers is not known yet.
            BadCursorError: nobody has rows of the version any more, or there is another number of partitions.
        """
        if name not in self._projections:
            raise LookupError(f"there is no projection {name!r}")
        projection = self._projections[name][-1]
        begun = None if after is None or all(key is None for key in after) else version
        asked = self._version_of(name) if begun is None else begun
        found = await self._sources[projection.scope].rows(projection, asked, index, after, limit)
        if begun is not None and _is_gone(found):
            raise BadCursorError(f"version {begun} of {name!r} is not kept any more: ask from the beginning")
        rows, found, is_cut = await self._with_columns(projection, asked, [each.row for each in found.rows], found)
        is_end = found.is_end and not found.missing
        return Answer(rows, is_end, found.after, found.positions, found.missing, found.stale, is_cut, asked, found.lag)

    async def ask(
        self,
        name: str,
        given: Mapping[str, Any],
        after: Keys | None = None,
        limit: int | None = None,
        version: int | None = None,
    ) -> Answer:
        """Return the rows that answer a question: a page of them, or without a limit all, of so many as are looked at.

        version, after: of the page before. A page may have fewer rows than the limit, or none, and not be the last.

        Raises:
            LookupError: there is no such question.
            NotReadyError: which version of its rows answers is not known yet.
            BadCursorError: nobody has rows of the version any more, or there is another number of partitions.
        """
        question = QUESTIONS[name]
        projection = question.projection
        begun = None if after is None or all(key is None for key in after) else version
        asked = self._version_of(projection.name) if begun is None else begun
        matching, found = await self._matching(question, asked, given, after, limit)
        if begun is not None and _is_gone(found):
            raise BadCursorError(f"version {begun} of {projection.name!r} is not kept any more: ask from the beginning")
        rows, found, is_cut = await self._with_columns(projection, asked, matching, found)
        is_end, is_truncated = found.is_end and not found.missing, is_cut or not found.is_end
        return Answer(
            rows, is_end, found.after, found.positions, found.missing, found.stale, is_truncated, asked, found.lag
        )

    async def _matching(
        self, question: Question, version: int, given: Mapping[str, Any], after: Keys | None, limit: int | None
    ) -> tuple[list[dict[str, Any]], GatheredRows]:
        """Return rows that answer a question, and what they rest on: the pages that were looked at for it.

        All turn to another version between any two pages: all of an answer are of the version that it began with.
        """
        now = self._now()
        most = MOST_PAGES if limit is None and question.tree is None else MOST_ASKED
        clock = asyncio.get_running_loop().time
        until = clock() + (WHOLE_S if limit is None else LOOKED_S) * self._share
        pages: list[GatheredRows] = []
        rows: list[Any] = []
        looked_at, size = 0, 0
        while True:
            left = MOST_ROWS if limit is None else limit - len(rows)
            page = await self._looked_at(question, version, given, pages[-1].after if pages else after, left)
            answering, answering_bytes = await self._answering(question, page, given, now)
            rows += answering
            looked_at += len(page.rows)
            size += answering_bytes
            pages.append(page._replace(rows=[]))  # those that do not answer are not kept
            left = MOST_ROWS - looked_at if limit is None else limit - len(rows)
            is_full = len(pages) == most or left <= 0 or size >= MOST_BYTES
            if page.until is None or is_full or clock() >= until:
                break
        found = joined(pages, is_end=page.until is None)._replace(after=page.after)
        rows.sort(key=question.order)
        turn, told = Turn(self._clock), []
        for row in rows:
            told.append(msgspec.to_builtins(row))
            await turn.end_if_long()
        return told, found

    async def _answering(
        self, question: Question, page: GatheredRows, given: Mapping[str, Any], now: str
    ) -> tuple[list[Any], int]:
        """Return those rows of a page that answer, and their bytes: a few at a time, since rows may be large."""
        turn, answering, size = Turn(self._clock), [], 0
        for at in range(0, len(page.rows), AT_ONCE):
            rows = [msgspec.convert(each.row, question.projection.row) for each in page.rows[at : at + AT_ONCE]]
            some = question.answer(rows, given, now)
            answering += some
            size += sum(len(msgspec.msgpack.encode(row)) for row in some)
            await turn.end_if_long()
        return answering, size

    async def _looked_at(
        self, question: Question, version: int, given: Mapping[str, Any], after: Keys | None, limit: int
    ) -> GatheredRows:
        """Return the next rows, at most so many, that any of a question's indexes finds, or of its tree."""
        projection, (index, *also) = question.projection, question.indexes(given)
        source = self._sources[projection.scope]
        if question.tree is not None:
            return await source.tree(projection, version, question.tree, index[question.tree], after, limit)
        return await source.rows(projection, version, index, after, min(limit, PAGE), also)

    async def _with_columns(
        self, projection: Projection[Any], version: int, rows: list[dict[str, Any]], found: GatheredRows
    ) -> tuple[list[dict[str, Any]], GatheredRows, bool]:
        """Return rows with the columns that are found when they are asked for, what these rest on as well, and more.

        found: what the rows rest on. Last, whether not all who share an address are named.
        """
        if projection.name == PEOPLE_DIRECTORY.name:
            return await self._with_others(version, rows, found)
        if projection.name == WORKFLOW_BOARD.name:
            now, turn, named = self._now(), Turn(self._clock), []
            for row in rows:
                named += with_overdue([row], now)
                await turn.end_if_long()
            return named, found, False
        return rows, found, False

    async def _with_others(
        self, version: int, rows: list[dict[str, Any]], found: GatheredRows
    ) -> tuple[list[dict[str, Any]], GatheredRows, bool]:
        """Return people with the ids of others who have one of their addresses, and whether some are left out.

        These are in any partition: one that does not say who has an address there is missing, though its rows are not.
        """
        turn, emails = Turn(self._clock), dict[str, str]()
        for row in rows:
            emails.update((email, personal_key(email)) for email in row["emails"])
            await turn.end_if_long()
        keys = list(dict.fromkeys(emails.values()))
        until = asyncio.get_running_loop().time() + SHARED_S * self._share
        told: list[tuple[list[dict[str, Any]], list[GatheredRows], bool]] = []

        async def ask(some: Sequence[str]) -> None:
            told.append(await self._sharers(some, version, until))

        asked = (partial(ask, keys[at : at + ASKED_TOGETHER]) for at in range(0, len(keys), ASKED_TOGETHER))
        await all_of(asked, ASKED_AT_ONCE)
        having: dict[str, set[str]] = {key: set() for key in keys}
        for row in (row for sharers, _, _ in told for row in sharers):
            for key in having.keys() & {personal_key(email) for email in row["emails"]}:
                having[key].add(row["aggregate_id"])
            await turn.end_if_long()
        # Those who have an address come with others of theirs, too: of very many each row would sort all.
        first = dict[str, list[str]]()
        for key, those in having.items():
            first[key] = sorted(those)[: MOST_SHARERS + 2]
            await turn.end_if_long()
        owners = {email: first[key] for email, key in emails.items()}
        rests = joined([found, *(page for _, pages, _ in told for page in pages)], is_end=found.is_end)
        found = found._replace(positions=rests.positions, missing=rests.missing, stale=rests.stale)
        named: list[dict[str, Any]] = []
        is_cut = not all(is_whole for *_, is_whole in told)
        for row in rows:
            (one,), has_more = with_sharers([row], owners)
            named.append(one)
            is_cut = is_cut or has_more
            await turn.end_if_long()
        return named, found, is_cut

    async def _sharers(
        self, emails: Sequence[str], version: int, until: float
    ) -> tuple[list[dict[str, Any]], list[GatheredRows], bool]:
        """Return rows that have any of some addresses, what they rest on, and whether they were all found in time.

        Of an address that very many have, one row more than a row names, and one that is perhaps that row itself.
        """
        rows: list[dict[str, Any]] = []
        pages: list[GatheredRows] = []
        asked, limit = [list(emails)], SHARED_ROWS
        while asked and asyncio.get_running_loop().time() < until:
            some = asked.pop()
            found, page = await self._matching(SHARERS, version, {"emails": some}, None, limit)
            rows += found
            pages.append(page)
            if page.is_end or (len(some) == 1 and len(found) >= MOST_SHARERS + 2):
                continue
            if len(some) == 1:
                return rows, pages, False
            asked, limit = [[each] for each in some], MOST_SHARERS + 2
        return rows, pages, not asked

    def _now(self) -> str:
        return recorded_at(self._clock.now())


def joined(pages: Sequence[GatheredRows], *, is_end: bool) -> GatheredRows:
    """Return the rows of several answers, each once, by key; of each partition the least position that any rests on."""
    rows = {each.key: each for page in pages for each in page.rows}
    positions = {
        kind: [_least(page.positions[kind][at] for page in pages) for at in range(len(offsets))]
        for kind, offsets in pages[0].positions.items()
    }
    missing = list({(each.kind, each.partition): each for page in pages for each in page.missing}.values())
    stale = list({(each.kind, each.partition): each for page in pages for each in page.stale}.values())
    lag = Lag(max(page.lag.events for page in pages), max(page.lag.seconds for page in pages))
    return GatheredRows([rows[key] for key in sorted(rows)], is_end, positions, missing, stale, lag)


def _is_gone(found: GatheredRows) -> bool:
    """Whether all partitions say that they do not have the version that was asked for."""
    is_any_there = any(offset is not None for offsets in found.positions.values() for offset in offsets)
    return not is_any_there and all(each.reason == VERSION_MISSING for each in found.missing)


def _least(offsets: Iterable[int | None]) -> int | None:
    found = list(offsets)
    return None if None in found else min(offset for offset in found if offset is not None)
