"""JSON of strangers that is nested too deeply for a decoder: as unreadable as any other that is wrong.

msgspec and json raise RecursionError, which is no ValueError: where only that is caught, one record would end whoever
reads the topic.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
V = TypeVar("V")


def decoded(decode: Callable[[V], T], value: V) -> T:
    """Return what a decoder makes of a value.

    Raises:
        ValueError: the decoder's own, or the value is nested too deeply for it.
    """
    try:
        return decode(value)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
