"""JSON as the contract reads it (RFC 8259, UTF-8, no BOM): nothing is lost and nothing is guessed.

What is no JSON raises. What is JSON but would not arrive in a block as it was sent (an integer beyond 64 bits, a number
beyond binary64, -0.0, a member named twice, a lone surrogate, too deep a nesting, a reserved name) is a fault with its
path: the document can still be answered. This parser is for whatever a fast one refuses or cannot be sure of, and the
measure that the fast path in `annals.schemas.wire.reading` is tested against. It looks at each value in Python; a
document of more than `MOST_VALUES` values is left to `annals.schemas.wire.vast_json`.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import Any, Final, NamedTuple, NoReturn

import orjson

from annals.schemas.depth import DEEPEST, MOST_LEVELS, is_deep, nesting
from annals.schemas.outcome import LONGEST_PATH, MOST_FOUND
from annals.schemas.wire.deep_json import IntricateError, Member, Scan, is_object, take_apart
from annals.schemas.wire.vast_json import parse_vast

LEAST_INTEGER: Final = -(2**63)
MOST_INTEGER: Final = 2**64 - 1
_LONGEST_INTEGER: Final = 20  # characters of either bound
MOST_VALUES: Final = 10_000  # tens of milliseconds
MOST_MEMBERS: Final = 1_000  # of an object that is taken apart, each by a step of ours: tens of milliseconds
MOST_STEPS: Final = 500  # through a document that nests too deep: the same
_TOO_DEEP: Final = f"must not nest beyond {DEEPEST} levels, the command's own included"
_FAULTLESS: Final = frozenset({int, float, bool, type(None)})

_SIGNS: Final = (b'"$', b"\\u0024", b"\\ud", b"\\uD")
"""Without one of these a document has neither a reserved name nor a lone surrogate."""

_SURROGATE: Final = re.compile("[\ud800-\udfff]")

Fault = tuple[str, str]
"""A path into the document and what is wrong there."""


class NotJsonError(ValueError):
    """The bytes are not JSON; the message says where they cease to be, and repeats none of them."""


class TooManyMembersError(ValueError):
    """The document's object has more members than are gone over one by one; whether it is JSON is not known."""


class Document(NamedTuple):
    """A parsed value, and what in it cannot be taken as it was sent; a flawed value stands as a `Flaw`."""

    value: Any
    faults: list[Fault]


class Flaw:
    """Stands for a value that cannot be taken."""

    __slots__ = ("message",)

    def __init__(self, message: str) -> None:
        self.message = message


class _Doubled(dict[str, Any]):
    """An object in which names occur more than once; the last of each counts."""

    __slots__ = ("names",)
    names: list[str]


def parse_strict(value: bytes, *, is_data: bool = False) -> Document:
    """Parse a document whose member `data`, or with `is_data` the whole of it, is a command's data.

    Within the data names that begin with ``$`` are reserved; its paths begin with `data` either way.

    Raises:
        NotJsonError: it is not JSON.
    """
    try:
        text = value.decode()
    except UnicodeDecodeError as error:
        raise NotJsonError(f"not UTF-8 at byte {error.start}") from None
    parser = _Parser()
    try:
        if is_deep(value):
            parsed = parser.parse_deep(text)
        elif _values(value) > MOST_VALUES:
            return Document(*parse_vast(value, is_data=is_data, refuse=_refuse_constant))
        else:
            parsed = parser.parse(text)
    except json.JSONDecodeError as error:
        raise NotJsonError(f"not JSON: {error}") from None
    if not parser.is_flawed and not any(sign in value for sign in _SIGNS):
        return Document(parsed, [])
    return Document(parsed, list(islice(_faults(parsed, "data" if is_data else "", is_data=is_data), MOST_FOUND)))


