"""The rule of every reader (docs/reference/wire.md), once: which records of a journal partition count.

`JournalReader` takes the records of one partition in the journal's order and classifies each: `Counted`, `Void`,
`Foreign` or `Gap`. It looks up chain ends and void CIDs with functions of the caller's, since a follower with a store
has both there already; the follower records each result before it reads on. `RememberingReader` is for readers without
a store: it keeps both itself. What it remembers can be kept with a position, and given back to go on from there.

    reader = RememberingReader("person", keys_of(partition, partitions))
    for record in records:  # of that partition, read with isolation.level=read_committed
        match reader.read(record.offset, record.key, record.value):
            case Counted(event=event, cid=cid): ...
            case Gap() as gap: raise GapError(str(gap))
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar, final

from blake3 import blake3
from msgspec import Struct

from annals.schemas.chain import ForeignError, read_block
from annals.schemas.cid import CID_PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping


_NOT_THE_KEY: Final = "the key is not the block's aggregate_id"
_LONGEST_KEY: Final = 1_024  # an id of 256 characters in UTF-8; only a stranger's event has a longer one
_SHORTENED: Final = b"\xff"  # in no UTF-8
_SHOWN_BYTES: Final = 64


def kept_key(key: bytes) -> bytes:
    """Return what to remember of a record's key: the key, or of one that is longer than ids are a hash and its start.

    Many events with ids of a megabyte would else take a megabyte each of whoever remembers them.
    """
    if len(key) <= _LONGEST_KEY:
        return key
    return _SHORTENED + blake3(key).digest() + key[:_SHOWN_BYTES]


def shown_key(kept: bytes) -> str:
    """Return a key as people are shown it, of a shortened one its start."""
    if not kept.startswith(_SHORTENED):
        return kept.decode(errors="backslashreplace")
    return kept[1 + blake3.digest_size :].decode(errors="ignore") + "…"


class ChainEnd(Protocol):
    """Where an aggregate's chain ends: at its last event that counts."""

    @property
    def version(self) -> int:
        """The version of that event; 0 before any."""

    @property
    def head(self) -> bytes | None:
        """Its CID; None before any."""


End_co = TypeVar("End_co", bound=ChainEnd, covariant=True)


class Event(Struct, Generic[End_co], frozen=True, gc=False):
    """A record that is an event in its place, whether it counts or not.

    event: the block's map, its link as 36 bytes; last: where the chain ended before this record, as it was looked up;
    read: by whom the event was read, and as what, for those who come after; and whether nobody can change that.
    """

    offset: int
    key: bytes
    event: dict[str, Any]
    cid: bytes
    last: End_co
    read: tuple[Any, Any, bool] | None = None


@final
class Counted(Event[End_co], Generic[End_co], frozen=True, gc=False):
    """The next event of its aggregate."""


@final
class Void(Event[End_co], Generic[End_co], frozen=True, gc=False):
    """Another event of this version counts, or this one continues a void one: it changes nothing."""


@final
class Gap(Event[End_co], Generic[End_co], frozen=True, gc=False):
    """Events between the end of the chain and this one are missing: a reader must not go on."""

    def __str__(self) -> str:
        """Return what is missing where, but for the topic."""
        return self.describe(f"offset {self.offset}")

    def describe(self, where: str) -> str:
        """Return what is missing before a place that the caller names."""
        event = self.event
        return (
            f"gap in the chain of {event['kind']} {event['aggregate_id']!r}: {where} has version {event['version']}, "
            f"the last event that counts is version {self.last.version}: events are missing"
        )


@final
class Foreign(Struct, frozen=True, gc=False):
    """A record that is no event of this journal partition, and why."""

    offset: int
    key: bytes | None
    reason: str


Record = Counted[End_co] | Void[End_co] | Gap[End_co] | Foreign


class GapError(Exception):
    """A chain goes on where events are missing; the message says where."""


class LinkStatus(Enum):
    """What an event's version and link say of it, given the end of its aggregate's chain."""

    COUNTED = "counted"
    VOID = "void"
    GAP = "gap"


