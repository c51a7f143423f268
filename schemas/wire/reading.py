"""From a Kafka record to a command: what it says, or why it cannot be read as one.

Most commands take the fast path: one typed decode by msgspec, and a proof that nothing got lost on the way. Whatever it
refuses or cannot be sure of is parsed again by `annals.schemas.wire.strict_json`, which names what is wrong.
"""

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from itertools import islice
from operator import attrgetter
from typing import Annotated, Any, Final, Protocol

import msgspec
import orjson
from msgspec import UNSET, Meta, Struct, UnsetType

from annals.schemas.cid import parse_cid
from annals.schemas.depth import DEEPEST, is_deep, nesting
from annals.schemas.envelope import ANY, EXISTS, Command, ExpectedVersion
from annals.schemas.outcome import MOST_FOUND
from annals.schemas.values.ids import LONGEST_COMMAND_ID, LONGEST_ID, id_problem
from annals.schemas.values.moments import issued_at_problem
from annals.schemas.wire.attributes import MEMBERS, Trace, command_of
from annals.schemas.wire.cloudevents import read_cloudevent
from annals.schemas.wire.dead_letter import KEY_MISMATCH, NOT_AN_OBJECT, NOT_JSON, TOO_LARGE, DeadLetter
from annals.schemas.wire.strict_json import MOST_INTEGER, NotJsonError, join, parse_strict
from annals.schemas.wire.trace_context import trace_context
from annals.schemas.wire.vast_json import may_have_large_integer
from annals.schemas.wire.via import via_of

MOST_KEY_AND_HEADER_BYTES: Final = 65_536
FORWARDING: Final = ("origin-partition", "origin-offset")
"""The last headers of a command that a worker forwarded; its key is then what the worker made of `aggregate_id`."""
_LONGEST_VERSION: Final = 20  # bytes in JSON: of 64 bits, or a word
LONGEST_ORIGIN: Final = 19  # digits of a 64-bit offset

_NO_TRACE: Final[Trace] = (None, None, None)
_UNKNOWN: Final = f"is not a member here; the members are {', '.join(MEMBERS)}"

_MEMBERS: Final = frozenset(MEMBERS)
_WORDS: Final = (ANY, EXISTS)
_BACKSLASH, _DELETE, _DOLLAR = b"\\\x7f$"
_QUOTES: Final = 14  # around name and text of id, type and aggregate_id, and around the name of data
LONGEST_KEY: Final = 4 * LONGEST_ID  # in UTF-8; a longer one cannot be the aggregate id
_CommandId = Annotated[str, Meta(min_length=1, max_length=LONGEST_COMMAND_ID)]
_Id = Annotated[str, Meta(min_length=1, max_length=LONGEST_ID)]
_Text = Annotated[str, Meta(min_length=1)]


class _Wire(Struct, forbid_unknown_fields=True, gc=False):
    """A command on the wire, as far as types tell."""

    id: _CommandId
    type: str
    aggregate_id: _Id
    data: dict[str, Any]
    expected_version: Any = UNSET
    expected_head: _Text | UnsetType | None = UNSET
    correlation_id: _Id | UnsetType | None = UNSET
    causation_id: _Id | UnsetType | None = UNSET
    actor: _Id | UnsetType | None = UNSET
    issued_at: _Text | UnsetType | None = UNSET


class _Envelope(_Wire, gc=False):
    """The same with its data unread, and what else may be of any type."""

    data: msgspec.Raw  # type: ignore[assignment]
    expected_version: msgspec.Raw | UnsetType = UNSET


_decode: Final = msgspec.json.Decoder(_Wire).decode
_decode_envelope: Final = msgspec.json.Decoder(_Envelope).decode
_DOUBTS: Final = (b"-0.0", b'"$', b"\\u0022", b"\\u0024")
_LARGE: Final = 16_384  # bytes; of a smaller value all is read at once
_HEADERS: Final = attrgetter("headers")


class Record(Protocol):
    """What is read of a Kafka record; its value as unpacked."""

    @property
    def key(self) -> bytes | None:
        """The aggregate id in UTF-8, if the producer gave it."""

    @property
    def value(self) -> bytes | None:
        """The command."""

    @property
    def headers(self) -> Sequence[tuple[str, bytes | None]]:
        """Names and values, in order."""


def read_command(
    key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes | None]], max_command_bytes: int
) -> Command | DeadLetter:
    """Return the command in a record of `commands.<kind>`, or why it cannot be read as one.

    A command that can be answered but not taken comes back with its `errors`. `value` is as unpacked.
    """
    if value is not None and len(value) > max_command_bytes:
        return DeadLetter(TOO_LARGE, f"the value has {len(value)} bytes, {max_command_bytes} are allowed")
    if len(headers) > MOST_KEY_AND_HEADER_BYTES + len(FORWARDING):  # then none of them is looked at
        return DeadLetter(TOO_LARGE, f"there are {len(headers)} headers, {MOST_KEY_AND_HEADER_BYTES} are allowed")
    beside = _bytes_beside(key, headers) if headers else len(key or b"")
    if beside > MOST_KEY_AND_HEADER_BYTES:
        return DeadLetter(
            TOO_LARGE, f"key and headers have {beside} bytes together, {MOST_KEY_AND_HEADER_BYTES} are allowed"
        )
    with _collector_paused() if value is not None and len(value) > _LARGE else _NOTHING:
        command = _read(value, headers)
    if isinstance(command, Command) and key is not None and key != command.aggregate_id.encode():
        return DeadLetter(KEY_MISMATCH, "the record's key is not the aggregate_id in UTF-8")
    return command


