"""A command as it goes over the wire, made from a line or from members, and refused where nobody could answer it.

What a line says is passed on letter by letter, without its `kind`: a number stays as it was written, and what the
worker would refuse is left for the worker to refuse. Only what would become a dead letter is refused here, by the
worker's own reading.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson

from annals.schemas.suggestion import with_known
from annals.schemas.wire.attributes import MEMBERS
from annals.schemas.wire.dead_letter import NO_AGGREGATE_ID, NO_ID, NOT_AN_OBJECT, NOT_JSON, DeadLetter
from annals.schemas.wire.reading import read_command
from annals.schemas.wire.strict_json import NotJsonError, TooManyMembersError, members_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    NewId = Callable[[], str]

_KIND_FIRST: Final = re.compile(rb'[ \t]*\{[ \t]*"kind"[ \t]*:[ \t]*"([^"\\]*)"[ \t]*,[ \t]*(?=")')
_MEMBERS: Final = {NO_ID: "id", NO_AGGREGATE_ID: "aggregate_id"}
# Numbers stay text: they are passed on as they are, however long.
_scan: Final = json.JSONDecoder(parse_int=str, parse_float=str).raw_decode


class NotSendableError(ValueError):
    """A command cannot be sent; the message says why.

    reason: of the dead letter that it would be. path: the member that keeps it from that; empty: it is no one member.
    """

    def __init__(self, message: str, reason: str | None = None, path: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        self.path = path


class Sendable(NamedTuple):
    """A command that the worker can answer: its key is the aggregate id in UTF-8, its value JSON."""

    kind: str
    id: str
    key: bytes
    value: bytes


def from_line(
    line: bytes,
    kinds: Collection[str],
    max_command_bytes: int,
    new_id: NewId,
    actor: str | None = None,
    what: str = "a line",
) -> Sendable:
    """Return the command of a line ``{"kind": …, <command>}``; without an `id` it gets a new one.

    actor: becomes the command's, whatever the line says; None: what the line says. what: the line is to its sender.

    Raises:
        NotSendableError: it is no such line, has more members than are gone over, names no kind of `kinds`, or would
            be a dead letter.
    """
    match = _KIND_FIRST.match(line)
    # As people and programs write it. An escape could spell another `kind` or `id`: then it is read member by member.
    if match is not None and actor is None and b'"kind"' not in line[match.end() :] and b"\\u" not in line:
        value = b"{" + line[match.end() :]
        kind = match[1].decode(errors="replace")
        if b'"id"' not in value:
            value = b'{"id":%b,%b' % (orjson.dumps(new_id()), value[1:])
        if kind in kinds:
            found = read_command(None, value, (), max_command_bytes)
            if not isinstance(found, DeadLetter):
                return Sendable(kind, found.id, found.aggregate_id.encode(), value)
    members = _members(line, what)
    kind = _kind(members, kinds)
    rest = [(name, text) for name, text in members if name != "kind"]
    if all(text == "null" for name, text in rest if name == "id"):
        rest = [("id", json.dumps(new_id())), *((name, text) for name, text in rest if name != "id")]
    if actor is not None:
        rest = [*((name, text) for name, text in rest if name != "actor"), ("actor", json.dumps(actor))]
    written = ",".join(f"{json.dumps(name)}:{text}" for name, text in rest)
    return _checked(kind, f"{{{written}}}".encode(), max_command_bytes)


def from_members(kind: str, command: Mapping[str, Any], max_command_bytes: int, new_id: NewId) -> Sendable:
    """Return a command given by its members, as JSON types; without an `id` it gets a new one.

    Raises:
        NotSendableError: a value has no JSON, or the command would be a dead letter.
    """
    members = {**command, "id": new_id()} if command.get("id") is None else dict(command)
    try:
        value = orjson.dumps(members)
    except TypeError as error:
        raise NotSendableError(f"not JSON: {error}") from None
    return _checked(kind, value, max_command_bytes)


def _checked(kind: str, value: bytes, max_command_bytes: int) -> Sendable:
    found = read_command(None, value, (), max_command_bytes)
    if isinstance(found, DeadLetter):
        raise NotSendableError(f"{found.reason}: {found.message}", found.reason, _MEMBERS.get(found.reason, ""))
    return Sendable(kind, found.id, found.aggregate_id.encode(), value)


def _members(line: bytes, what: str) -> list[tuple[str, str]]:
    """Return the members of a line's object, in their order, each as its name and its text."""
    try:
        found = members_of(line, _scan)
    except NotJsonError as error:
        raise NotSendableError(f"{NOT_JSON}: {error}", NOT_JSON) from None
    except TooManyMembersError as error:
        raise NotSendableError(f"{what} {error}: those of a command are {', '.join(('kind', *MEMBERS))}") from None
    if found is None:
        wanted = '{"kind": …, "type": …, "aggregate_id": …, "data": …}'
        raise NotSendableError(f"{what} is a JSON object: {wanted}", NOT_AN_OBJECT)
    return found


def _kind(members: list[tuple[str, str]], kinds: Collection[str]) -> str:
    texts = [text for name, text in members if name == "kind"]
    if len(texts) != 1 or not texts[0].startswith('"'):
        raise NotSendableError(f'"kind" must be given once, as text: one of {", ".join(kinds)}', path="kind")
    kind: str = json.loads(texts[0])
    if kind not in kinds:
        raise NotSendableError(with_known("there is no kind", kind, kinds), path="kind")
    return kind
