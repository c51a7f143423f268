"""What becomes of a subscription that somebody puts, pauses, resumes or deletes: pure, in the order of the checks.

Whoever calls has read the topic to its end as its only writer, and asked the brokers what is needed (`Facts`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from msgspec import UNSET

from annals.agents.publishing.cel import compiled
from annals.agents.publishing.matching import expression_problems
from annals.agents.publishing.records import former_versions, stored_problems, version_problems
from annals.agents.publishing.webhooks.rules import NO_WEBHOOKS, WebhookRules
from annals.schemas.outcome import MOST_ERRORS
from annals.schemas.subscription import BEGINNING, STREAM, Definition, Former, Record, parse
from annals.schemas.subscription_filters import expressions
from annals.schemas.suggestion import meant, with_known

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from annals.agents.deciding.decider import Decider
    from annals.agents.publishing.cel import Expression
    from annals.agents.publishing.ports import Kept
    from annals.schemas.data.complaints import Problem
    from annals.schemas.subscription import Positions


class Refused(Exception):  # noqa: N818 - an answer, no failure
    """A request that is answered no. status: of HTTP; code: of the problem; errors: members and what is wrong."""

    def __init__(self, status: int, code: str, message: str, errors: list[Problem] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.errors = errors or []


class Change(NamedTuple):
    """A record to write. begins: where the partitions' own progress is set to, for a subscription that begins.

    was: the record that it changes, if another definition holds from where the journals end; then `record_at` makes it
    of these ends, once whoever publishes waits for it.
    """

    record: Record
    begins: Positions
    is_new: bool
    was: Record | None = None
    record_at: Callable[[Positions], Record] | None = None


async def compiled_filters(name: str, body: Mapping[str, Any]) -> list[Expression]:
    """Compile the expressions that a body has, one in each turn of the event loop; see `compiled`."""
    found = parse({"name": name, **body})
    return [] if isinstance(found, list) else await compiled(text for _, text in expressions(found.filters))


def definition_of(
    name: str, body: Mapping[str, Any], deciders: Mapping[str, Decider[Any]], webhooks: WebhookRules = NO_WEBHOOKS
) -> Definition:
    """Return what a body asks for.

    Raises:
        Refused: a member offends (422).
    """
    found = parse({"name": name, **body})
    if isinstance(found, list):
        raise _invalid(found)
    require_none([*_unknown(found, name, deciders), *webhooks.problems(found.webhook)])
    return found


def _unknown(definition: Definition, name: str, deciders: Mapping[str, Decider[Any]]) -> list[Problem]:
    """Return what is wrong with well-formed members, in the light of what there is."""
    if definition.name != name:
        return [("name", f"must be the name in the path, {name}")]
    others = [(at, kind) for at, kind in enumerate(definition.kinds) if kind not in deciders]
    if others:
        return [(f"kinds[{at}]", with_known("there is no kind", kind, deciders)) for at, kind in others[:MOST_ERRORS]]
    events = newest_versions(definition, deciders)
    unknown = [(at, type_name) for at, type_name in enumerate(definition.types) if type_name not in events]
    wrong = [
        (f"types[{at}]", f"these kinds have no event {type_name!r}.{meant(type_name, events)}")
        for at, type_name in unknown[:MOST_ERRORS]
    ]
    return [*wrong, *version_problems(definition, events), *expression_problems(definition)]


def newest_versions(definition: Definition, deciders: Mapping[str, Decider[Any]]) -> dict[str, int]:
    """Return the version in which events are recorded today, by type, of the kinds of a definition."""
    return {
        type_name: spec.schema_version
        for kind in kinds_of(definition, deciders)
        for type_name, spec in deciders[kind].events.items()
    }


def require_stored(definition: Definition, stored: Mapping[str, int], deciders: Mapping[str, Decider[Any]]) -> None:
    """Hold former versions that are asked for to what the journals have: the latest version by type.

    Raises:
        Refused: one cannot be had (422).
    """
    newest = newest_versions(definition, deciders)
    require_none(stored_problems(former_versions(definition, newest), stored, newest))


def require_none(problems: list[Problem]) -> None:
    """Refuse a subscription of which members offend.

    Raises:
        Refused: there are any (422).
    """
    if problems:
        raise _invalid(problems)


def _invalid(problems: list[Problem]) -> Refused:
    return Refused(422, "invalid_subscription", f"{problems[0][0]}: {problems[0][1]}", problems)


def no_such_subscription(name: str, known: Mapping[str, Kept | None]) -> Refused:
    """Return the refusal (404) of a name that no subscription has, with the one that was meant."""
    there = sorted(each for each, kept in known.items() if kept is not None and not kept.record.is_deleted)
    suggestion = meant(name, there)
    return Refused(404, "not_found", f"there is no subscription {name!r}" + (suggestion and f".{suggestion}"))


def kinds_of(definition: Definition, deciders: Mapping[str, Decider[Any]]) -> list[str]:
    """Return the kinds that a definition names, of those that this release has; it names none: all."""
    return [kind for kind in definition.kinds if kind in deciders] if definition.kinds else list(deciders)


def all_kinds_of(record: Record, deciders: Mapping[str, Decider[Any]]) -> list[str]:
    """Return the kinds of which something may not be settled: those that are named, and those that were before."""
    definitions = (record.definition, *(former.definition for former in record.former))
    named = {kind for definition in definitions for kind in kinds_of(definition, deciders)}
    return [kind for kind in deciders if kind in named]


def require_etag(kept: Kept | None, if_match: str | None) -> None:
    """Hold a request to the record that it replaces.

    Raises:
        Refused: 412.
    """
    is_there = kept is not None and not kept.record.is_deleted
    if is_there and if_match is None:
        raise Refused(412, "etag_missing", "it exists: give the ETag of what is replaced in If-Match")
    if if_match is None:
        return
    if not is_there or kept is None:
        raise Refused(412, "etag_differs", "there is none that If-Match could name")
    if if_match.strip('"') != etag_of(kept) and if_match != "*":
        raise Refused(412, "etag_differs", "it was changed meanwhile: read it again")


def etag_of(kept: Kept) -> str:
    """Return the ETag of a record: its offset."""
    return str(kept.offset)


def put(
    kept: Kept | None, definition: Definition, begin: Positions, ends: Positions, passed: Positions, *, has_topic: bool
) -> Change:
    """Return the record of a subscription that is put.

    begin: the resolved start of one that begins; ends: where the partitions of all kinds end now; passed: how far it is
    for certain. has_topic: whether its topic is there.

    Raises:
        Refused: its start, how it is delivered, or how long its topic keeps events, cannot be another (409).
    """
    if kept is None:
        return Change(Record(_started(definition), 1, begin), begin, is_new=True)
    known = kept.record
    if known.is_deleted and not has_topic:
        return Change(Record(_started(definition), known.incarnation + 1, begin), begin, is_new=True)
    was = known.definition.start
    if definition.start is not UNSET and (known.is_deleted or definition.start != was):
        raise Refused(
            409,
            "start_is_past",
            f"start: {definition.name} goes on where it stopped; leave start out"
            if known.is_deleted
            else f"start: {definition.name} began already, and its start stays as it was",
        )
    _require_same_rows(known.definition, definition)
    _require_same_retention(known.definition, definition)
    changed = msgspec.structs.replace(definition, start=was)
    former = known.former
    if _judges_otherwise(known.definition, changed):
        former = [*former, Former(known.definition, ends)]
    if _has_stopped(known):  # else the event at which it could not go on would be judged as before, for ever
        former = [Former(each.definition, _least(each.until, passed)) for each in former]
    record = msgspec.structs.replace(
        known,
        definition=changed,
        begin=_begun(known, changed, ends),
        former=former,
        is_deleted=False,
        positions=None,
        reason=None if changed.status == "active" else known.reason,
    )
    return Change(record, {}, is_new=known.is_deleted)


def _begun(record: Record, changed: Definition, ends: Positions) -> Positions:
    """Return where the kinds of a changed subscription began: one that is added, where its journal ends.

    Whoever wanted all kinds wanted also those that there were not yet, from their beginning.
    """
    if any(not each.kinds for each in (record.definition, *(former.definition for former in record.former))):
        return record.begin
    return {kind: ends[kind] for kind in changed.kinds or ends if kind in ends} | record.begin


def _has_stopped(record: Record) -> bool:
    """Whether a subscription is not asked for at present, or could not go on."""
    return record.is_deleted or (record.definition.status == "paused" and record.reason is not None)


def _least(until: Positions, passed: Positions) -> Positions:
    return {kind: list(map(min, offsets, passed.get(kind, offsets))) for kind, offsets in until.items()}


def _require_same_rows(was: Definition, wanted: Definition) -> None:
    """Hold a change to the rows that there may be: what is not settled would be forgotten, or overtaken.

    Raises:
        Refused: 409.
    """
    if was.delivery == STREAM:
        return
    if wanted.delivery == STREAM:
        what = f"delivery: {was.name} is {was.delivery}, and what is not settled would be forgotten: take another name"
    elif wanted.ordered != was.ordered:
        what = f"ordered: {was.name} began as it is, and what is not settled would be overtaken: take another name"
    else:
        return
    raise Refused(409, "delivery_is_past", what)


def _require_same_retention(was: Definition, wanted: Definition) -> None:
    """Hold a change to the topic that there is: what it has dropped does not come back, and it is made once.

    Raises:
        Refused: 409.
    """
    if wanted.retention != was.retention:
        what = f"retention: the topic of {was.name} was made with {was.retention} retention: take another name"
        raise Refused(409, "retention_is_past", what)


def with_status(record: Record, status: str, reason: str | None = None) -> Record:
    """Return a record that is paused or active."""
    definition = msgspec.structs.replace(record.definition, status=status)
    return msgspec.structs.replace(record, definition=definition, reason=reason)


def posts_to(record: Record, url: str) -> bool:
    """Whether the deliveries of a subscription are posted to a URL."""
    webhook = record.definition.webhook
    return webhook is not None and webhook.url == url


def deleted(record: Record, positions: Positions) -> Record:
    """Return the record of a subscription that is deleted; its name goes on from where it came to."""
    return msgspec.structs.replace(record, is_deleted=True, positions=positions, reason=None)


def pruned(record: Record, passed: Positions) -> Record:
    """Return a record without those former definitions that nothing is judged by any more.

    passed: below these offsets all is published, and settled where a subscriber answers.
    """
    former = [each for each in record.former if not _is_passed(each.until, passed)]
    return msgspec.structs.replace(record, former=former)


def _is_passed(until: Positions, passed: Positions) -> bool:
    return all(
        kind in passed and len(passed[kind]) == len(offsets) and all(map(int.__le__, offsets, passed[kind]))
        for kind, offsets in until.items()
    )


def _started(definition: Definition) -> Definition:
    start = BEGINNING if definition.start is UNSET else definition.start
    return msgspec.structs.replace(definition, start=start)


def _judges_otherwise(before: Definition, after: Definition) -> bool:
    judging = ("kinds", "types", "filters", "schema_version", "payload", "key")
    return any(getattr(before, name) != getattr(after, name) for name in judging)
