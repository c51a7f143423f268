"""What the consumer group's offset of a partition of commands carries beside its number: words, `name=value`.

    journal=41 last=bafyr4i…@38 command=5f0c…@19 outcome=91d2…@38 restore=bafyr4i…

A reader takes the words that it knows, in any order, and carries all others on: a later release may add some, and
what it knows must outlast the commits of this one.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from annals.schemas.cid import cid_of, cid_text, parse_cid

_OFFSET: Final = re.compile(r"\d{1,19}", re.ASCII)
_DIGEST: Final = re.compile(r"[0-9a-f]{32}")
_AT: Final = "@"
_NAME: Final = re.compile(r"[a-z][a-z0-9_-]*", re.ASCII)
_OURS: Final = frozenset({"journal", "last", "accepted", "unsure", "command", "outcome", "restore"})
_MOST_OTHERS: Final = 1_024  # characters; brokers refuse a commit with more than 4,096 (`offset.metadata.max.bytes`)


class EventAt(NamedTuple):
    """An event and where it stands in its journal."""

    offset: int
    cid: bytes

    def __str__(self) -> str:
        """Return it for people."""
        return f"{cid_text(self.cid)} at offset {self.offset}"


class RecordAt(NamedTuple):
    """A record of another topic and where it stands: the digest of its value tells it from another one there."""

    offset: int
    digest: str

    def __str__(self) -> str:
        """Return it for people."""
        return f"a record with the digest {self.digest} at offset {self.offset}"


def digest_of(value: bytes | None) -> str:
    """Return the digest of a record's value: the first 16 bytes of its BLAKE3 hash, in hex."""
    return cid_of(value or b"")[-32:-16].hex()


class GroupMetadata(NamedTuple):
    """What was acknowledged of a shard's topics when the offset was committed.

    journal_end: where it ended, None if the offset is not of this project's or a person must not rely on it; last: the
    last event that counts; accepted_until: what was known of the journal below this offset, a person gave up
    (`annals journal accept`). unsure_until: an earlier offset was lost, and commands from this one to below that may
    have been answered before. command, outcome: the last decided command, and the last outcome that was written.
    restore: the CID of the list of the newest restore point.
    others: the words of a later release, as they were.
    """

    journal_end: int | None = None
    last: EventAt | None = None
    accepted_until: int = 0
    command: RecordAt | None = None
    outcome: RecordAt | None = None
    unsure_until: int = 0
    others: str = ""
    restore: bytes | None = None

    def encode(self) -> str:
        """Return it as the words of a committed offset."""
        words = []
        if self.journal_end is not None:
            words.append(f"journal={self.journal_end}")
        if self.last is not None:
            words.append(f"last={cid_text(self.last.cid)}{_AT}{self.last.offset}")
        if self.accepted_until:
            words.append(f"accepted={self.accepted_until}")
        if self.unsure_until:
            words.append(f"unsure={self.unsure_until}")
        for name, record in (("command", self.command), ("outcome", self.outcome)):
            if record is not None:
                words.append(f"{name}={record.digest}{_AT}{record.offset}")
        if self.restore is not None:
            words.append(f"restore={cid_text(self.restore)}")
        if self.others:
            words.append(self.others)
        return " ".join(words)


NOTHING_KNOWN: Final = GroupMetadata()


def decode_metadata(text: str) -> GroupMetadata:
    """Return what the words say; a word that cannot be read says nothing."""
    words = dict(word.partition("=")[::2] for word in text.split(" "))
    return GroupMetadata(
        _offset(words.get("journal")),
        _event_at(words.get("last")),
        _offset(words.get("accepted")) or 0,
        _record_at(words.get("command")),
        _record_at(words.get("outcome")),
        _offset(words.get("unsure")) or 0,
        _others(words),
        _cid(words.get("restore")),
    )


def _others(words: dict[str, str]) -> str:
    """Return the words that this release does not know, as many as there is room for."""
    kept, room = [], _MOST_OTHERS
    for name, said in words.items():
        word = f"{name}={said}"
        if said and name not in _OURS and _NAME.fullmatch(name):
            if (room := room - len(word) - 1) < 0:
                break
            kept.append(word)
    return " ".join(kept)


def _cid(text: str | None) -> bytes | None:
    try:
        return None if text is None else parse_cid(text)
    except ValueError:
        return None


def _offset(text: str | None) -> int | None:
    return int(text) if text is not None and _OFFSET.fullmatch(text) else None


def _record_at(text: str | None) -> RecordAt | None:
    digest, _, at = (text or "").partition(_AT)
    offset = _offset(at)
    return None if offset is None or not _DIGEST.fullmatch(digest) else RecordAt(offset, digest)


def _event_at(text: str | None) -> EventAt | None:
    cid, _, at = (text or "").partition(_AT)
    offset = _offset(at)
    try:
        return None if offset is None else EventAt(offset, parse_cid(cid))
    except ValueError:
        return None
