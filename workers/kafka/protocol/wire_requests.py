"""Requests that are encoded already, as aiokafka's connections take them.

aiokafka encodes and decodes messages member by member, each by calls of its own. A worker has some two thousand of
them a second, of few kinds: those have codecs of their own, held by tests to what aiokafka makes.

Source: kafka.apache.org/protocol, "Request and Response Headers"; KIP-482 (compact forms, tags).
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple

from aiokafka.errors import IncompatibleBrokerVersion
from aiokafka.protocol.types import TaggedFields

from annals.topics.wire import unsigned_at, unsigned_varint

if TYPE_CHECKING:
    from io import BytesIO

_HEAD: Final = Struct(">hhih")  # key, version, correlation id, length of the client's id
_CORRELATION: Final = Struct(">i")
NO_TAGS: Final = b"\0"


class _RequestHeader(NamedTuple):
    encoded: bytes

    def encode(self) -> bytes:
        return self.encoded


class AnswerHeader(NamedTuple):
    """What comes before an answer: whose it is."""

    correlation_id: int


class EncodedRequest:
    """A request and the version of it that is sent."""

    API_KEY: ClassVar[int]
    API_VERSION: ClassVar[int]
    IS_FLEXIBLE: ClassVar[bool]
    """Whether the version has compact forms and tags, in its headers too."""
    RESPONSE_TYPE: ClassVar[Any]

    __slots__ = ("_encoded",)

    def __init__(self, encoded: bytes) -> None:
        """Take the bytes behind the header."""
        self._encoded = encoded

    def prepare(self, versions: dict[int, tuple[int, int]]) -> EncodedRequest:
        """Return the request for a broker that knows these versions.

        Raises:
            IncompatibleBrokerVersion: it does not know this one.
        """
        least, most = versions.get(self.API_KEY, (0, -1))
        if not least <= self.API_VERSION <= most:
            raise IncompatibleBrokerVersion(f"the broker does not take version {self.API_VERSION} of {self!r}")
        return self

    def encode(self) -> bytes:
        """Return the bytes behind the header."""
        return self._encoded

    def build_request_header(self, correlation_id: int, client_id: str) -> _RequestHeader:
        """Return what goes before the request."""
        name = client_id.encode()
        head = _HEAD.pack(self.API_KEY, self.API_VERSION, correlation_id, len(name)) + name
        return _RequestHeader(head + NO_TAGS if self.IS_FLEXIBLE else head)

    def parse_response_header(self, read_buffer: BytesIO) -> AnswerHeader:
        """Read what comes before the answer."""
        (correlation_id,) = _CORRELATION.unpack(read_buffer.read(_CORRELATION.size))
        if self.IS_FLEXIBLE:
            TaggedFields.decode(read_buffer)
        return AnswerHeader(correlation_id)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self._encoded)} bytes)"


def compact(value: bytes | None) -> bytes:
    """Return a compact string or bytes, nullable or not."""
    return b"\0" if value is None else unsigned_varint(len(value) + 1) + value


def compact_at(view: memoryview, at: int) -> tuple[bytes, int]:
    """Return the compact string or bytes there (null as empty), and where what follows it begins."""
    size, at = unsigned_at(view, at)
    end = at + max(size - 1, 0)
    return bytes(view[at:end]), end


def behind_tags(view: memoryview, at: int) -> int:
    """Return where what follows the tags there begins."""
    count, at = unsigned_at(view, at)
    for _ in range(count):
        _, at = unsigned_at(view, at)
        size, at = unsigned_at(view, at)
        at += size
    return at
