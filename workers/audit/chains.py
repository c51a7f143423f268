"""The links of one partition's chains, judged from surveys in the journal's order: the rule of every reader.

What is kept is one place per aggregate (its version and head, some 250 bytes), one CID per void record, and nothing per
event: a journal of any length is verified in the memory of its aggregates.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from annals.schemas.cid import cid_text
from annals.schemas.journal_reader import LinkStatus, classify_link, kept_key, shown_key
from annals.topics.keys import partition_of
from annals.workers.audit.report import Broken
from annals.workers.audit.scan import Foreign, Unread, misplaced

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from annals.workers.audit.kept_heads import KeptHead
    from annals.workers.audit.report import Report
    from annals.workers.audit.scan import Run, Survey

Head = tuple[int, bytes | None]  # the version and binary CID of the last event that counted
START: Head = (0, None)


class JournalId(NamedTuple):
    """A partition of a kind's journal."""

    kind: str
    topic: str
    partition: int
    partitions: int


class _Link(NamedTuple):
    """One event's part in a chain."""

    offset: int
    key: bytes
    version: int
    previous: bytes | None
    cid: bytes
    difference: str | None
    is_misplaced: bool


class Chains:
    """Judges the surveys of one partition, which must come in the journal's order."""

    def __init__(
        self,
        place: JournalId,
        report: Report,
        heads: Mapping[bytes, Head] | None = None,
        watched: Iterable[KeptHead] = (),
    ) -> None:
        """Take what to judge, where to report, heads to go on from (by key), and kept heads to look out for."""
        self._place = place
        self._report = report
        self._heads: dict[bytes, Head] = {kept_key(key): head for key, head in (heads or {}).items()}
        self._voids: set[bytes] = set()
        self._stopped: set[bytes] = set()
        self._unmet: dict[bytes, set[bytes]] = {}
        for head in watched:
            self._unmet.setdefault(kept_key(head.key), set()).add(head.cid)

    def head(self, key: bytes) -> Head:
        """Return where a chain ends."""
        return self._heads.get(kept_key(key), START)

    def has_met(self, watched: KeptHead) -> bool:
        """Whether a head that is looked out for counted, so that the chain contains it."""
        return watched.cid not in self._unmet.get(kept_key(watched.key), ())

    def add(self, survey: Survey) -> None:
        """Judge the next records."""
        if not self._continues(survey):
            self._judge_each(survey)

    def _continues(self, survey: Survey) -> bool:
        """Take a survey in which everything counts, as it is nearly always; leave any other as it is."""
        if survey.foreign or survey.unread:
            return False
        heads, stopped, count = self._heads, self._stopped, 0
        ends: dict[bytes, Head] = {}
        for key, version, previous, _, cids, differences in map(_members, survey.runs):
            last = ends.get(key) or heads.get(key, START)
            if previous != last[1] or version != last[0] + 1 or differences or key in stopped:
                return False
            count += len(cids)
            ends[key] = (version + len(cids) - 1, cids[-1])
        for run in survey.runs if self._unmet else ():
            self._meet(run.key, run.cids)
        self._report.aggregates += len(ends.keys() - heads.keys())
        self._report.events += count
        heads.update(ends)
        return True

    def _judge_each(self, survey: Survey) -> None:
        """Judge record by record in the order of offsets: a void one decides about those that link to it."""
        items: list[_Link | Foreign | Unread] = [link for run in survey.runs for link in _links(run)]
        for item in sorted([*items, *survey.foreign, *survey.unread], key=lambda each: each.offset):
            if isinstance(item, Foreign):
                self._add_foreign(item)
            elif isinstance(item, Unread):
                self.add_unread(item)
            elif item.key not in self._stopped:
                self._judge(item)

    def _judge(self, link: _Link) -> None:
        key, place, report = link.key, self._place, self._report
        last_version, last_cid = self._heads.get(key, START)
        status = classify_link(
            link.version, link.previous, last_version, last_cid, previous_is_void=link.previous in self._voids
        )
        if status is not LinkStatus.COUNTED and self._is_misplaced(link):
            is_whole = kept_key(key) is key
            reason = misplaced(key, place.partitions) if is_whole else "the key belongs to another partition"
            self._add_foreign(Foreign(link.offset, key, reason))
        elif status is LinkStatus.COUNTED:
            report.events += 1
            report.aggregates += key not in self._heads
            self._heads[key] = (link.version, link.cid)
            self._meet(link.key, [link.cid])
            if link.difference is not None:
                report.add_differing(self._broken(link, f"headers differ from the block: {link.difference}"))
        elif status is LinkStatus.VOID:
            self._voids.add(link.cid)
            report.add_void(self._broken(link, f"void: {_in_place_of(link, last_version, last_cid)}"))
        else:
            self._stopped.add(key)
            report.add(
                self._broken(
                    link,
                    f"gap: it follows version {last_version}, events are missing; what comes after it of this "
                    "aggregate was not judged",
                )
            )

    def _meet(self, key: bytes, cids: Iterable[bytes]) -> None:
        if unmet := self._unmet.get(key):
            unmet.difference_update(cids)

    def _is_misplaced(self, link: _Link) -> bool:
        return link.is_misplaced or (
            kept_key(link.key) is link.key and partition_of(link.key, self._place.partitions) != self._place.partition
        )

    def _add_foreign(self, record: Foreign) -> None:
        kind, topic, partition, _ = self._place
        key = None if record.key is None else shown_key(record.key)
        self._report.add_foreign(Broken(kind, key, topic, partition, record.offset, None, f"foreign: {record.reason}"))

    def add_unread(self, unread: Unread) -> None:
        """Name what cannot be judged."""
        kind, topic, partition, _ = self._place
        reason = f"unread, up to offset {unread.end - 1}: {unread.reason}"
        self._report.add(Broken(kind, None, topic, partition, unread.offset, None, reason))

    def _broken(self, link: _Link, reason: str) -> Broken:
        kind, topic, partition, _ = self._place
        return Broken(kind, shown_key(link.key), topic, partition, link.offset, link.version, reason)


def _members(run: Run) -> tuple[bytes, int, bytes | None, list[int], list[bytes], dict[int, str]]:
    return run.key, run.version, run.previous, run.offsets, run.cids, run.differences


def _links(run: Run) -> Iterator[_Link]:
    previous = run.previous
    for number, (offset, cid) in enumerate(zip(run.offsets, run.cids, strict=True)):
        yield _Link(offset, run.key, run.version + number, previous, cid, run.differences.get(offset), run.is_misplaced)
        previous = cid


def _in_place_of(link: _Link, last_version: int, last_cid: bytes | None) -> str:
    head = "none" if last_cid is None else cid_text(last_cid)
    if link.version <= last_version:
        return f"version {last_version} counts already (head {head})"
    previous = "null" if link.previous is None else cid_text(link.previous)
    return f"its previous is {previous}, the last event that counts is version {last_version} ({head})"
