"""Records of progress: keys and values as they are in the topic, and what others may have written there."""

import pytest

from annals.schemas.cid import cid_of, cid_text
from annals.schemas.progress import (
    LIVE,
    LONGEST_FAILURE,
    Progress,
    decode_progress,
    encode_progress,
    name_of,
    progress_key,
    reaction_name,
    rekeying_name,
)

CID = cid_of(b"the last event")
WHOLE = Progress(7, CID, 1, 2, 3, 4, "2026-11-21T09:30:00Z", "2026-11-21T09:31:00Z", is_resting=True, failure="no")


@pytest.mark.parametrize("written", [Progress(0), Progress(7, CID), WHOLE])
def test_progress_is_read_as_it_was_written(written: Progress) -> None:
    assert decode_progress(encode_progress(written)) == written


def test_a_value_has_what_is_not_usual_alone() -> None:
    assert encode_progress(Progress(0)) == b'{"position":0,"cid":null}'
    assert encode_progress(WHOLE).decode() == (
        f'{{"position":7,"cid":"{cid_text(CID)}","incarnation":1,"acks":2,"version":3,"quiet_until":4,'
        '"fired":"2026-11-21T09:30:00Z","quiet_due":"2026-11-21T09:31:00Z","failure":"no","resting":true}'
    )


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"{}",
        b'{"position":-1,"cid":null}',
        b'{"position":0,"cid":"no CID"}',
        b'{"position":0,"cid":null,"incarnation":-1}',
        b'{"position":0,"cid":null,"acks":-1}',
        b'{"position":0,"cid":null,"version":-1}',
        b'{"position":0,"cid":null,"quiet_until":-1}',
    ],
)
def test_what_is_no_progress_is_refused(value: bytes) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        decode_progress(value)


def test_of_a_failure_of_any_length_no_more_is_kept_than_a_reaction_writes() -> None:
    """Goes red when a megabyte of it is carried on with each position, and shown by every answer."""
    found = decode_progress(encode_progress(Progress(7, failure="x" * 1_000_000)))
    assert found == Progress(7, failure="x" * LONGEST_FAILURE)
    assert LONGEST_FAILURE == 1_000  # a reaction shows no more of it, whichever release wrote it


@pytest.mark.parametrize(
    ("name", "key"),
    [
        (LIVE, b"live/events.person/3"),
        ("press", b"press/events.person/3"),
        (reaction_name("assign"), b"reaction:assign/events.person/3"),
        (reaction_name("assign", "north"), b"reaction:assign@north/events.person/3"),
        (rekeying_name("assign"), b"rekey:assign/events.person/3"),
    ],
)
def test_a_key_says_whose_progress_it_is_and_where(name: str, key: bytes) -> None:
    assert progress_key(name, "events.person", 3) == key
    assert name_of(key, "events.person", 3) == name
    assert name_of(key, "events.person", 2) is None
    assert name_of(key, "events.document", 3) is None


@pytest.mark.parametrize("key", [None, b"", b"live", b"events.person/3", b"\xff"])
def test_a_key_of_anything_else_is_nobodys(key: bytes | None) -> None:
    assert name_of(key, "events.person", 3) is None


def test_one_that_rests_is_as_far_as_what_is_live_unless_it_is_further() -> None:
    resting = Progress(7, is_resting=True)
    assert [resting.reached_with(live) for live in (None, Progress(6), Progress(9))] == [7, 7, 9]
    assert Progress(7).reached_with(Progress(9)) == 7
