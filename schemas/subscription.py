"""A subscription as data: what somebody asks for, and the record that says so in the topic `subscriptions`.

`parse` takes what a stranger sent and names every member that offends. The shape of filters is checked here; whether an
expression compiles and a version can be had is for those that know (`annals.agents.publishing`).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from annals.schemas.data.validation import Validator
from annals.schemas.progress import LIVE
from annals.schemas.subscription_filters import MOST_FILTERS, filter_problems
from annals.schemas.values.constraints import at_most
from annals.schemas.values.fields import END
from annals.schemas.values.moments import moment_of
from annals.schemas.values.numbers import MOST, From1
from annals.schemas.webhook_url import url_problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from annals.schemas.data.complaints import Problem

NAME: Final = "[a-z0-9][a-z0-9-]{0,62}"
MOST_KINDS: Final = 100
MOST_TYPES: Final = 1_000
MOST_PARTITIONS: Final = 10_000
MOST_FORMER: Final = 2_500  # more than a record of the topic has room for, as workers write them
BEGINNING: Final = "beginning"
NOW: Final = "now"
NEWEST: Final = "newest"
AGGREGATE_ID: Final = "aggregate_id"
STREAM: Final = "stream"
ACKNOWLEDGED: Final = "acknowledged"
WEBHOOK: Final = "webhook"
LIMITED: Final = "limited"
UNLIMITED: Final = "unlimited"

Positions = dict[str, list[int]]
"""kind -> the offset of each partition from which something holds."""

_KEY: Final = re.compile(r"aggregate_id|data\.[^.\s]{1,200}")
_Word = Annotated[str, Meta(min_length=1, max_length=256)]
_Milliseconds = Annotated[int, Meta(ge=1, le=86_400_000)]


class Retry(Struct, frozen=True, forbid_unknown_fields=True):
    """When what is not acknowledged comes again."""

    max_attempts: Annotated[int, Meta(ge=1, le=1_000)] = 5
    first_delay_ms: _Milliseconds = 1_000
    max_delay_ms: _Milliseconds = 60_000
    ack_timeout_ms: _Milliseconds = 30_000

    def problems(self) -> Iterator[Problem]:
        """Yield what is wrong between members."""
        if self.first_delay_ms > self.max_delay_ms:
            yield "first_delay_ms", "must not be more than max_delay_ms"


class Webhook(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Where deliveries are posted to; `secrets` are names of files, never their content.

    content_mode: of the CloudEvents HTTP binding: one event in each request, or several in an array.
    """

    url: Annotated[str, Meta(min_length=1, max_length=2_048)]
    secrets: Annotated[
        list[Annotated[str, Meta(pattern=rf"^[a-z0-9-]{{1,63}}{END}", description="1 to 63 of a-z, 0-9 and '-'")]],
        Meta(min_length=1, max_length=2),
    ]
    content_mode: Literal["binary", "batched"] = "binary"


class Definition(Struct, frozen=True, forbid_unknown_fields=True):
    """What is asked for. start: absent where a subscription that exists is changed and says nothing of it.

    retention: of the subscriber's topic; unlimited: with a key of its own that is a stream by which a subscriber can
    begin anew at any time.
    """

    name: Annotated[
        str, Meta(pattern=rf"^{NAME}{END}", description="1 to 63 of a-z, 0-9 and '-', which does not begin with '-'")
    ]
    kinds: Annotated[list[_Word], Meta(max_length=MOST_KINDS)] = []
    types: Annotated[list[_Word], Meta(max_length=MOST_TYPES)] = []
    filters: Annotated[list[dict[str, Any]], Meta(max_length=MOST_FILTERS)] = []
    start: Any = UNSET
    delivery: Literal["stream", "acknowledged", "webhook"] = "stream"
    schema_version: Any = NEWEST
    payload: Literal["data", "block"] = "data"
    key: str = AGGREGATE_ID
    retention: Literal["limited", "unlimited"] = "limited"
    ordered: bool = True
    max_in_flight: Annotated[int, Meta(ge=1, le=1_000_000)] = 1_000
    owner: _Word | None = None
    retry: Retry = Retry()
    webhook: Webhook | None = None
    status: Literal["active", "paused"] = "active"

    def problems(self) -> Iterator[Problem]:
        """Yield what is wrong with members that have several forms, and between members."""
        if self.name == LIVE:
            yield "name", f"must not be {LIVE!r}: the progress of what is live has that name"
        yield from filter_problems(self.filters)
        yield from _start_problems(self.start)
        if self.schema_version != NEWEST:
            yield from _version_problems(self.schema_version, self.payload)
        if not _KEY.fullmatch(self.key):
            yield "key", "must be aggregate_id, or data. and the name of a member"
        if self.retention != LIMITED and self.delivery != STREAM:
            yield "retention", f"must be {LIMITED} with delivery {self.delivery}: what was answered is not read again"
        if (self.delivery == WEBHOOK) != (self.webhook is not None):
            yield "webhook", "is needed with delivery webhook, and has no place with another"
        elif self.webhook is not None and (wrong := url_problem(self.webhook.url)) is not None:
            yield "webhook.url", wrong


