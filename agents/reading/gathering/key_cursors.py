"""Cursors of lists that are merged by key: behind which key each partition is gone on with.

None: from its first key on. Those that were missing when others went on keep keys of their own; few differ, and each is
written once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from annals.agents.reading.gathering.cursors import BadCursorError, CursorTooLongError, open_text, seal_text
from annals.agents.reading.ports import NotReadyError

if TYPE_CHECKING:
    from collections.abc import Sequence


class _Text(msgspec.Struct, frozen=True, array_like=True):
    form: int
    of: bytes
    keys: list[bytes | None]
    held: list[int]  # the key of each partition


def encode_keys(form: int, of: bytes, keys: Sequence[bytes | None]) -> str:
    """Return a cursor of a form, of what is listed, and of the partitions' keys, in the order of the partitions.

    Raises:
        NotReadyError: partitions were missing so often that it does not fit into a URL.
    """
    known = list(dict.fromkeys(keys))
    text = _Text(form, of, known, [known.index(key) for key in keys])
    try:
        return seal_text(msgspec.msgpack.encode(text))
    except CursorTooLongError:
        raise NotReadyError("too many partitions were missing at different places; list from the beginning") from None


def decode_keys(text: str, form: int) -> tuple[bytes, list[bytes | None]]:
    """Return what a cursor is of, and the partitions' keys.

    Raises:
        BadCursorError: the text is no cursor of this form.
    """
    try:
        read = msgspec.msgpack.decode(open_text(text), type=_Text)
        keys = [read.keys[number] for number in read.held if number >= 0]
    except (msgspec.MsgspecError, IndexError):
        raise BadCursorError("the cursor is none of a list") from None
    if read.form != form:
        raise BadCursorError("the cursor is of another list")
    return read.of, keys
