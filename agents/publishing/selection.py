"""Which records a run of events makes for which subscriptions: pure, in the order of the journal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from annals.agents.defects import is_no_defect, told
from annals.agents.publishing.cel import OverBudgetError
from annals.agents.publishing.matching import Matcher
from annals.agents.publishing.records import Attributes, VersionNotHadError, form_of
from annals.schemas.subscription import NEWEST, STREAM
from annals.schemas.subscription_filters import expressions

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from annals.agents.deciding.decider import Decider
    from annals.agents.publishing.ports import Kept
    from annals.agents.publishing.records import Form, Outgoing
    from annals.agents.reading.found import JournalEvent
    from annals.schemas.subscription import Definition, Record


class JudgingFailedError(Exception):
    """Judging an event, or making its record, failed by a defect: the message has the exception's type, and where."""


CANNOT_GO_ON: Final = (OverBudgetError, VersionNotHadError, JudgingFailedError)
"""What stops one subscription at an event, and no other; see `reason_of`."""

TRANSACTION_BYTES: Final = 16 << 20  # of records, of all subscriptions together
RECORD_BYTES: Final = 700  # what a record takes beside its value


class Judge(NamedTuple):
    """A definition with its filters."""

    definition: Definition
    matcher: Matcher


class Subscribed:
    """A subscription in one journal partition: its definitions, each with the offsets that it holds for.

    is_wanting: whether any of them wants events of this kind. expressions: how many there are. is_delivered: whether
    its subscriber answers, so that it is never published together with others.
    """

    def __init__(self, kept: Kept, kind: str, partition: int) -> None:
        """Compile it.

        Raises:
            ExpressionError: an expression cannot be used here.
        """
        self.kept = kept
        self.name = kept.record.definition.name
        self._former = [
            (former.until[kind][partition], _judge(former.definition, kind))
            for former in kept.record.former
            if partition < len(former.until.get(kind, ()))
        ]
        self._current = _judge(kept.record.definition, kind)
        self._judges = [judge for judge in (*(each for _, each in self._former), self._current) if judge is not None]
        self._expressions = [each for judge in self._judges for each in judge.matcher.expressions]
        self.expressions = len(self._expressions)
        self.is_wanting = bool(self._judges)
        self.is_delivered = kept.record.definition.delivery != STREAM

    def judge(self, offset: int) -> Judge | None:
        """Return what decides about an event; None if nothing of its kind is wanted there."""
        for until, judge in self._former:
            if offset < until:
                return judge
        return self._current

    @property
    def filters_s(self) -> float:
        """How long its filters take on an event, in seconds, as far as the last events tell."""
        return sum(judge.matcher.took_s for judge in self._judges)

    def failures(self) -> int:
        """Return on how many events an expression failed since this was last asked."""
        found = 0
        for expression in self._expressions:
            found, expression.failures = found + expression.failures, 0
        return found

    def may_want(self, type_name: str) -> bool:
        """Whether any of its definitions may want events of a type."""
        return any(judge.matcher.wants_type(type_name) for judge in self._judges)


def _judge(definition: Definition, kind: str) -> Judge | None:
    return Judge(definition, Matcher(definition)) if _is_of(definition, kind) else None


def _is_of(definition: Definition, kind: str) -> bool:
    return not definition.kinds or kind in definition.kinds


def wants_kind(record: Record, kind: str, partition: int) -> bool:
    """Whether any definition of a subscription wants events of a kind in a journal partition."""
    former = (each.definition for each in record.former if partition < len(each.until.get(kind, ())))
    return any(_is_of(definition, kind) for definition in (*former, record.definition))


def texts_of(record: Record, kind: str) -> Iterator[str]:
    """Yield the expressions that judge events of a kind."""
    for definition in (*(former.definition for former in record.former), record.definition):
        if _is_of(definition, kind):
            yield from (text for _, text in expressions(definition.filters))


class Halt(NamedTuple):
    """Where a subscription cannot go on: the offset of the event, and why."""

    offset: int
    reason: str


