"""What becomes of an event in a subscriber topic: a CloudEvent with its data in the version that is asked for."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple, overload

import orjson

from annals.agents.defects import is_of_machine
from annals.schemas.cid import cid_text
from annals.schemas.subscription import AGGREGATE_ID, NEWEST
from annals.topics.headers import CONTENT_TYPE, Header, event_headers
from annals.topics.wire import LONGEST_READY, TIME, encode_headers, encoded_event_headers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from annals.agents.deciding.decider import EventSpec
    from annals.agents.reading.found import JournalEvent
    from annals.schemas.data.complaints import Problem
    from annals.schemas.subscription import Definition

JSON: Final = ("content-type", b"application/json")
PREFIX: Final = "ce_"
MEMBERS: Final = {"subject": "aggregate_id", "time": "recorded_at", "correlationid": "correlation_id"}
NUL_IN_JSON: Final = rb"\u0000"  # or a backslash before these letters


class VersionNotHadError(Exception):
    """An event cannot be given in the schema version that a subscription asks for; the message names both."""


class Outgoing(NamedTuple):
    """A record for a subscriber topic; key: by which it is ordered there."""

    key: bytes
    value: bytes
    headers: Sequence[Header]


class EventHeaders(Sequence[Header]):
    """The headers of an event for subscribers, made as they are asked for: one by one, or as they stand in a record.

    Most are asked for in the latter form alone, which is made once for all subscriptions, in a third of the time.
    """

    def __init__(self, source: JournalEvent, schema_version: int, content_type: Header) -> None:
        """Take the event, the version of its data, and what its value is."""
        self._source = source
        self._schema_version = schema_version
        self._content_type = content_type
        self._listed: list[Header] | None = None
        self._encoded: bytes | None = None

    def __len__(self) -> int:
        return len(self._all())

    def __iter__(self) -> Iterator[Header]:
        return iter(self._all())

    def __eq__(self, other: object) -> bool:
        """Return whether other headers are the same ones in the same order, as of any list."""
        return isinstance(other, Sequence) and list(self) == list(other)

    def __hash__(self) -> int:
        """Return the hash of what they stand in a record as."""
        return hash(self.encoded())

    @overload
    def __getitem__(self, index: int) -> Header: ...
    @overload
    def __getitem__(self, index: slice) -> list[Header]: ...
    def __getitem__(self, index: int | slice) -> Header | list[Header]:
        return self._all()[index]

    def encoded(self) -> bytes:
        """Return them as the header section of a record."""
        if self._encoded is None:
            self._encoded = self._ready() or encode_headers(self._all())
        return self._encoded

    def _ready(self) -> bytes | None:
        """Return them encoded from ready pieces; None where the event has a member that is too long for these."""
        event = self._source.event
        key = event["aggregate_id"].encode()
        recorded_at = event["recorded_at"].encode()
        command_id, correlation_id = event["command_id"].encode(), event["correlation_id"].encode()
        if len(recorded_at) != TIME or max(len(key), len(command_id), len(correlation_id)) > LONGEST_READY:
            return None
        return encoded_event_headers(
            kind=event["kind"],
            key=key,
            version=event["version"],
            type_name=event["type"],
            schema_version=self._schema_version,
            recorded_at=recorded_at,
            cid=cid_text(self._source.cid).encode(),
            command_id=command_id,
            correlation_id=correlation_id,
            causation_id=event["causation_id"],
            actor=event["actor"],
            content_type=self._content_type,
            further=self._further(),
        )

    def _further(self) -> list[Header]:
        previous = self._source.event["previous"]
        of_chain = [] if previous is None else [("ce_previous", cid_text(previous).encode())]
        return [*of_chain, *self._source.carried]

    def _all(self) -> list[Header]:
        if self._listed is None:
            event = self._source.event
            made = event_headers(
                kind=event["kind"],
                key=event["aggregate_id"].encode(),
                version=event["version"],
                type_name=event["type"],
                schema_version=self._schema_version,
                recorded_at=event["recorded_at"],
                cid=cid_text(self._source.cid),
                command_id=event["command_id"],
                correlation_id=event["correlation_id"],
                causation_id=event["causation_id"],
                actor=event["actor"],
            )
            self._listed = [self._content_type if each is CONTENT_TYPE else each for each in made] + self._further()
        return self._listed


def encoded(headers: Sequence[Header]) -> bytes:
    """Return the header section of a record; what was made for another subscription is not made again."""
    return headers.encoded() if isinstance(headers, EventHeaders) else encode_headers(headers)


def version_problems(definition: Definition, events: Mapping[str, int]) -> list[Problem]:
    """Return which versions cannot be had of any event: of a type that no kind has, or later than the newest.

    events: the newest version by type, of the kinds that are wanted.
    """
    if definition.schema_version == NEWEST:
        return []
    wrong = []
    for name, version in definition.schema_version.items():
        newest = events.get(name)
        if newest is None:
            wrong.append((f"schema_version.{name}", "is no event type of these kinds"))
        elif version > newest:
            what = f"version {version} cannot be had: {name} is recorded in version {newest}"
            wrong.append((f"schema_version.{name}", what))
    return wrong


def former_versions(definition: Definition, events: Mapping[str, int]) -> dict[str, int]:
    """Return the versions that are asked for by type and are older than the newest: what is stored says if they can be.

    Data are taken to later versions, never back.
    """
    if definition.schema_version == NEWEST:
        return {}
    return {name: version for name, version in definition.schema_version.items() if version < events.get(name, 0)}


def stored_problems(former: Mapping[str, int], stored: Mapping[str, int], events: Mapping[str, int]) -> list[Problem]:
    """Return which former versions cannot be had. stored: the latest version by type that the journals have."""
    wrong = []
    for name, version in former.items():
        latest = stored.get(name, events[name])
        if version < latest:
            how = "stored" if name in stored else "recorded"
            what = f"version {version} cannot be had: {name} is {how} in version {latest}, and data never go back"
            wrong.append((f"schema_version.{name}", what))
    return wrong


class Attributes(Mapping[str, str]):
    """The attributes of an event as filters ask for them: what is a member of the event is had without its headers.

    To make all of them takes half of what a filtered catch-up takes.
    """

    def __init__(self, form: Form, event: Mapping[str, Any]) -> None:
        """Take the form that makes all of them, and the event."""
        self._form = form
        self._event = event

    def __getitem__(self, name: str) -> str:
        member = MEMBERS.get(name)
        if member is None:
            return self._form.attributes[name]
        value: str = self._event[member]
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(self._form.attributes)

    def __len__(self) -> int:
        return len(self._form.attributes)


class Form:
    """An event in the form that some definitions share: its version, attributes and value, made once for all of them.

    attributes: as a CloudEvents client reads them, without `ce_`, the content type among them.
    """

    # Most events are asked for some of it alone, and filtered ones for nearly none.
    _headers: EventHeaders | None = None
    _value: bytes | None = None
    _attributes: dict[str, str] | None = None
    _for_expressions: dict[str, Any] | None = None
    _outgoing: dict[str, Outgoing] | None = None

    def __init__(self, source: JournalEvent, version: int, data: dict[str, Any], content_type: Header = JSON) -> None:
        """Take the event, and its data in a version."""
        self._source = source
        self._content_type = content_type
        self.data = data
        self.schema_version = version

    @property
    def headers(self) -> EventHeaders:
        """The headers."""
        if self._headers is None:
            self._headers = EventHeaders(self._source, self.schema_version, self._content_type)
        return self._headers

    @property
    def attributes(self) -> dict[str, str]:
        """The attributes by name."""
        if self._attributes is None:
            self._attributes = {
                name.removeprefix(PREFIX): value.decode() for name, value in self.headers if name.startswith(PREFIX)
            }
            self._attributes["datacontenttype"] = self._content_type[1].decode()
        return self._attributes

    @property
    def for_expressions(self) -> dict[str, Any]:
        """The data for CEL expressions, with U+FFFD for each NUL: the CEL library ends a string at its first NUL."""
        if self._for_expressions is None:
            has_nul = NUL_IN_JSON in self._encoded_data()
            self._for_expressions = _without_nul(self.data) if has_nul else self.data
        return self._for_expressions

    def outgoing(self, definition: Definition) -> Outgoing:
        """Return the record for a subscription: the same one for all whose keys are the same member."""
        if self._outgoing is None:
            self._outgoing = {}
        made = self._outgoing.get(definition.key)
        if made is None:
            key = self._key(definition.key)
            value = self._source.block if definition.payload == "block" else self._encoded_data()
            made = self._outgoing[definition.key] = Outgoing(key, value, self.headers)
        return made

    def _encoded_data(self) -> bytes:
        if self._value is None:
            self._value = encode_json(self.data)
        return self._value

    def _key(self, path: str) -> bytes:
        """Return a member of the data as a key; the aggregate's id where it is missing, null, a list or an object."""
        value = None if path == AGGREGATE_ID else self.data.get(path.removeprefix("data."))
        if value is None or isinstance(value, dict | list):
            value = self._source.event["aggregate_id"]
        text: str = value if isinstance(value, str) else encode_json(value).decode()
        return bytes(text, "utf-8")


