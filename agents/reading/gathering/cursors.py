"""Cursors: opaque, URL-safe text that says where a reader of many partitions goes on.

The bytes of an event cursor: form (1), order (1), for each kind its name (length before it) and its number of
partitions, for each partition its place, 2 bytes of its first event's CID and 2 of that of the event at the place, or
of the last one before it (zeros: none was seen); at the end 4 bytes of BLAKE3 over all of it. Numbers are of variable
length (LEB128). Seven kinds of 32 partitions fit for any offsets.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import Counter
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from blake3 import blake3

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from annals.agents.reading.ports import Key

CURSOR_CHARACTERS: Final = 4_096
CHECK: Final = 4
FORM: Final = 3  # the first had another check of the journal; the second is of aggregates
GREATEST_OFFSET: Final = (1 << 62) - 1  # 9 bytes at most, two higher
NO_PLACE: Final = 0  # places are written two higher: -1 is that of a partition read downwards to its beginning
_SEVEN_BITS: Final = 0x7F
_MORE: Final = 0x80


class BadCursorError(ValueError):
    """The text is no cursor for this question: of other kinds or partition counts, of another journal, or altered."""


class CursorTooLongError(ValueError):
    """A cursor over so many partitions would not fit into a URL: fewer kinds must be asked for at once."""


class Place(NamedTuple):
    """Where a partition is gone on with.

    offset: the next one that counts; None: not begun. journal: by what the partition's journal is known again (see
    `places`), empty if unknown.
    """

    offset: int | None = None
    journal: bytes = b""


class Cursor(NamedTuple):
    """A place in every partition of some kinds."""

    places: Mapping[Key, Place]
    descending: bool = False


def begin(partitions: Mapping[str, int], *, descending: bool) -> Cursor:
    """Return the cursor before the first event."""
    return Cursor({key: Place() for key in _keys(partitions)}, descending)


def encode(cursor: Cursor) -> str:
    """Return a cursor as text.

    Raises:
        CursorTooLongError: it has too many partitions.
    """
    data = bytearray((FORM, cursor.descending))
    for head, keys in _layout(tuple(cursor.places)):
        data += head
        for key in keys:
            data += _place_bytes(cursor.places[key])
    return seal_text(bytes(data))


def decode(text: str, partitions: Mapping[str, int], *, descending: bool) -> Cursor:
    """Return the cursor of a text, made for these kinds with these numbers of partitions and this order.

    Raises:
        BadCursorError: it is none.
    """
    data = memoryview(open_text(text))
    try:
        form, order, at = data[0], data[1], 2
        if form != FORM or order not in (0, 1) or bool(order) != descending:
            raise BadCursorError("the cursor is of another form or order")
        places: dict[Key, Place] = {}
        for kind in sorted(partitions):
            length, at = _read_number(data, at)
            name, at = bytes(data[at : at + length]), at + length
            count, at = _read_number(data, at)
            if name != kind.encode() or count != partitions[kind]:
                raise BadCursorError("the cursor is of other kinds or partition counts")
            for partition in range(count):
                number, at = _read_number(data, at)
                journal, at = bytes(data[at : at + CHECK]), at + CHECK
                places[kind, partition] = _place(number, journal)
    except IndexError:
        raise BadCursorError("the cursor is cut off") from None
    if at != len(data):
        raise BadCursorError("the cursor is of other kinds or partition counts")
    return Cursor(places, descending)


def seal_text(data: bytes) -> str:
    """Return bytes as a cursor's text, with a check of them.

    Raises:
        CursorTooLongError: it would not fit into a URL.
    """
    text = urlsafe_b64encode(data + blake3(data).digest(CHECK)).decode().rstrip("=")
    if len(text) > CURSOR_CHARACTERS:
        raise CursorTooLongError(f"a cursor over so many partitions has more than {CURSOR_CHARACTERS} characters")
    return text


def open_text(text: str) -> bytes:
    """Return the bytes of a cursor's text.

    Raises:
        BadCursorError: it is not what `seal_text` returns.
    """
    if len(text) <= CURSOR_CHARACTERS and text.isascii():
        try:
            data = urlsafe_b64decode(text + "=" * (-len(text) % 4))
        except ValueError:
            data = b""
        body = data[:-CHECK]
        # compared whole: the decoder passes over characters that are none of its own
        if body and blake3(body).digest(CHECK) == data[-CHECK:] and seal_text(body) == text:
            return body
    raise BadCursorError("the cursor is none that was given out")


def _keys(partitions: Mapping[str, int]) -> Iterator[Key]:
    for kind in sorted(partitions):
        for partition in range(partitions[kind]):
            yield kind, partition


@lru_cache(maxsize=16)  # a stream writes a cursor of the same partitions with each event
def _layout(keys: tuple[Key, ...]) -> list[tuple[bytes, list[Key]]]:
    """Return for each kind what stands before its places, and the order of these."""
    counts = Counter(kind for kind, _ in keys)
    return [
        (
            _number(len(kind.encode())) + kind.encode() + _number(counts[kind]),
            [(kind, partition) for partition in range(counts[kind])],
        )
        for kind in sorted(counts)
    ]


@lru_cache(maxsize=1024)  # of its places one is another than with the event before
def _place_bytes(place: Place) -> bytes:
    offset, journal = place
    return _number(NO_PLACE if offset is None else offset + 2) + journal.ljust(CHECK, b"\0")


def _place(number: int, journal: bytes) -> Place:
    if number - 2 > GREATEST_OFFSET:
        raise BadCursorError("the cursor has an offset that no journal has")
    return Place(None if number == NO_PLACE else number - 2, journal if any(journal) else b"")


def _number(value: int) -> bytes:
    data = bytearray()
    while value > _SEVEN_BITS:
        data.append(value & _SEVEN_BITS | _MORE)
        value >>= 7
    data.append(value)
    return bytes(data)


def _read_number(data: memoryview, at: int) -> tuple[int, int]:
    value, shift = 0, 0
    while data[at] & _MORE:
        value |= (data[at] & _SEVEN_BITS) << shift
        at, shift = at + 1, shift + 7
    return value | data[at] << shift, at + 1
