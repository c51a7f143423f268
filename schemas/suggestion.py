"""Which known name was meant by one that there is not."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

ALIKE: Final = 0.6  # a letter or two of a short word
LONGEST: Final = 300  # characters: the comparison takes time in the product of both lengths


def meant(word: str, known: Iterable[str]) -> str:
    """Return the sentence that says which known word was meant, with a space before it; nothing where none is alike."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=ALIKE) if len(word) <= LONGEST else []
    return f" Is {close[0]} meant?" if close else ""


def with_known(said: str, name: str, known: Collection[str]) -> str:
    """Return what is said of a name that there is not, with the names that there are and the one that was meant."""
    return f"{said} {name!r}: there are {', '.join(known) or 'none'}.{meant(name, known)}"
