"""JSON of very many values, read without a step of ours for each: as `strict_json` beside it reads smaller documents.

Whether something in it cannot be taken is found out exactly, from what a fast encoder writes of the parsed value. Where
it is, is not searched: the fault is named at the document's member that holds it.
"""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson

from annals.schemas.outcome import LONGEST_PATH, MOST_FOUND

# Numbers are looked for in the shape of a document: each digit a 0. A text is found many times faster than a pattern.
_SHAPE: Final = bytes.maketrans(b"123456789E", b"000000000e")
_LARGE_INTEGER: Final = b"0" * 19
_LONG_INTEGER: Final = b"0" * 4_301  # the interpreter does not convert so many digits
_OVERFLOWS: Final = (b"0" * 309, b"0e000", b"0e+000")
_LONGEST_INTEGER: Final = 20
_BEYOND: Final = 2**64  # stands for each integer that is longer
_NEGATIVE_ZERO: Final = re.compile(rb"-0\.0(?![0-9])")
# The quotation mark that begins a text is followed by $, and the one that ends it by a colon: it is a name.
_RESERVED: Final = re.compile(rb'"\$(?<!\\"\$)(?:[^"\\]|\\.)*":')

_INSIDE: Final = "somewhere inside (so large a document is not searched for the place)"
_TWICE: Final = "must not have a member that is named twice, nor must the command (so large, it is not searched for it)"
_INTEGER: Final = f"must not have an integer outside of -2^63 to 2^64-1, {_INSIDE}"
_SURROGATE: Final = f"must not have a lone surrogate, {_INSIDE}"
_OVERFLOW: Final = f"must not have a number beyond binary64, {_INSIDE}"
_ZERO: Final = f"must not have a -0.0, {_INSIDE}"
_DOLLAR: Final = f"must not have a member whose name begins with $, {_INSIDE}"


def parse_vast(value: bytes, *, is_data: bool, refuse: Callable[[str], Any]) -> tuple[Any, list[tuple[str, str]]]:
    """Return a document's value and its faults; `refuse` raises for what is no number of JSON.

    Raises:
        json.JSONDecodeError: it is not JSON.
    """
    doubles = 0

    def take(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal doubles
        members = dict(pairs)
        doubles += len(members) != len(pairs)
        return members

    shape = value.translate(_SHAPE)
    read = None if may_have_large_integer(value) else _parse_surely(value)
    if read is not None:
        parsed, has_doubles = read
        may_overflow = False
    else:
        has_long = _LONG_INTEGER in shape
        decoder = json.JSONDecoder(
            object_pairs_hook=take, parse_int=_integer if has_long else None, parse_constant=refuse
        )
        parsed = decoder.decode(value.decode())
        has_doubles = doubles > 0
        may_overflow = any(text in shape for text in _OVERFLOWS)
    faults = [("data", _TWICE)] if has_doubles else []
    for path, part in _parts(parsed, is_data=is_data).items():
        flaw = _flaw(part, is_data=path == "data", may_overflow=may_overflow)
        if flaw is not None:
            faults.append((path.encode(errors="backslashreplace").decode()[:LONGEST_PATH], flaw))
    return parsed, faults


def may_have_large_integer(value: bytes) -> bool:
    """Whether JSON may have an integer of 19 digits or more: outside of its texts there are so many in a row."""
    return _LARGE_INTEGER in value.translate(_SHAPE) and _LARGE_INTEGER in _outside_strings(value).translate(_SHAPE)


def _parse_surely(value: bytes) -> tuple[Any, bool] | None:
    """Return what a parser that is some times faster reads, and whether members are named twice; None for a doubt.

    Of the members of a name it keeps the last, which the quotation marks of what it read show, unless one is escaped.
    Of integers that are too large it makes floats: there must be none.
    """
    if b"\\u0022" in value:
        return None
    try:
        parsed = orjson.loads(value)
        return parsed, value.count(b'"') != orjson.dumps(parsed).count(b'"')
    except (ValueError, TypeError):
        return None


def _integer(digits: str) -> int:
    return int(digits) if len(digits) <= _LONGEST_INTEGER else _BEYOND


def _parts(parsed: Any, *, is_data: bool) -> Mapping[str, Any]:
    """Return what is looked at at once, by its path: the document's members, or its data and the many others."""
    if is_data or not isinstance(parsed, dict):
        return {"data": parsed}
    if len(parsed) <= MOST_FOUND:
        return parsed
    return {"data": parsed.get("data"), "": {name: part for name, part in parsed.items() if name != "data"}}


def _flaw(part: Any, *, is_data: bool, may_overflow: bool) -> str | None:
    """Return what keeps a value from being taken as it was sent, None if nothing does."""
    try:
        written = orjson.dumps(part)
    except TypeError as error:
        return _SURROGATE if "surrogate" in str(error) else _INTEGER
    if may_overflow and _has_infinity(part):
        return _OVERFLOW
    if b"-0.0" in written and _NEGATIVE_ZERO.search(_outside_strings(written)):
        return _ZERO
    if is_data and b'"$' in written and _RESERVED.search(written):
        return _DOLLAR
    return None


def _has_infinity(part: Any) -> bool:
    try:
        json.dumps(part, allow_nan=False, check_circular=False)
    except ValueError:
        return True
    return False


def _outside_strings(written: bytes) -> bytes:
    return b"".join(written.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')[::2])