def _read(value: bytes | None, headers: Sequence[tuple[str, bytes | None]]) -> Command | DeadLetter:
    trace = (*trace_context(headers), via_of(headers)) if headers else _NO_TRACE
    command = read_cloudevent(value, headers, trace) if headers else None
    if command is None and value is not None:
        command = _read_surely(value, trace)
    return _read_strictly(value, trace) if command is None else command


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Let no garbage be collected: hundreds of thousands of lists made in a row would be gone over again and again."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


_NOTHING: Final = nullcontext()


def _bytes_beside(key: bytes | None, headers: Sequence[tuple[str, bytes | None]]) -> int:
    """Return the bytes of key and headers as produced: what forwarding adds must not make a command too large.

    A header counts at least one byte: those without name and value take room, too.
    """
    is_copy = tuple(name for name, _ in headers[-2:]) == FORWARDING and all(
        text is not None and text.isdigit() and len(text) <= LONGEST_ORIGIN for _, text in headers[-2:]
    )
    given = sum(
        max(1, len(name.encode(errors="surrogateescape")) + len(text or b""))
        for name, text in (headers[:-2] if is_copy else headers)
    )
    return given if is_copy else given + len(key or b"")


def read_commands(records: Sequence[Record], max_command_bytes: int) -> list[Command | DeadLetter]:
    """Return what `read_command` says of each record: for half its time where none has headers or is a doubt."""
    together = _read_together(records, max_command_bytes) if len(records) != 1 else None
    if together is not None:
        return together
    return [read_command(record.key, record.value, record.headers, max_command_bytes) for record in records]


def _read_together(records: Sequence[Record], max_command_bytes: int) -> list[Command | DeadLetter] | None:
    """Return commands that are all beyond doubt as they were sent, None if any of them may not be.

    The proof of `_read_surely`, once for all: what was understood of a value never takes more quotation marks than the
    value has, so that the sums are equal only if all are. A large value is read alone, as `_decode_large` does.
    """
    if not records:
        return []
    try:
        # a null value is refused as any other that is no command
        values: list[bytes] = [record.value for record in records]  # type: ignore[misc]
        if max(map(len, values)) > _LARGE:
            return None
        wires = [_decode(value) for value in values]
        data = orjson.dumps([wire.data for wire in wires])
    except (ValueError, TypeError, RecursionError):
        return None
    if any(map(_HEADERS, records)) or max(map(len, values)) > max_command_bytes or _is_doubtful(data):
        return None
    text = b"".join(values)
    has_escapes = _BACKSLASH in text
    if has_escapes and b"\\u0022" in text:
        return None
    brackets = data.count(b"{") + data.count(b"[") - 1  # the list's own, which is one level too
    if brackets >= DEEPEST + len(wires) - 1 and nesting(data) > DEEPEST:
        return None
    command_ids = [wire.id for wire in wires]
    aggregate_ids = [wire.aggregate_id for wire in wires]
    others = [
        other for wire in wires for other in (wire.correlation_id, wire.causation_id, wire.actor) if other is not UNSET
    ]
    texts = [other for other in others if other]
    lines = "\n".join(("", *command_ids, *aggregate_ids, *texts, ""))
    if has_escapes or not lines.isascii() or "\x7f" in lines:
        if any(map(id_problem, (*command_ids, *aggregate_ids, *texts))):
            return None
    elif "\n " in lines or " \n" in lines:
        return None
    keys, own_keys = [record.key for record in records], [aggregate_id.encode() for aggregate_id in aggregate_ids]
    if keys != own_keys and any(key not in {None, own} for key, own in zip(keys, own_keys, strict=True)):
        return None
    quotes = data.count(b'"') + _QUOTES * len(wires) + 2 * len(others) + 2 * len(texts)
    commands: list[Command | DeadLetter] = []
    for wire in wires:
        version: ExpectedVersion = ANY
        head = None
        if not (wire.expected_version is wire.expected_head is wire.issued_at is UNSET):
            conditions = _conditions(wire)
            if conditions is None:
                return None
            version, head, more = conditions
            quotes += more
        commands.append(
            Command(
                wire.id,
                wire.type,
                wire.aggregate_id,
                wire.data,
                wire.correlation_id or wire.id,
                version,
                head,
                wire.causation_id or None,
                wire.actor or None,
            )
        )
    return commands if quotes == text.count(b'"') else None


