"""Which known name was meant by one that there is not."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

ALIKE: Final = 0.6  # a letter or two of a short word
LONGEST: Final = 300  # characters: the comparison takes time in the product of both lengths


def meant(word: str, known: Iterable[str]) -> str:
    """Return the sentence that says which known word was meant, with a space before it; nothing where none is alike."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=ALIKE) if len(word) <= LONGEST else []
    return f" Is {close[0]} meant?" if close else ""


def there_are(known: Iterable[str]) -> str:
    """Return the words that there are, for a message; `none` where there is none."""
    return ", ".join(known) or "none"
