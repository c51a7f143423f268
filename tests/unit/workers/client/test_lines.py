"""Lines from a file or a pipe, whatever pieces they come in."""

import asyncio
import os
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annals.workers.client.lines import LineSplitter, lines_of


def split(pieces: list[bytes], longest: int = 100) -> list[tuple[int, bytes | None]]:
    splitter = LineSplitter(longest)
    return [tuple(line) for piece in [*pieces, b""] for line in splitter.feed(piece)]


def test_lines_are_numbered_and_blank_ones_passed_over() -> None:
    assert split([b"a\n\n \t\r\nb\r\n"]) == [(1, b"a"), (4, b"b")]


def test_the_last_line_needs_no_end() -> None:
    assert split([b"a\nb"]) == [(1, b"a"), (2, b"b")]


def test_nothing_has_no_lines() -> None:
    assert split([]) == []


def test_a_line_that_is_too_long_is_named_and_not_kept() -> None:
    assert split([b"x" * 60, b"x" * 60, b"x" * 10**6 + b"\nshort\n"]) == [(1, None), (2, b"short")]


def test_a_line_that_is_too_long_is_not_kept_while_it_comes() -> None:
    splitter = LineSplitter(100)
    for _ in range(100):
        splitter.feed(b"x" * 90)
    assert len(splitter._rest) <= 100


@given(text=st.lists(st.sampled_from([b"a", b"bb", b"\n", b"\r", b" ", b"x" * 40])), cuts=st.lists(st.integers(0, 200)))
def test_the_pieces_do_not_matter(text: list[bytes], cuts: list[int]) -> None:
    whole = b"".join(text)
    ends = sorted({min(cut, len(whole)) for cut in cuts} | {len(whole)})
    pieces = [whole[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    assert split([piece for piece in pieces if piece]) == split([whole] if whole else [])


async def test_a_line_is_there_as_soon_as_it_was_written() -> None:
    reading, writing = os.pipe()
    found = lines_of(lambda size: os.read(reading, size), 100)
    for text in (b"one", b"two"):
        os.write(writing, text + b"\n")
        async with asyncio.timeout(30):
            assert [line.text for line in await anext(found)] == [text]
    os.write(writing, b"three")
    os.close(writing)
    assert [line.text async for some in found for line in some] == [b"three"]
    os.close(reading)


async def test_a_source_that_cannot_be_read_is_told() -> None:
    def read(size: int) -> bytes:
        raise OSError(5, "Input/output error")

    with pytest.raises(OSError, match="Input/output error"):
        await anext(lines_of(read, 100))


async def test_a_fast_source_is_held_up() -> None:
    asked: list[int] = []

    def read(size: int) -> bytes:
        asked.append(size)
        return b"x\n" if len(asked) <= 1_000 else b""

    found = lines_of(read, 100)
    await anext(found)
    assert len(asked) < 10
    assert sum([len(some) async for some in found]) == 999


def test_who_takes_no_more_is_left_without_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a Ctrl-C: the loop cancels what the reading thread waits for."""
    said: list[object] = []
    monkeypatch.setattr(threading, "excepthook", said.append)

    async def take_one() -> list[threading.Thread]:
        await anext(lines_of(lambda _: b"x\n", 100))
        return [each for each in threading.enumerate() if each.name == "lines"]

    for thread in asyncio.run(take_one()):
        thread.join(60)
        assert not thread.is_alive()
    assert said == []
