"""Headers as they stand in a record, for those that are too many to be taken apart: each would take some 150 bytes."""

from collections.abc import Iterator, Sequence
from typing import overload

from annals.topics.headers import ReadHeaders
from annals.topics.wire import encode_headers, signed_at, varint


class EncodedHeaders(Sequence[tuple[str, bytes | None]]):
    """The headers of a record, decoded only as somebody asks for one."""

    __slots__ = ("_count", "encoded")

    def __init__(self, count: int, encoded: bytes) -> None:
        """Take their number, and what follows it in the record."""
        self._count = count
        self.encoded = encoded

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[tuple[str, bytes | None]]:
        at = 0
        for _ in range(self._count):
            name, at = self._piece(at)
            value, at = self._piece(at)
            yield (name or b"").decode(errors="surrogateescape"), value

    @overload
    def __getitem__(self, index: int) -> tuple[str, bytes | None]: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[tuple[str, bytes | None]]: ...
    def __getitem__(self, index: int | slice) -> tuple[str, bytes | None] | Sequence[tuple[str, bytes | None]]:
        return list(self)[index]

    def _piece(self, at: int) -> tuple[bytes | None, int]:
        length, at = signed_at(self.encoded, at)
        return (None, at) if length < 0 else (self.encoded[at : at + length], at + length)


def encode_with_more(original: ReadHeaders, more: ReadHeaders) -> bytes:
    """Return the header section of a record with the original headers first, whatever their number."""
    if not isinstance(original, EncodedHeaders):
        return encode_headers([*original, *more])
    count = varint(len(more))
    return varint(len(original) + len(more)) + original.encoded + encode_headers(more)[len(count) :]
