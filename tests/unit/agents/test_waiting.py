"""Several things that are asked for at once."""

import asyncio

import pytest

from annals.agents.waiting import together


async def test_what_is_asked_for_at_once_is_returned_in_its_order():
    comes = asyncio.Event()

    async def first():
        await comes.wait()
        return 1

    async def second():
        comes.set()
        return 2

    assert await together(first(), second()) == [1, 2]


async def test_the_first_that_fails_ends_the_others_and_is_raised():
    """Goes red where they go on: they would ask on a connection that whoever called has closed by then."""
    ended = []

    async def fails():
        await asyncio.sleep(0)
        raise OSError("no broker answers")

    async def goes_on():
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    with pytest.raises(OSError, match="no broker answers"):
        await together(goes_on(), fails())
    assert ended == [True]
