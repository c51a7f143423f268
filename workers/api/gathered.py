"""What answers over all partitions have in common: what they rest on, what is missing, and what they wait for.

Routes of rows and questions use it as those of events do: `expect: Expect = []` and `wait` among the parameters, and
`until_expected` before the shards are asked, which `until_rests_on` does. `gathered_json` is put around JSON.
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Final, Protocol, TypeVar

import msgspec
from msgspec import Meta, Struct

from annals.agents.backoff import Backoff
from annals.agents.reading.gathering.cursors import BadCursorError, CursorTooLongError
from annals.agents.reading.gathering.expecting import NotFoldedError, parse_expected, until_folded
from annals.agents.reading.gathering.gather import Lag, PartitionReason
from annals.schemas.dag_json import encode
from annals.workers.api.http.parameters import Wait
from annals.workers.api.http.problems import InvalidMember, Problem, all_invalid, invalid, timed_out

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence

    from annals.agents.reading.gathering.all_shards import AllShards
    from annals.agents.reading.gathering.expecting import ExpectedAt
    from annals.workers.api.http.routing import Call

BAD_CURSOR: Final = "bad_cursor"
GATHER_S: Final = 5.0  # after which a partition that has not answered is missing
GATHER_SHARE: Final = 0.75  # of what a request has left, where that is less: the others' answers are sent in the rest
LOOK_S: Final = 0.02
LAST_LOOK_S: Final = 1.0  # what does not come soon is asked for less and less often
EXPECT_WAIT_S: Final = 10.0  # where the caller says nothing
MOST_EXPECTED: Final = 20

Expect = Annotated[
    list[str], Meta(description="`<kind>/<id>@<version>`: not before this event is folded. Repeatable (20 times).")
]

WaitExpected = Annotated[Wait, Meta(description="Seconds to wait for what is expected (10).")]


class Resting(Protocol):
    """An answer over partitions."""

    @property
    def positions(self) -> Mapping[str, Sequence[int | None]]:
        """Up to where it rests on each; None where one is missing."""


A = TypeVar("A", bound=Resting)


class Gathering(Struct, frozen=True):
    """What an answer over partitions rests on. `positions`: by kind, null for a partition that is missing.

    `stale`: partitions that are behind; `lag`: how far the others are behind the journal.
    """

    positions: dict[str, list[int | None]]
    missing: list[PartitionReason]
    stale: list[PartitionReason]
    lag: Lag


@contextmanager
def bad_cursors_refused() -> Iterator[None]:
    """Make a problem of a cursor that is none."""
    try:
        yield
    except BadCursorError as error:
        raise Problem(400, BAD_CURSOR, str(error)) from None
    except CursorTooLongError as error:
        raise invalid("kind", str(error)) from None


async def until_expected(
    shards: AllShards, expected: Sequence[str], wait_s: float | None, call: Call
) -> list[ExpectedAt]:
    """Wait until what `expect` names is folded by its owners, and return where the journal has it.

    Raises:
        Problem: one of them is of no such form, or did not come in time.
    """
    if len(expected) > MOST_EXPECTED:
        raise invalid("expect", f"at most {MOST_EXPECTED} events are waited for")
    parsed, errors = [], []
    for text in expected:
        try:
            parsed.append(parse_expected(text, shards.kinds))
        except ValueError as error:
            errors.append(InvalidMember("expect", str(error)))
    if errors:
        raise all_invalid(errors)
    end = end_of(call, wait_s)
    try:
        return await until_folded(shards, parsed, end)
    except NotFoldedError as error:
        position = {"kind": error.kind, "partition": error.partition, "offset": error.offset}
        raise timed_out(f"{error} ({end - call.started:g} s)", position=position) from None


async def until_rests_on(
    expected: Sequence[ExpectedAt], wait_s: float | None, call: Call, ask: Callable[[], Awaitable[A]]
) -> A:
    """Ask again until an answer rests on all that is expected, and return it.

    Where it is folded by its owner, who answers may be another, be behind, or the partition be missing by then.

    Raises:
        Problem: it did not come in time (504).
    """
    deadline, backoff = end_of(call, wait_s), Backoff(LOOK_S, LAST_LOOK_S)
    while True:
        answer = await ask()
        behind = [each for each in expected if not _has(answer.positions, each)]
        if not behind:
            return answer
        if asyncio.get_running_loop().time() >= deadline:
            kind, partition, offset = behind[0]
            position = {"kind": kind, "partition": partition, "offset": answer.positions[kind][partition]}
            raise timed_out(f"offset {offset} of {kind}-{partition} is not in the answer yet", position=position)
        await backoff.wait_within(deadline)


def end_of(call: Call, wait_s: float | None) -> float:
    """Return until when what a call expects is waited for. wait_s: as the caller says it."""
    return call.started + (EXPECT_WAIT_S if wait_s is None else wait_s)


def gather_until(call: Call, wait_s: float = 0.0) -> float:
    """Return until when a call waits for the answers of partitions; wait_s: what they may wait for by themselves."""
    now = asyncio.get_running_loop().time()
    return now + min(wait_s + GATHER_S, GATHER_SHARE * (call.deadline - now))


def _has(positions: Mapping[str, Sequence[int | None]], expected: ExpectedAt) -> bool:
    """Whether an answer rests on an event; one that has nothing of its kind has nothing to wait for."""
    if expected.kind not in positions:
        return True
    found = positions[expected.kind][expected.partition]
    return found is not None and found > expected.offset


def gathered_json(
    name: bytes,
    items: Iterable[bytes],
    positions: Mapping[str, Sequence[int | None]],
    missing: Sequence[PartitionReason],
    stale: Sequence[PartitionReason],
    lag: Lag,
    **members: Any,
) -> bytes:
    """Return an answer: items that are JSON already, under a name, and what they rest on."""
    rest = {"positions": positions, "missing": missing, "stale": stale, "lag": lag}
    own = encode(members)[1:-1]
    parts = [b'"%b":[%b]' % (name, b",".join(items)), own, msgspec.json.encode(rest)[1:-1]]
    return b"{%b}" % b",".join(part for part in parts if part)
