"""Canonical DAG-CBOR written by hand, independent of the project's own codec, and what is not canonical beside it."""

from __future__ import annotations

import struct
from typing import Any, Final, NamedTuple

from blake3 import blake3

CID_PREFIX: Final = bytes([0x01, 0x71, 0x1E, 32])  # CIDv1, dag-cbor, BLAKE3, 32 bytes


class Raw(NamedTuple):
    """Bytes that stand for a value as they are."""

    encoded: bytes


class Link(NamedTuple):
    """A link to a block: the bytes of its CID."""

    cid: bytes


class Pairs(NamedTuple):
    """A map whose members stay in this order, doubled ones too."""

    members: list[tuple[str, Any]]


def head(major: int, number: int) -> bytes:
    """Return the shortest head of an item."""
    if number < 24:
        return bytes([major << 5 | number])
    for bits, size in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if number < 1 << 8 * size:
            return bytes([major << 5 | bits]) + number.to_bytes(size, "big")
    raise ValueError(f"{number} has more than 64 bits")


def encode(value: Any) -> bytes:
    """Return the canonical encoding of JSON types and links; of `Raw` and `Pairs` what they hold."""
    match value:
        case Raw(encoded):
            return encoded
        case Link(cid):
            return b"\xd8\x2a" + encode(b"\x00" + cid)
        case Pairs(members):
            return head(5, len(members)) + b"".join(encode(name) + encode(each) for name, each in members)
        case None:
            return b"\xf6"
        case bool():
            return b"\xf5" if value else b"\xf4"
        case int():
            return head(0, value) if value >= 0 else head(1, -1 - value)
        case float():
            return b"\xfb" + struct.pack(">d", value)
        case bytes():
            return head(2, len(value)) + value
        case str():
            return head(3, len(value.encode())) + value.encode()
        case list():
            return head(4, len(value)) + b"".join(map(encode, value))
        case dict():
            return encode(Pairs(sorted(value.items(), key=lambda each: (len(each[0].encode()), each[0].encode()))))
    raise TypeError(f"{type(value).__name__} is no DAG-CBOR")


def cid_of(block: bytes) -> bytes:
    """Return the bytes of a block's CID."""
    return CID_PREFIX + blake3(block).digest()