def encode_json(value: Any) -> bytes:
    """Return JSON; what is beyond orjson (254 levels, 64 bits) may count in a journal all the same."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _without_nul(value: Any) -> Any:
    """Return JSON with U+FFFD in the place of NUL; one frame for each level, as there may be 512 of them."""
    if isinstance(value, str):
        return value.replace("\0", "\ufffd")
    if isinstance(value, list):
        items = []
        for each in value:
            items.append(_without_nul(each))  # noqa: PERF401 - a comprehension takes a frame
        return items
    if isinstance(value, dict):
        members = {}
        for name, each in value.items():
            members[_without_nul(name)] = _without_nul(each)
        return members
    return value


def form_of(source: JournalEvent, spec: EventSpec | None, definition: Definition) -> Form:
    """Return an event in the version that a definition asks for.

    spec: how this release knows the type, None if it does not. In the newest version that is asked for, what cannot be
    taken further comes as it was recorded, and its headers say so.

    Raises:
        VersionNotHadError: a version is asked for by number, and cannot be had of this event.
    """
    event = source.event
    stored = event["schema_version"]
    if definition.payload == "block":
        return Form(source, stored, event["data"], CONTENT_TYPE)
    pinned = None if definition.schema_version == NEWEST else definition.schema_version.get(event["type"])
    newest = stored if spec is None else spec.schema_version
    wanted = newest if pinned is None else pinned
    if wanted == stored:
        return Form(source, stored, event["data"])
    data: dict[str, Any] | None = None
    if spec is not None and 1 <= stored < wanted <= spec.schema_version:
        try:
            data = spec.upcast(event["data"], stored, wanted)
        except BaseException as error:  # an upcaster of one's own may raise anything
            if is_of_machine(error):
                raise
            data = None
    if data is not None:
        return Form(source, wanted, data)
    if pinned is not None:
        raise VersionNotHadError(f"{event['type']} version {pinned} cannot be had of one recorded in version {stored}")
    return Form(source, stored, event["data"])