def members_of(value: bytes, scan: Scan) -> list[tuple[str, str]] | None:
    """Return the members of a document's object, each as its name and its text; None when the document is no object.

    scan: as of a decoder that may make of numbers what it likes. Members of one name are all there.

    Raises:
        NotJsonError: it is not JSON, or too deep and too intricate to be read.
        TooManyMembersError: it has more than `MOST_MEMBERS`.
    """
    try:
        text = value.decode()
        found = _taken_apart(text, scan) if is_deep(value) else _taken_apart_in_whole(text, scan)
    except UnicodeDecodeError as error:
        raise NotJsonError(f"not UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise NotJsonError(f"not JSON: {error}") from None
    return None if found is None else [(member.name, member.text) for member in found]


def _taken_apart(text: str, scan: Scan) -> list[Member] | None:
    """Take apart one that nests deep; where that takes too many steps, as far as a parser that recurses can."""
    try:
        return take_apart(text, scan, MOST_STEPS)
    except IntricateError:
        levels = nesting(text.encode())
    if levels > MOST_LEVELS:
        if not is_object(text):
            return None
        raise NotJsonError(_too_intricate(levels))
    try:
        return _taken_apart_in_whole(text, scan)
    except RecursionError:
        raise NotJsonError(f"nests {levels} levels, too many to be read from here") from None


def _taken_apart_in_whole(text: str, scan: Scan) -> list[Member] | None:
    """Take one apart whose members' values are a step each."""
    try:
        return take_apart(text, scan, 1 + MOST_MEMBERS, is_shallow=True)
    except IntricateError:
        if not is_object(text):
            return None
        raise TooManyMembersError(f"has more than {MOST_MEMBERS:,} members") from None


def _too_intricate(levels: int) -> str:
    return f"nests {levels} levels, with too many values there to be read"


def _values(value: bytes) -> int:
    """Return an upper bound of how many values there are in a document."""
    return 1 + value.count(b",") + value.count(b"[") + value.count(b"{")


class _Parser:
    """One document's parse: the standard library's C scanner, whose hooks see each number and each object."""

    def __init__(self) -> None:
        self.is_flawed = False
        self._decoder = json.JSONDecoder(
            object_pairs_hook=self._object,
            parse_float=self._float,
            parse_int=self._integer,
            parse_constant=_refuse_constant,
        )
        self.parse = self._decoder.decode

    def _flaw(self, message: str) -> Flaw:
        self.is_flawed = True
        return Flaw(message)

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        members = dict(pairs)
        if len(members) == len(pairs):
            return members
        self.is_flawed = True
        doubled = _Doubled(members)
        doubled.names = [name for name, times in Counter(name for name, _ in pairs).items() if times > 1]
        return doubled

    def _integer(self, digits: str) -> int | Flaw:
        # Long ones are not converted at all: int() takes time in the square of their length, and has a limit.
        number = int(digits) if len(digits) <= _LONGEST_INTEGER else MOST_INTEGER + 1
        if LEAST_INTEGER <= number <= MOST_INTEGER:
            return number
        return self._flaw("must be from -2^63 to 2^64-1: an integer outside has no place in a block")

    def _float(self, digits: str) -> float | Flaw:
        number = float(digits)
        if math.isinf(number):
            return self._flaw("must be within binary64: this overflows")
        if number == 0 and math.copysign(1, number) < 0:
            return self._flaw("must not be -0.0: canonical DAG-CBOR has no negative zero")
        return number

    def parse_deep(self, text: str) -> Any:
        """Parse a document that nests too deep: members of its object that do are flaws, what is no object is empty."""
        try:
            members = take_apart(text, self._decoder.raw_decode, MOST_STEPS)
        except IntricateError:
            return self._parse_intricate(text.encode())
        if members is None:
            return []
        return self._object(
            [(name, self.parse(part) if levels <= DEEPEST else self._flaw(_TOO_DEEP)) for name, part, levels in members]
        )

    def _parse_intricate(self, value: bytes) -> Any:
        """Parse one that takes too many steps to be taken apart, as far as a parser that recurses can."""
        levels = nesting(value)
        if levels > MOST_LEVELS:
            raise NotJsonError(_too_intricate(levels))
        try:
            parsed, _ = parse_vast(value, is_data=False, refuse=_refuse_constant)
        except RecursionError:
            raise NotJsonError(f"nests {levels} levels, too many to be read from here") from None
        if not isinstance(parsed, dict):
            return []
        return {name: self._flaw(_TOO_DEEP) if _is_too_deep(part) else part for name, part in parsed.items()}


def _is_too_deep(member: Any) -> bool:
    try:
        return is_deep(b"[%b]" % orjson.dumps(member))
    except TypeError:  # it nests so deep that no encoder writes it, or holds what none writes either
        return True


def _refuse_constant(name: str) -> NoReturn:
    raise NotJsonError(f"not JSON: {name} is no JSON number")


def _faults(value: Any, path: str, *, is_data: bool) -> Iterator[Fault]:
    """Name each fault in its place; the recursion ends at `DEEPEST`."""
    if isinstance(value, Flaw):
        yield path, value.message
    elif isinstance(value, str):
        if _SURROGATE.search(value):
            yield path, "must be Unicode: this has a lone surrogate"
    elif isinstance(value, list):
        for index, item in enumerate(value):
            if type(item) not in _FAULTLESS:
                yield from _faults(item, f"{path}[{index}]", is_data=is_data)
    elif isinstance(value, dict):
        if isinstance(value, _Doubled):
            yield from ((join(path, name), "is named twice: only one can be meant") for name in value.names)
        for name, item in value.items():
            below = join(path, name)
            if _SURROGATE.search(name):
                yield below, "must be named in Unicode: its name has a lone surrogate"
            if is_data and name.startswith("$"):
                yield below, "must not begin with $: such names are reserved"
            yield from _faults(item, below, is_data=is_data or below == "data")


def join(path: str, name: str) -> str:
    """Return the path of a member, fit to be written: a lone surrogate in its name is shown by its escape."""
    shown = name.encode(errors="backslashreplace").decode()
    return (f"{path}.{shown}" if path else shown)[:LONGEST_PATH]
