"""Record batches unpacked within a bound, whatever codec their producer chose.

A broker bounds what a batch takes packed, and zstd packs a gigabyte of zeros into 30 KB: a reader that unpacks whatever
comes is ended by one record. Nothing that a worker writes comes near the bounds here (a batch of its has at most the
topic's `max.message.bytes` unpacked), so what exceeds them is no event, no outcome and no command that could be taken.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, Final

import cramjam
from aiokafka.record import default_records
from aiokafka.record._crecords import default_records as compiled_records

from annals.schemas.wire.reading import FORWARDING, MOST_KEY_AND_HEADER_BYTES
from annals.topics.wire import signed_at

if TYPE_CHECKING:
    from collections.abc import Callable

MOST_BYTES: Final = 64 << 20  # sixteen times the largest batch of a journal: whoever copies one may have packed it anew
FIRST_GUESS: Final = 8  # times the packed size: more than most batches need, so that one attempt is enough
NEXT_GUESS: Final = 4
MOST_HEADERS: Final = MOST_KEY_AND_HEADER_BYTES + len(FORWARDING)  # each of a command's own counts at least one byte
CONTINUED: Final = 0x80  # a byte of a number that is not its last
LEAST_HEADER: Final = 2  # bytes of a header without name and value: only larger records can have too many
XERIAL: Final = struct.Struct(">8sii")  # the framing of snappy-java: magic, version, least version that can read it
XERIAL_MAGIC: Final = b"\x82SNAPPY\x00"
XERIAL_LENGTH: Final = struct.Struct(">i")


class OversizedError(Exception):
    """A batch unpacks to more than is read, or a record in it has more headers than are read."""


def unpack(codec: int, packed: bytes) -> bytes:
    """Return the records of a batch as they were before its codec (KIP-98: the number in the batch's attributes).

    Raises:
        OversizedError: they have more than MOST_BYTES.
        Exception: they are damaged; each codec has errors of its own.
    """
    return _UNPACKERS[codec](packed)


def _gzip(packed: bytes) -> bytes:
    unpacked, rest = bytearray(), bytes(packed)
    while rest:  # members follow one another
        member = zlib.decompressobj(zlib.MAX_WBITS | 16)
        unpacked += member.decompress(rest, MOST_BYTES + 1 - len(unpacked))
        if len(unpacked) > MOST_BYTES:
            raise OversizedError(f"the batch unpacks to more than {MOST_BYTES} bytes")
        if not member.eof:
            raise EOFError("the compressed records are cut off")
        rest = member.unused_data
    return bytes(unpacked)


def _snappy(packed: bytes) -> bytes:
    if len(packed) < XERIAL.size or XERIAL.unpack_from(packed)[0] != XERIAL_MAGIC:
        return _snappy_block(packed, MOST_BYTES)
    unpacked, at = bytearray(), XERIAL.size
    while at < len(packed):
        (length,) = XERIAL_LENGTH.unpack_from(packed, at)
        at += XERIAL_LENGTH.size
        unpacked += _snappy_block(packed[at : at + length], MOST_BYTES - len(unpacked))
        at += length
    return bytes(unpacked)


def _snappy_block(packed: bytes, most: int) -> bytes:
    if cramjam.snappy.decompress_raw_len(packed) > most:
        raise OversizedError(f"the batch unpacks to more than {MOST_BYTES} bytes")
    return bytes(cramjam.snappy.decompress_raw(packed))


def _guessing(unpack_into: Callable[[bytes, bytearray], int]) -> Callable[[bytes], bytes]:
    """Return the unpacking of a format that says its length nowhere: into more and more room, up to the bound."""

    def unpack_all(packed: bytes) -> bytes:
        packed, room = bytes(packed), FIRST_GUESS * len(packed)
        while True:
            room = min(room, MOST_BYTES)
            unpacked = bytearray(room)
            try:
                length = unpack_into(packed, unpacked)
            except cramjam.DecompressionError as error:
                del unpacked  # whoever handles the error would keep it
                if "whole buffer" not in str(error):
                    raise
                if room == MOST_BYTES:
                    raise OversizedError(f"the batch unpacks to more than {MOST_BYTES} bytes") from None
                room *= NEXT_GUESS
            else:
                return bytes(memoryview(unpacked)[:length])

    return unpack_all


_UNPACKERS: Final[dict[int, Callable[[bytes], bytes]]] = {
    0: bytes,
    1: _gzip,
    2: _snappy,
    3: _guessing(cramjam.lz4.decompress_into),
    4: _guessing(cramjam.zstd.decompress_into),
}


def refuse_many_headers(records: bytes, at: int = 0) -> None:
    """Refuse unpacked records of which one has more than MOST_HEADERS headers: each would take some 150 bytes.

    Only the lengths are read, and of what is too short to have so many headers nothing.

    Raises:
        OversizedError: a record has more.
        IndexError: the records are cut off.
    """
    least = LEAST_HEADER * MOST_HEADERS
    last = len(records) - least
    while at < last:
        # Lengths of one or two bytes, as nearly all are, are read in place: they are too short.
        low = records[at]
        if low < CONTINUED:
            at += 1 + (low >> 1)
            continue
        high = records[at + 1]
        if high < CONTINUED:
            at += 2 + ((low & 0x7F | high << 7) >> 1)
            continue
        length, at = signed_at(records, at)
        if length > least and _headers(records, at) > MOST_HEADERS:
            raise OversizedError(f"a record has more than {MOST_HEADERS} headers")
        at += max(length, 1)


def _headers(records: bytes, at: int) -> int:
    """Return how many headers a record says it has; it begins behind its length."""
    at += 1  # attributes
    for _ in range(2):  # time and offset
        _, at = signed_at(records, at)
    for _ in range(2):  # key and value
        length, at = signed_at(records, at)
        at += max(length, 0)
    return signed_at(records, at)[0]


def _for_aiokafka(codec: int) -> Callable[[bytes], bytes]:
    def decode(packed: bytes) -> bytes:
        records = unpack(codec, packed)
        refuse_many_headers(records)
        return records

    return decode


def bound_aiokafka() -> None:
    """Let aiokafka's decoders of records unpack within these bounds; they look their codecs up in their modules."""
    for codec, name in ((1, "gzip_decode"), (2, "snappy_decode"), (3, "lz4_decode"), (4, "zstd_decode")):
        for module in (default_records, compiled_records):
            setattr(module, name, _for_aiokafka(codec))
