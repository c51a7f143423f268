"""Records of progress: what others may have written there takes no more than it may."""

from annals.schemas.progress import LONGEST_FAILURE, Progress, decode_progress, encode_progress


def test_progress_is_read_as_it_was_written() -> None:
    written = Progress(7, None, 1, 2, 3, 4, "2026-11-21T09:30:00Z", "2026-11-21T09:31:00Z", failure="it failed")
    assert decode_progress(encode_progress(written)) == written


def test_of_a_failure_of_any_length_no_more_is_kept_than_a_reaction_writes() -> None:
    """Goes red when a megabyte of it is carried on with each position, and shown by every answer."""
    found = decode_progress(encode_progress(Progress(7, failure="x" * 1_000_000)))
    assert found == Progress(7, failure="x" * LONGEST_FAILURE)