def _conditions(wire: _Wire) -> tuple[ExpectedVersion, bytes | None, int] | None:
    """Return what a command expects, and the quotation marks of what says so and of `issued_at`; None for a doubt."""
    quotes, head = 0, None
    version: Any = wire.expected_version
    if version is UNSET:
        version = ANY
    elif version is None:
        version = ANY
        quotes += 2
    elif type(version) is int:
        quotes += 2
        if not 0 <= version <= MOST_INTEGER:
            return None
    elif version in _WORDS:
        quotes += 4
    else:
        return None
    if wire.expected_head is not UNSET:
        quotes += 2
    if wire.expected_head:
        quotes += 2
        try:
            head = parse_cid(wire.expected_head)
        except ValueError:
            return None
    if wire.issued_at is not UNSET:
        quotes += 2
    if wire.issued_at:
        quotes += 2
        if issued_at_problem(wire.issued_at):
            return None
    return version, head, quotes


def _is_doubtful(data: bytes) -> bool:
    """Whether data, as orjson wrote it, may hold a reserved name or a zero that had a sign."""
    return data.find(b"-0.0") >= 0 or (_DOLLAR in data and b'"$' in data)


def _read_surely(value: bytes, trace: Trace) -> Command | None:
    """Return a command that is beyond doubt as it was sent, None for any other value.

    The proof: to write what was understood takes as many quotation marks as the value has, so no member was dropped
    in favour of one of the same name (those of the data are counted in what orjson writes; an escaped mark stays one,
    written as a code point it is a doubt). orjson writes no integer beyond 64 bits; a reserved name or -0.0 would
    stand in what it wrote; its brackets bound the depth. Bytes are looked for by number where that is faster.
    """
    try:
        # What cannot be proven shows before hundreds of thousands of objects are made, only to be made again.
        if len(value) > _LARGE and (is_deep(value) or any(sign in value for sign in _DOUBTS)):
            return None
        wire = _decode(value) if len(value) <= _LARGE else _decode_large(value)
        data = orjson.dumps(wire.data)
    except (ValueError, TypeError, RecursionError):
        return None
    if _is_doubtful(data):
        return None
    has_escapes = _BACKSLASH in value
    if has_escapes and b"\\u0022" in value:
        return None
    if len(value) <= _LARGE and data.count(b"{") + data.count(b"[") >= DEEPEST and nesting(data) >= DEEPEST:
        return None
    command_id, aggregate_id = wire.id, wire.aggregate_id
    # printable ASCII without escapes leaves only outer spaces to look for in an id
    is_plain = not has_escapes and value.isascii() and _DELETE not in value
    if is_plain:
        if command_id[0] == " " or command_id[-1] == " " or aggregate_id[0] == " " or aggregate_id[-1] == " ":
            return None
    elif id_problem(command_id) or id_problem(aggregate_id):
        return None
    correlation_id, causation_id, actor = wire.correlation_id, wire.causation_id, wire.actor
    quotes = _QUOTES + data.count(b'"')
    for text in (correlation_id, causation_id, actor):
        if text:
            quotes += 4
            if (text[0] == " " or text[-1] == " ") if is_plain else id_problem(text):
                return None
        elif text is None:
            quotes += 2
    conditions = _conditions(wire)
    if conditions is None:
        return None
    version, head, more = conditions
    if quotes + more != value.count(b'"'):
        return None
    return Command(
        command_id,
        wire.type,
        aggregate_id,
        wire.data,
        correlation_id or command_id,
        version,
        head,
        causation_id or None,
        actor or None,
        *trace,
    )


def _decode_large(value: bytes) -> _Wire:
    """Return what `_decode` says of a large value. For a number near the ends of binary64 that takes microseconds.

    Raises:
        ValueError: it is no command, or has an integer that this way would not read right.
    """
    envelope = _decode_envelope(value)
    text, version = bytes(envelope.data), envelope.expected_version
    if version is not UNSET:
        if len(bytes(version)) > _LONGEST_VERSION:
            raise ValueError("the expected version is none")
        envelope.expected_version = msgspec.json.decode(bytes(version))
    if may_have_large_integer(text):
        raise ValueError("an integer may be beyond 64 bits")
    data: Any = orjson.loads(text)
    if type(data) is not dict:
        raise ValueError("data is no object")
    envelope.data = data  # type: ignore[assignment]  # as `_Wire` has it
    return envelope


def _read_strictly(value: bytes | None, trace: Trace) -> Command | DeadLetter:
    if value is None:
        return DeadLetter(NOT_JSON, "the value is null")
    try:
        document = parse_strict(value)
    except NotJsonError as error:
        return DeadLetter(NOT_JSON, str(error))
    members = document.value
    if not isinstance(members, dict):
        return DeadLetter(NOT_AN_OBJECT, "a command is a JSON object")
    unknown = ((join("", name), _UNKNOWN) for name in members if name not in _MEMBERS)
    return command_of(members, [*document.faults, *islice(unknown, MOST_FOUND)], trace)
