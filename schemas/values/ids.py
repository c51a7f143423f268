"""What an id may be: Unicode without controls, surrogates, noncharacters and outer white space, compared byte for byte.

The same is what CloudEvents allows in an attribute (1.0.2, "Type System", String), which every id becomes.
"""

import re
from typing import Final

LONGEST_COMMAND_ID: Final = 128
LONGEST_ID: Final = 256

_PLANES: Final = "".join(f"{chr(plane << 16 | 0xFFFE)}{chr(plane << 16 | 0xFFFF)}" for plane in range(17))
_FORBIDDEN: Final = re.compile(f"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef{_PLANES}]")


def id_problem(text: str, longest: int = LONGEST_ID) -> str | None:
    """Return what keeps text from being an id of 1 to `longest` characters, None if nothing does."""
    if not 1 <= len(text) <= longest:
        return f"must have 1 to {longest} characters, this has {len(text)}"
    # What is printable ASCII, as most ids are, needs no search.
    if not (text.isascii() and text.isprintable()) and _FORBIDDEN.search(text):
        return "must not have control characters, surrogates or noncharacters"
    if text[0].isspace() or text[-1].isspace():
        return "must not begin or end with white space"
    return None
