"""CARv1: the blocks of an aggregate's events as one stream that IPFS tools read (ipld.io/specs/transport/car)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from annals.agents.reading.ports import NotReadyError
from annals.schemas.canonical import encode

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from annals.agents.reading.found import FoundEvent
    from annals.agents.reading.ports import ReadingShard

CAR: Final = "application/vnd.ipld.car"
AT_ONCE: Final = 500


async def car_of(shard: ReadingShard, aggregate_id: str, first: int, root: FoundEvent) -> AsyncGenerator[bytes, None]:
    """Yield a CAR of the events from a version to the root, which is the last of them.

    Raises:
        NotReadyError: the rest is asked of another worker now, which has not read it: the CAR is cut off.
    """
    yield section(encode({"roots": [root.cid], "version": 1}))
    last = root.event["version"]
    while first <= last:
        found = await shard.history(aggregate_id, first=first, last=last, descending=False, limit=AT_ONCE)
        if not found:
            raise NotReadyError(f"{shard.kind}-{shard.partition}: version {first} is not read by who answers now")
        yield b"".join(section(each.cid + each.block) for each in found)
        first = found[-1].event["version"] + 1


def section(data: bytes) -> bytes:
    """Return data with its length before it, as an unsigned LEB128."""
    length, prefix = len(data), bytearray()
    while length >= 0x80:
        prefix.append(length & 0x7F | 0x80)
        length >>= 7
    prefix.append(length)
    return bytes(prefix) + data