class Selected(NamedTuple):
    """What a run makes: records by subscription, and the subscriptions that stop at an event of it.

    cut: behind the last event that was looked at, where the rest would make it too large. last: the CID of that event.
    """

    records: dict[str, list[Outgoing]]
    halts: dict[str, Halt]
    cut: int | None
    last: bytes | None


def select(
    events: Iterable[JournalEvent],
    subscribed: Sequence[tuple[Subscribed, int]],
    decider: Decider[Any],
    most_bytes: int | None = None,
) -> Selected:
    """Return the records of events for subscriptions, each from an offset on; most_bytes: beyond, the run is cut."""
    records: dict[str, list[Outgoing]] = {}
    halts: dict[str, Halt] = {}
    size, last = 0, None
    of_type: dict[str, list[tuple[Subscribed, int]]] = {}  # asked once: most want few types, and a run has few
    for source in events:
        last = source.cid
        forms: dict[Any, Form] = {}
        type_name = source.event["type"]
        if (asking := of_type.get(type_name)) is None:
            asking = of_type[type_name] = [each for each in subscribed if each[0].may_want(type_name)]
        for each, first in asking:
            if source.offset < first or each.name in halts:
                continue
            try:
                outgoing = _outgoing(source, each, decider, forms)
            except CANNOT_GO_ON as error:
                halts[each.name] = Halt(source.offset, reason_of(source, error))
                continue
            if outgoing is not None:
                records.setdefault(each.name, []).append(outgoing)
                size += RECORD_BYTES + len(outgoing.value)
        if most_bytes is not None and size > most_bytes:
            return Selected(records, halts, source.offset + 1, last)
    return Selected(records, halts, None, last)


def _outgoing(source: JournalEvent, each: Subscribed, decider: Decider[Any], forms: dict[Any, Form]) -> Outgoing | None:
    try:
        return _judged(source, each, decider, forms)
    except CANNOT_GO_ON:
        raise
    except Exception as error:
        if is_no_defect(error):
            raise
        raise _failed(source, error) from error


def _failed(source: JournalEvent, error: Exception) -> JudgingFailedError:
    return JudgingFailedError(f"{told(source.offset, error)}, a defect")


def _judged(source: JournalEvent, each: Subscribed, decider: Decider[Any], forms: dict[Any, Form]) -> Outgoing | None:
    judge = each.judge(source.offset)
    type_name = source.event["type"]
    if judge is None or not judge.matcher.wants_type(type_name):
        return None
    definition = judge.definition
    versions = definition.schema_version
    sort = (definition.payload, None if versions == NEWEST else versions.get(type_name))
    form = forms.get(sort)
    if form is None:
        form = forms[sort] = form_of(source, decider.events.get(type_name), definition)
    if judge.matcher.has_filters:
        is_computed = bool(judge.matcher.expressions)  # the CEL library wants a dictionary of all attributes
        attributes = form.attributes if is_computed else Attributes(form, source.event)
        if not judge.matcher.matches(attributes, form.for_expressions if is_computed else form.data):
            return None
    return form.outgoing(definition)


def wanted(source: JournalEvent, each: Subscribed, decider: Decider[Any]) -> Outgoing | None:
    """Return the record of one event; None if it is not wanted.

    Raises:
        one of `CANNOT_GO_ON`: the subscription cannot go on; see `reason_of`.
    """
    return _outgoing(source, each, decider, {})


def again(source: JournalEvent, each: Subscribed, decider: Decider[Any]) -> Outgoing:
    """Return the record of an event that was wanted.

    Raises:
        one of `CANNOT_GO_ON`: the subscription cannot go on.
    """
    judge = each.judge(source.offset)
    definition = each.kept.record.definition if judge is None else judge.definition
    try:
        return form_of(source, decider.events.get(source.event["type"]), definition).outgoing(definition)
    except CANNOT_GO_ON:
        raise
    except Exception as error:
        if is_no_defect(error):
            raise
        raise _failed(source, error) from error


def reason_of(source: JournalEvent, error: Exception) -> str:
    """Return why a subscription cannot go on at an event."""
    event = source.event
    return (
        f"{event['kind']} {event['aggregate_id']!r} version {event['version']}, offset {source.offset}: {error}. "
        f"Change the subscription, then resume it"
    )
