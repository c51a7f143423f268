"""An upcaster: the step from one version of an event's data to the next, and the type that the older version had."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from annals.schemas.data.stored import Reader

if TYPE_CHECKING:
    from collections.abc import Callable

    from annals.schemas.messages import Message

Data = dict[str, Any]


class Upcast:
    """Takes data of an older version to the next one.

    Args:
        older: the type that the version had. It is never written again, and never changed.
        change: the data of the next version. Gets data of the older type's shape, and leaves them as they are.
    """

    __slots__ = ("_read", "change", "older")

    def __init__(self, older: type[Message], change: Callable[[Data], Data]) -> None:
        self.older = older
        self.change = change
        self._read = Reader(older).read

    def __call__(self, data: Data) -> Data:
        """The data as the next version has them.

        Raises:
            msgspec.ValidationError: the data do not have the older version's shape.
        """
        self._read(data)
        return self.change(data)
