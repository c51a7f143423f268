"""What becomes of an event in a subscriber topic: a CloudEvent with its data in the version that is asked for."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson

from annals.agents.defects import NO_DEFECTS
from annals.schemas.cid import cid_text
from annals.schemas.subscription import AGGREGATE_ID, NEWEST
from annals.topics.headers import CONTENT_TYPE, event_headers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from annals.agents.deciding.decider import EventSpec
    from annals.agents.reading.found import JournalEvent
    from annals.schemas.data.complaints import Problem
    from annals.schemas.subscription import Definition
    from annals.topics.headers import Header

JSON: Final = ("content-type", b"application/json")
PREFIX: Final = "ce_"


class VersionNotHadError(Exception):
    """An event cannot be given in the schema version that a subscription asks for; the message names both."""


class Outgoing(NamedTuple):
    """A record for a subscriber topic; key: by which it is ordered there."""

    key: bytes
    value: bytes
    headers: list[Header]


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


class Form:
    """An event in the form that some definitions share: its version, attributes and value, made once for all of them.

    attributes: as a CloudEvents client reads them, without `ce_`, the content type among them.
    """

    def __init__(self, source: JournalEvent, version: int, data: dict[str, Any], content_type: Header = JSON) -> None:
        """Take the event, and its data in a version."""
        event = source.event
        self._content_type = content_type
        self.key: bytes = event["aggregate_id"].encode()
        self.data = data
        self.schema_version = version
        self.headers = event_headers(
            kind=event["kind"],
            key=self.key,
            version=event["version"],
            type_name=event["type"],
            schema_version=version,
            recorded_at=event["recorded_at"],
            cid=cid_text(source.cid),
            command_id=event["command_id"],
            correlation_id=event["correlation_id"],
            causation_id=event["causation_id"],
            actor=event["actor"],
        )
        if event["previous"] is not None:
            self.headers.append(("ce_previous", cid_text(event["previous"]).encode()))
        self.headers += source.carried
        self._block = source.block
        self._value: bytes | None = None
        self._attributes: dict[str, str] | None = None

    @property
    def attributes(self) -> dict[str, str]:
        """The attributes by name."""
        if self._attributes is None:
            self._attributes = {
                name.removeprefix(PREFIX): value.decode() for name, value in self.headers if name.startswith(PREFIX)
            }
            self._attributes["datacontenttype"] = self._content_type[1].decode()
        return self._attributes

    def outgoing(self, definition: Definition) -> Outgoing:
        """Return the record for a subscription."""
        key = self.key if definition.key == AGGREGATE_ID else self._member(definition.key)
        if definition.payload == "block":
            return Outgoing(key, self._block, self.headers)
        if self._value is None:
            self._value = encode_json(self.data)
        return Outgoing(key, self._value, [JSON if header is CONTENT_TYPE else header for header in self.headers])

    def _member(self, path: str) -> bytes:
        """Return a member of the data as a key; the aggregate's id where it is missing, null, a list or an object."""
        value = self.data.get(path.removeprefix("data."))
        if value is None or isinstance(value, dict | list):
            return self.key
        text: str = value if isinstance(value, str) else encode_json(value).decode()
        return bytes(text, "utf-8")


def encode_json(value: Any) -> bytes:
    """Return JSON; what is beyond orjson (254 levels, 64 bits) may count in a journal all the same."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


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
            data = event["data"]
            for upcast in spec.upcasters[stored - 1 : wanted - 1]:
                data = upcast(data)
        except NO_DEFECTS:
            raise
        except Exception:  # noqa: BLE001 - an upcaster of one's own may raise anything
            data = None
    if data is not None:
        return Form(source, wanted, data)
    if pinned is not None:
        raise VersionNotHadError(f"{event['type']} version {pinned} cannot be had of one recorded in version {stored}")
    return Form(source, stored, event["data"])