class Former(Struct, frozen=True, forbid_unknown_fields=True):
    """A definition by which events before `until` are judged."""

    definition: Definition
    until: Positions


class Record(Struct, frozen=True, forbid_unknown_fields=True):
    """The value of a record in `subscriptions`; its key is the name.

    incarnation: of the topic that it goes to: one more when that is begun anew. begin: where each partition began.
    positions: where a deleted one had come to, as far as was known. reason: why it was paused, if nobody asked for it.
    """

    definition: Definition
    incarnation: From1
    begin: Positions
    former: Annotated[list[Former], at_most(MOST_FORMER)] = []
    is_deleted: bool = False
    positions: Positions | None = None
    reason: str | None = None

    @property
    def is_active(self) -> bool:
        """Whether events are to be published for it."""
        return not self.is_deleted and self.definition.status == "active"


_DEFINITIONS: Final = Validator(Definition)
_RECORDS: Final = Validator(Record)


def parse(body: Mapping[str, Any]) -> Definition | list[Problem]:
    """Return the definition, or each member that offends (its path, what is wrong)."""
    found = _DEFINITIONS.parse(dict(body), "")
    return _named(found) if isinstance(found, list) else _whole(found)


def parse_record(body: Mapping[str, Any]) -> Record | list[Problem]:
    """Return a record of the topic, or what offends: others may be able to write there."""
    found = _RECORDS.parse(dict(body), "")
    if isinstance(found, list):
        return _named(found)
    definitions = [found.definition, *(former.definition for former in found.former)]
    for each in definitions:
        checked = _whole(each)
        if isinstance(checked, list):
            return checked
    placed = [found.begin, found.positions or {}, *(former.until for former in found.former)]
    if any(not 0 <= offset <= MOST for each in placed for offsets in each.values() for offset in offsets):
        return [("begin", "offsets are from 0")]
    return found


def _whole(definition: Definition) -> Definition | list[Problem]:
    """`msgspec.convert` knows no rules between members: they are asked here, of the parts, too."""
    wrong = [(f"retry.{path}", message) for path, message in definition.retry.problems()]
    wrong += definition.problems()
    return wrong or definition


def _named(problems: list[Problem]) -> list[Problem]:
    return [(path.removeprefix("."), message) for path, message in problems]


def _start_problems(start: Any) -> Iterator[Problem]:
    if isinstance(start, UnsetType) or start in (BEGINNING, NOW):
        return
    if not isinstance(start, dict) or set(start) not in ({"time"}, {"positions"}):
        yield "start", 'must be "beginning", "now", {"time": …} or {"positions": …}'
    elif "time" in start:
        time = start["time"]
        try:
            moment_of(time if isinstance(time, str) else "")
        except ValueError as error:
            yield "start.time", str(error)
    elif not isinstance(start["positions"], dict) or not 0 < len(start["positions"]) <= MOST_KINDS:
        yield "start.positions", f"must be an object of 1 to {MOST_KINDS} kinds: a list of offsets by kind"
    else:
        for kind, offsets in start["positions"].items():
            is_list = isinstance(offsets, list) and len(offsets) <= MOST_PARTITIONS
            if not is_list or not all(map(_is_offset, offsets)):
                yield f"start.positions.{kind}", "must be a list of offsets from 0, one for each partition"


def _is_offset(value: Any) -> bool:
    return type(value) is int and 0 <= value <= MOST


def _version_problems(versions: Any, payload: str) -> Iterator[Problem]:
    if not isinstance(versions, dict) or not versions or len(versions) > MOST_TYPES:
        yield "schema_version", 'must be "newest" or an object: a version by event type'
        return
    for name, version in versions.items():
        if type(version) is not int or version < 1:
            yield f"schema_version.{name}", "must be a version, from 1"
    if payload == "block":
        yield "schema_version", "has no place with payload block: a block is as it was recorded"
