"""The words that a committed offset carries: read by older and newer releases, whatever stands beside them."""

import re

import pytest

from annals.schemas.cid import cid_of, cid_text
from annals.topics.group_metadata import NOTHING_KNOWN, EventAt, GroupMetadata, RecordAt, decode_metadata, digest_of

CID = cid_of(b"an event")
LAST = f"last={cid_text(CID)}@38"


@pytest.mark.parametrize(
    "metadata",
    [
        NOTHING_KNOWN,
        GroupMetadata(0),
        GroupMetadata(41, EventAt(38, CID)),
        GroupMetadata(41, EventAt(38, CID), 97),
        GroupMetadata(None, EventAt(38, CID), 97),
        GroupMetadata(41, EventAt(38, CID), 97, unsure_until=12),
        GroupMetadata(41, EventAt(38, CID), restore=CID),
        GroupMetadata(41, None, 0, RecordAt(19, digest_of(b"a command")), RecordAt(38, digest_of(None))),
    ],
)
def test_what_was_written_is_read(metadata: GroupMetadata) -> None:
    assert decode_metadata(metadata.encode()) == metadata


def test_the_release_before_reads_the_end() -> None:
    found = re.search(r"journal=(\d+)", GroupMetadata(41, EventAt(38, CID), 97).encode())
    assert found is not None
    assert found[1] == "41"


@pytest.mark.parametrize(
    ("text", "metadata"),
    [
        ("", NOTHING_KNOWN),
        ("somebody else's", NOTHING_KNOWN),
        ("journal=41", GroupMetadata(41)),
        (f"{LAST}  journal=41 x =7", GroupMetadata(41, EventAt(38, CID))),
        ("journal=-1", NOTHING_KNOWN),
        ("journal=٣", NOTHING_KNOWN),
        (f"journal={'9' * 5_000}", NOTHING_KNOWN),
        ("journal=41 last=@38", GroupMetadata(41)),
        (f"journal=41 {LAST[:-3]}", GroupMetadata(41)),
        (f"journal=41 {LAST.upper()}", GroupMetadata(41)),
        (f"journal=41 {LAST}x", GroupMetadata(41)),
        (f"journal=41 command={digest_of(b'')[1:]}@3 outcome={digest_of(b'')}", GroupMetadata(41)),
    ],
)
def test_words_that_are_not_known_or_not_readable_say_nothing(text: str, metadata: GroupMetadata) -> None:
    assert decode_metadata(text) == metadata


def test_words_of_a_later_release_are_carried_on() -> None:
    text = f"standby={cid_text(CID)} {LAST}  journal=41 x of-a-later-one=a=b"
    found = decode_metadata(text)
    assert found == GroupMetadata(41, EventAt(38, CID), others=f"standby={cid_text(CID)} of-a-later-one=a=b")
    assert found.encode() == f"journal=41 {LAST} {found.others}"
    assert decode_metadata(found.encode()) == found


def test_words_that_are_carried_on_leave_room_for_ours() -> None:
    words = [f"later{number}={'x' * 50}" for number in range(100)]
    found = decode_metadata(" ".join([*words, "journal=41"]))
    assert found.journal_end == 41
    assert words[: len(found.others.split())] == found.others.split()
    assert 900 < len(found.others) <= 1_024
