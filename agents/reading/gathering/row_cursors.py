"""Cursors of rows: the question and the version that all pages are of, and where each partition is gone on with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from blake3 import blake3

from annals.agents.reading.gathering.cursors import BadCursorError
from annals.agents.reading.gathering.key_cursors import decode_keys, encode_keys

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FORM: Final = 4  # the first had no version, the second one key for all partitions; ranges of the third were by row
CHECK_BYTES: Final = 8
VERSION_BYTES: Final = 4


def encode_place(name: str, index: Mapping[str, Any], version: int, after: Sequence[bytes | None]) -> str:
    """Return where the next page of a projection's rows begins.

    Raises:
        NotReadyError: partitions were missing so often that it does not fit into a URL.
    """
    return encode_keys(FORM, _digest(name, index) + version.to_bytes(VERSION_BYTES, "big"), after)


def decode_place(text: str, name: str, index: Mapping[str, Any]) -> tuple[int, list[bytes | None] | None]:
    """Return the version of a cursor, and behind which key each partition is gone on with; None: no row was shown yet.

    Raises:
        BadCursorError: it is none of this question.
    """
    of, keys = decode_keys(text, FORM)
    if len(of) != CHECK_BYTES + VERSION_BYTES or of[:CHECK_BYTES] != _digest(name, index):
        raise BadCursorError("the cursor is of another question")
    return int.from_bytes(of[CHECK_BYTES:], "big"), keys or None


def _digest(name: str, index: Mapping[str, Any]) -> bytes:
    return blake3(msgspec.json.encode([name, sorted(index.items())])).digest(CHECK_BYTES)