def classify_link(
    version: int, previous: bytes | None, last_version: int, last_cid: bytes | None, *, previous_is_void: bool
) -> LinkStatus:
    """Classify an event that is not foreign: part 3 of the rule.

    last_version, last_cid: the end of its aggregate's chain, 0 and None at the start. previous_is_void: `previous` is
    the CID of a void event.
    """
    following = last_version + 1
    if version == following and previous == last_cid:
        return LinkStatus.COUNTED
    if version <= following or previous_is_void:
        return LinkStatus.VOID
    return LinkStatus.GAP


def read_record(kind: str, key: bytes | None, value: bytes | None) -> dict[str, Any]:
    """Return a record's event: part 1 of the rule, and part 2 but for the partition.

    Raises:
        ForeignError: the value is no event of this kind, or the key is not its `aggregate_id`.
    """
    event = read_block(kind, value)
    if key is None or event["aggregate_id"].encode() != key:
        raise ForeignError(_NOT_THE_KEY)
    return event


class JournalReader(Generic[End_co]):
    """Reads one journal partition of a kind by the rule of every reader."""

    def __init__(
        self,
        kind: str,
        is_here: Callable[[bytes], bool],
        chain_end: Callable[[bytes], End_co],
        is_void: Callable[[bytes | None], bool],
    ) -> None:
        """Take the kind, and three look-ups.

        is_here: whether a key belongs to this partition (`annals.topics.keys.keys_of`). chain_end: where the chain of
        a key ends. is_void: whether a CID is that of a void event. The last two know all records before the one that
        is read.
        """
        self._kind = kind
        self._is_here = is_here
        self._chain_end = chain_end
        self._is_void = is_void

    def read(self, offset: int, key: bytes | None, value: bytes | None) -> Record[End_co]:
        """Classify the next record."""
        try:
            event = read_block(self._kind, value)
        except ForeignError as error:
            return Foreign(offset, key, str(error))
        if key is None or value is None or event["aggregate_id"].encode() != key:
            return Foreign(offset, key, _NOT_THE_KEY)
        cid = CID_PREFIX + blake3(value).digest()
        last = self._chain_end(key)
        version, previous = event["version"], event["previous"]
        # An aggregate that has events is in its partition: its first one would not have counted elsewhere.
        if version == last.version + 1 and previous == last.head and (version > 1 or self._is_here(key)):
            return Counted(offset, key, event, cid, last)
        if not self._is_here(key):
            return Foreign(offset, key, "the key belongs to another partition")
        previous_is_void = self._is_void(previous)
        status = classify_link(version, previous, last.version, last.head, previous_is_void=previous_is_void)
        if status is LinkStatus.VOID:
            return Void(offset, key, event, cid, last)
        return Gap(offset, key, event, cid, last)


class KeptEnd(Struct, frozen=True, gc=False):
    """A chain's end as `RememberingReader` keeps it."""

    version: int
    head: bytes | None


START = KeptEnd(0, None)


class RememberingReader(JournalReader[KeptEnd]):
    """A reader that keeps chain ends and void CIDs itself.

    ends, voids: what to keep with a position, and to give back to a reader that goes on from there; ends by `kept_key`.
    """

    def __init__(
        self,
        kind: str,
        is_here: Callable[[bytes], bool],
        ends: Mapping[bytes, KeptEnd] | None = None,
        voids: Iterable[bytes] = (),
    ) -> None:
        """Begin at the start of the partition, or with what another reader kept."""
        self.ends: dict[bytes, KeptEnd] = dict(ends or {})
        self.voids: set[bytes | None] = set(voids)
        super().__init__(kind, is_here, self._kept_end, self.voids.__contains__)

    def read(self, offset: int, key: bytes | None, value: bytes | None) -> Record[KeptEnd]:
        """Classify the next record, and remember it."""
        record = super().read(offset, key, value)
        if type(record) is Counted:
            kept = record.key if len(record.key) <= _LONGEST_KEY else kept_key(record.key)  # a call for each event
            self.ends[kept] = KeptEnd(record.event["version"], record.cid)
        elif type(record) is Void:
            self.voids.add(record.cid)
        return record

    def _kept_end(self, key: bytes) -> KeptEnd:
        return self.ends.get(key if len(key) <= _LONGEST_KEY else kept_key(key), START)
