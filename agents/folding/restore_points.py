"""Reading a restore point from its topic: the list that the committed offset names, and the parts that the list names.

Others can write to the topic. A record counts only if its CID is the one that is named, and the name is committed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from annals.agents.ports import DamagedBatchError, StaleStateError, UnreachableError
from annals.schemas.cid import cid_of, cid_text
from annals.schemas.restore_point import LIST, RestorePointError, decode_list

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from annals.agents.ports import JournalRecord, KeyAndValue
    from annals.schemas.restore_point import RestoreList


class Partition(Protocol):
    """Which of how many partitions of a kind it is."""

    @property
    def kind(self) -> str:
        """The kind."""

    @property
    def partition(self) -> int:
        """Which partition."""

    @property
    def partitions(self) -> int:
        """Of how many."""


class PartitionId(NamedTuple):
    """The same as data."""

    kind: str
    partition: int
    partitions: int


class RestoreTopics(Protocol):
    """What a restore point is read from."""

    def restore_parts(self) -> AsyncIterator[list[KeyAndValue]]:
        """Yield key and value of what is in the partition of `restore`, whoever wrote it."""

    async def event_at(self, offset: int, cid: bytes = b"") -> JournalRecord | None:
        """Return the journal's committed record at an offset below the last stable one; cid: that it is to have."""


async def read_list(
    journal: RestoreTopics, place: Partition, state_version: int | None, cid: bytes, journal_end: int
) -> RestoreList:
    """Return the list that the committed offset names. state_version: None for who asks for no states.

    Raises:
        RestorePointError: it is not there, or of no use for this journal or this release.
    """
    value: bytes | None = None
    try:
        async for records in journal.restore_parts():
            for key, each in records:
                if key == LIST.encode() and each is not None and cid_of(each) == cid:
                    value = each
    except (UnreachableError, StaleStateError) as error:
        raise RestorePointError(f"its topic cannot be read: {error}") from error
    if value is None:
        raise RestorePointError(f"its list {cid_text(cid)} is not in the topic")
    found = decode_list(value)
    if (found.kind, found.partition, found.partitions) != (place.kind, place.partition, place.partitions):
        raise RestorePointError("it is of another partition")
    if state_version is not None and found.state_version != state_version:
        raise RestorePointError(f"its states are of layout {found.state_version}, and this release has {state_version}")
    is_below = found.last_offset < journal_end
    try:
        there = await journal.event_at(found.last_offset, found.last_cid) if is_below else None
    except DamagedBatchError as error:
        raise RestorePointError(f"its event cannot be read: {error}") from error
    if there is None or there.value is None or cid_of(there.value) != found.last_cid:
        raise RestorePointError(f"the event {cid_text(found.last_cid)} is not at offset {found.last_offset}")
    return found


async def read_parts(journal: RestoreTopics, wanted: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the parts that a list names, by their keys.

    Raises:
        RestorePointError: one is not there.
    """
    found: dict[str, bytes] = {}
    by_key = {name.encode(): (name, cid) for name, cid in wanted.items()}
    try:
        async for records in journal.restore_parts():
            for key, value in records:
                name, cid = by_key.get(key or b"", ("", b""))
                if value is not None and name and cid_of(value) == cid:
                    found[name] = value
    except (UnreachableError, StaleStateError) as error:
        raise RestorePointError(f"its topic cannot be read: {error}") from error
    if missing := [name for name in wanted if name not in found]:
        raise RestorePointError(f"{missing[0]} is not in the topic as it was written, and {len(missing) - 1} more")
    return found
