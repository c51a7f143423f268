"""Subscriptions as data: what is refused by which member, and what becomes of a record."""

import gc
import weakref
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from annals.agents.aggregates import REGISTRY
from annals.agents.deciding.decider import EventSpec
from annals.agents.publishing.administration import (
    Refused,
    definition_of,
    deleted,
    pruned,
    put,
    require_etag,
    with_status,
)
from annals.agents.publishing.cel import Expression, OverBudgetError
from annals.agents.publishing.matching import Matcher
from annals.agents.publishing.ports import Kept
from annals.agents.publishing.selection import Subscribed, select
from annals.agents.publishing.webhooks.rules import WebhookRules
from annals.agents.reading.found import JournalEvent
from annals.schemas.chain import read_block
from annals.schemas.data.upcast import Upcast
from annals.schemas.kinds.agent import ModelConfigured
from annals.schemas.progress import Progress, decode_progress, encode_progress, name_of, progress_key
from annals.schemas.subscription import UNSET, Definition, Former, Record, parse, parse_record
from chained import sealed

ENDS = {"person": [9, 9]}
BEGIN = {"person": [0, 0]}

BAD: dict[str, list[dict[str, Any]]] = {
    "name": [{"name": "-a"}, {"name": "a\n"}, {"name": "live"}, {"name": "other"}, {"name": 1}],
    "x": [{"x": 1}],
    "kinds": [{"kinds": "person"}],
    "kinds[0]": [{"kinds": ["persn"]}],
    "types[0]": [{"kinds": ["person"], "types": ["PolicyDrafted"]}],
    "filters[0]": [{"filters": [{}]}, {"filters": [{"exact": {}, "not": {}}]}],
    "filters[0].like": [{"filters": [{"like": "x"}]}],
    "filters[0].exact": [{"filters": [{"exact": {}}]}, {"filters": [{"exact": "x"}]}],
    "filters[0].exact.ce_type": [{"filters": [{"exact": {"ce_type": "x"}}]}],
    "filters[0].prefix.type": [{"filters": [{"prefix": {"type": ""}}]}],
    "filters[0].all": [{"filters": [{"all": []}]}],
    "filters[0].any[0].cel": [{"filters": [{"any": [{"cel": "1 +"}]}]}, {"filters": [{"any": [{"cel": "'text'"}]}]}],
    "filters[0].not.cel": [{"filters": [{"not": {"cel": "data.x ="}}]}],
    "filters[0].cel": [{"filters": [{"cel": "x" * 2_001}]}, {"filters": [{"cel": "unknown == 1"}]}],
    "start": [{"start": "later"}, {"start": None}, {"start": {"time": "2026-11-21T09:30:00Z", "positions": {}}}],
    "start.time": [
        {"start": {"time": "yesterday"}},
        {"start": {"time": 1}},
        {"start": {"time": "0001-01-01T00:00:00+23:00"}},
    ],
    "start.positions.person": [{"start": {"positions": {"person": each}}} for each in ([1, -1], [True], 7)],
    "schema_version": [{"schema_version": "oldest"}, {"schema_version": {"PersonRenamed": 1}, "payload": "block"}],
    "schema_version.PersonRenamed": [{"schema_version": {"PersonRenamed": each}} for each in (7, 0, "1")],
    "schema_version.Nothing": [{"schema_version": {"Nothing": 1}}],
    "key": [{"key": "data."}, {"key": "name"}, {"key": "data.a.b"}],
    "delivery": [{"delivery": "pigeon"}],
    "retry.max_attempts": [{"retry": {"max_attempts": 0}}],
    "retry.first_delay_ms": [{"retry": {"first_delay_ms": 2, "max_delay_ms": 1}}],
    "max_in_flight": [{"max_in_flight": 0}],
    "webhook": [{"delivery": "webhook"}, {"webhook": {"url": "https://x/", "secrets": ["a"]}}],
    "webhook.url": [
        {"delivery": "webhook", "webhook": {"url": url, "secrets": ["a"]}}
        for url in ("http://x/", "https://u@x/", "ftp://x/", "https:///x", "https://x/#f", "https://127.0.0.1/")
    ],
    "webhook.secrets[0]": [{"delivery": "webhook", "webhook": {"url": "https://x/", "secrets": ["../a"]}}],
    "status": [{"status": "deleted"}],
}  # fmt: skip


@pytest.mark.parametrize(("member", "body"), [(member, body) for member, bodies in BAD.items() for body in bodies])
def test_a_bad_one_is_refused_with_the_member_named(member, body):
    with pytest.raises(Refused) as refused:
        definition_of("billing", body, REGISTRY, WebhookRules((), lambda _: True))
    assert refused.value.status == 422
    assert [path for path, _ in refused.value.errors] == [member]


@pytest.mark.parametrize(("has_secret", "member"), [(None, "webhook.secrets"), ("a".__eq__, "webhook.secrets[1]")])
def test_a_webhook_needs_secrets_that_can_be_used(has_secret, member):
    body = {"delivery": "webhook", "webhook": {"url": "https://x/", "secrets": ["a", "b"]}}
    with pytest.raises(Refused) as refused:
        definition_of("billing", body, REGISTRY, WebhookRules((), has_secret))
    assert [path for path, _ in refused.value.errors] == [member]
    found = definition_of("billing", body, REGISTRY, WebhookRules((), lambda _: True))
    assert msgspec.to_builtins(found.webhook) == body["webhook"]


def test_the_defaults():
    found = msgspec.to_builtins(definition_of("billing", {}, REGISTRY))
    assert found == {
        "name": "billing",
        "kinds": [],
        "types": [],
        "filters": [],
        "delivery": "stream",
        "schema_version": "newest",
        "payload": "data",
        "key": "aggregate_id",
        "retention": "limited",
        "ordered": True,
        "max_in_flight": 1000,
        "owner": None,
        "retry": {"max_attempts": 5, "first_delay_ms": 1000, "max_delay_ms": 60000, "ack_timeout_ms": 30000},
        "webhook": None,
        "status": "active",
    }


def nested(depth):
    return {"cel": "true"} if depth == 0 else {"not": nested(depth - 1)}


def test_filters_are_bounded_in_depth_and_number():
    assert not isinstance(parse({"name": "a", "filters": [nested(7)]}), list)
    assert isinstance(parse({"name": "a", "filters": [nested(8)]}), list)
    assert isinstance(parse({"name": "a", "filters": [nested(900)]}), list)
    assert isinstance(parse({"name": "a", "filters": [{"cel": "true"}] * 101}), list)


ATTRIBUTES = {"type": "annals.person.PersonRenamed.v1", "subject": "p-1", "source": "/annals/person"}


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"exact": {"subject": "p-1"}}, True),
        ({"exact": {"subject": "p-1", "source": "x"}}, False),
        ({"exact": {"actor": "x"}}, False),
        ({"prefix": {"type": "annals.person."}}, True),
        ({"suffix": {"type": ".v1"}}, True),
        ({"suffix": {"type": ".v2"}}, False),
        ({"all": [{"exact": {"subject": "p-1"}}, {"suffix": {"type": ".v2"}}]}, False),
        ({"any": [{"exact": {"subject": "p-1"}}, {"suffix": {"type": ".v2"}}]}, True),
        ({"not": {"exact": {"subject": "p-1"}}}, False),
        ({"cel": "event.subject == 'p-1' && data.name == 'Ada'"}, True),
        ({"cel": "data.other == 1"}, False),
        ({"cel": "has(data.other) && data.other == 1"}, False),
    ],
)
def test_each_dialect(given, wanted):
    assert Matcher(Definition("a", filters=[given])).matches(ATTRIBUTES, {"name": "Ada"}) is wanted


FAILS, HOLDS, HOLDS_NOT = {"cel": "data.other == 1"}, {"exact": {"subject": "p-1"}}, {"exact": {"subject": "p-2"}}


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (FAILS, False),
        ({"not": FAILS}, False),  # as the expression `!(data.other == 1)`, which fails, too
        ({"cel": "!(data.other == 1)"}, False),
        ({"not": {"not": FAILS}}, False),
        ({"any": [FAILS, HOLDS]}, True),
        ({"any": [FAILS, HOLDS_NOT]}, False),
        ({"not": {"any": [FAILS, HOLDS]}}, False),
        ({"not": {"any": [FAILS, HOLDS_NOT]}}, False),
        ({"all": [FAILS, HOLDS]}, False),
        ({"not": {"all": [FAILS, HOLDS]}}, False),
        ({"not": {"all": [FAILS, HOLDS_NOT]}}, True),  # whatever the expression would say
        ({"not": {"all": [HOLDS_NOT, FAILS]}}, True),
    ],
)
def test_a_filter_around_an_expression_that_fails_holds_where_its_value_could_not_matter(given, wanted):
    assert Matcher(Definition("a", filters=[given])).matches(ATTRIBUTES, {"name": "Ada"}) is wanted


def test_an_expression_that_fails_is_counted_inside_of_not_too():
    matcher = Matcher(Definition("a", filters=[{"not": FAILS}]))
    matcher.matches(ATTRIBUTES, {"name": "Ada"})
    assert [each.failures for each in matcher.expressions] == [1]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)


@given(st.dictionaries(st.sampled_from(Definition.__struct_fields__), JSON))
def test_whatever_comes_is_a_definition_or_has_its_members_named(body):
    found = parse(body)
    assert isinstance(found, Definition) or all(isinstance(path, str) and message for path, message in found)


@given(st.dictionaries(st.sampled_from(["definition", "begin", "former", "incarnation"]), JSON))
def test_whatever_is_in_the_topic_is_a_record_or_is_told_apart(body):
    assert isinstance(parse_record(body), Record | list)


def test_a_record_is_read_as_it_was_written():
    made = put(None, Definition("a", start="now"), BEGIN, ENDS, {}, has_topic=False)
    assert parse_record(msgspec.json.decode(msgspec.json.encode(made.record))) == made.record
    assert (made.is_new, made.begins, made.record.incarnation) == (True, BEGIN, 1)


def kept(**changed):
    return Kept(Record(Definition("a", start="beginning"), 1, BEGIN, **changed), 17)


def test_a_change_says_up_to_where_the_former_definition_holds():
    made = put(kept(), Definition("a", types=["PersonRenamed"]), {}, ENDS, {}, has_topic=True)
    assert [each.until for each in made.record.former] == [ENDS]
    assert (made.is_new, made.begins, made.record.definition.start) == (False, {}, "beginning")
    again = put(
        Kept(made.record, 18), Definition("a", types=["PersonRenamed"], owner="x"), {}, ENDS, {}, has_topic=True
    )
    assert again.record.former == made.record.former
    assert pruned(again.record, {"person": [9, 8]}).former == made.record.former
    assert pruned(again.record, {"person": [9, 9]}).former == []


@pytest.mark.parametrize("changed", [{"reason": "over its budget"}, {"is_deleted": True, "positions": BEGIN}])
def test_a_change_of_one_that_could_not_go_on_or_was_deleted_holds_from_where_it_is(changed):
    """Goes red when the event that stopped it is judged by what stopped there, whatever it is changed to."""
    was = Definition("a", types=["PersonRenamed"], start="beginning", status="paused")
    former = [Former(Definition("a"), {"person": [8, 8]})]
    stopped = Kept(Record(was, 1, BEGIN, former, **changed), 17)
    made = put(stopped, Definition("a"), {}, ENDS, {"person": [9, 3]}, has_topic=True)
    assert [each.until for each in made.record.former] == [{"person": [8, 3]}, {"person": [9, 3]}]
    assert [each.definition for each in made.record.former] == [Definition("a"), was]


def test_a_change_of_one_that_somebody_paused_holds_from_the_ends():
    paused = Kept(Record(Definition("a", start="beginning", status="paused"), 1, BEGIN), 17)
    made = put(paused, Definition("a", types=["PersonRenamed"]), {}, ENDS, {"person": [0, 3]}, has_topic=True)
    assert [each.until for each in made.record.former] == [ENDS]


@pytest.mark.parametrize(
    ("kinds", "changed", "begin"),
    [
        (["person"], ["person", "agent"], {**BEGIN, "agent": [5, 6]}),
        (["person"], [], {**BEGIN, "agent": [5, 6]}),
        (["person"], ["person"], BEGIN),
        ([], ["person", "agent"], BEGIN),
    ],
)
def test_a_kind_that_is_added_begins_where_its_journal_ends(kinds, changed, begin):
    """Who wanted all kinds wanted one that there was not yet from its beginning, and goes on doing so."""
    known = Kept(Record(Definition("a", kinds=kinds, start="beginning"), 1, BEGIN), 17)
    made = put(known, Definition("a", kinds=changed), {}, {**ENDS, "agent": [5, 6]}, {}, has_topic=True)
    assert made.record.begin == begin


def test_a_start_that_is_past_is_refused():
    for known in (kept(), kept(is_deleted=True, positions=BEGIN)):
        with pytest.raises(Refused) as refused:
            put(known, Definition("a", start="now"), BEGIN, ENDS, {}, has_topic=True)
        assert (refused.value.status, refused.value.code) == (409, "start_is_past")
    assert put(kept(), Definition("a", start="beginning"), BEGIN, ENDS, {}, has_topic=True).record.former == []


def test_a_deleted_name_goes_on_or_begins_anew_when_its_topic_is_gone():
    gone = Kept(deleted(kept().record, ENDS), 18)
    on = put(gone, Definition("a"), BEGIN, ENDS, {}, has_topic=True)
    assert (on.is_new, on.begins, on.record.incarnation, on.record.is_deleted) == (True, {}, 1, False)
    anew = put(gone, Definition("a", start="now"), ENDS, ENDS, {}, has_topic=False)
    assert (anew.is_new, anew.begins, anew.record.incarnation) == (True, ENDS, 2)


@pytest.mark.parametrize(
    ("known", "if_match", "code"),
    [
        (kept(), None, "etag_missing"),
        (kept(), '"16"', "etag_differs"),
        (None, '"17"', "etag_differs"),
        (kept(is_deleted=True), '"17"', "etag_differs"),
        (kept(), '"17"', None),
        (None, None, None),
        (kept(is_deleted=True), None, None),
    ],
)
def test_nobody_replaces_what_was_not_seen(known, if_match, code):
    if code is None:
        require_etag(known, if_match)
        return
    with pytest.raises(Refused) as refused:
        require_etag(known, if_match)
    assert (refused.value.status, refused.value.code) == (412, code)


def test_pausing_says_why_and_resuming_forgets_it():
    paused = with_status(kept().record, "paused", "too much")
    assert (paused.is_active, paused.reason) == (False, "too much")
    assert with_status(paused, "active").reason is None
    assert UNSET is msgspec.UNSET


@given(st.integers(0, 2**63 - 1), st.integers(0, 9), st.booleans())
def test_progress_is_read_as_it_was_written(position, incarnation, has_cid):
    progress = Progress(position, b"\x01\x71\x1e\x20" + bytes(32) if has_cid else None, incarnation)
    assert decode_progress(encode_progress(progress)) == progress


def test_progress_is_found_by_its_key():
    assert progress_key("live", "t.events.person", 3) == b"live/t.events.person/3"
    assert name_of(b"billing/events.person/3", "events.person", 3) == "billing"
    for other in (b"billing/events.person/30", b"billing/events.persons/3", b"billing", None, b"\xff/events.person/3x"):
        assert name_of(other, "events.person", 3) is None
    with pytest.raises(ValueError, match="position"):
        decode_progress(b'{"position": -1, "cid": null}')


def test_an_expression_that_takes_long_for_all_its_few_iterations_is_over_its_budget(monkeypatch):
    """Goes red when a search in a long text, some hundred times, holds everything up for each event."""
    expression = Expression("data.name.contains('a')")
    attributes, data = {"type": "PersonRenamed"}, {"name": "Ada"}
    assert expression.matches(attributes, data)
    monkeypatch.setattr("annals.agents.publishing.cel.thread_time", iter([0.0, 2.0]).__next__)
    with pytest.raises(OverBudgetError, match=r"2\.0 s of the processor"):
        expression.matches(attributes, data)


def test_an_expression_is_compiled_once_however_many_partitions_evaluate_it():
    """Goes red when each partition compiles all expressions for itself: a hundred long ones took it a second each."""
    kept = Kept(Record(Definition("billing", filters=[{"cel": "has(data.name)"}]), 1, BEGIN), 0)
    here, there = (Subscribed(kept, "person", partition) for partition in range(2))
    first, second = (each.judge(0).matcher.expressions[0] for each in (here, there))
    assert first.program is second.program
    assert first.matches({}, {"name": "Ada"})


@pytest.mark.parametrize(
    ("data", "expression", "is_wanted"),
    [
        ({"name": "Ada\0Eve"}, "data.name == 'Ada'", False),
        ({"name": "Ada\0Eve"}, "data.name == 'Ada\ufffdEve'", True),
        ({"name": "Ada\0Eve"}, "data.name.endsWith('Eve') && size(data.name) == 7", True),
        ({"name\0x": 1}, "has(data.name)", False),
        ({"name": "Ada", "more": [{"x": "\0"}]}, "data.name == 'Ada' && data.more[0].x == '\ufffd'", True),
        ({"name": r"Ada\u0000"}, r"data.name == 'Ada\\u0000'", True),
    ],
)
def test_a_text_with_nul_is_judged_as_a_whole(data, expression, is_wanted):
    """Goes red when an expression sees no more of a text than what is before its first NUL; what comes is as it was."""
    source = sealed("p-1", 1, None, type_name="PersonRegistered", data=data)
    event = JournalEvent(0, read_block("person", source.value), source.value, source.cid, ())
    subscribed = Subscribed(Kept(Record(Definition("all", filters=[{"cel": expression}]), 1, BEGIN), 0), "person", 0)
    records = select([event], [(subscribed, 0)], REGISTRY["person"]).records
    assert [msgspec.json.decode(each.value) for each in records.get("all", ())] == [data] * is_wanted


@pytest.mark.parametrize("order", [1, -1])
def test_an_upcaster_that_changes_what_it_gets_changes_no_other_subscription(order, monkeypatch):
    """Goes red when who wants the event as it was recorded gets what an upcaster of one's own left of it."""
    agent = REGISTRY["agent"]
    former = [agent.events["ModelConfigured"].upcasters[0].older, lambda data: {"provider": data.pop("model")}]
    monkeypatch.setitem(agent.events, "ModelConfigured", EventSpec(ModelConfigured, (Upcast(*former),)))
    data = {"model": "anthropic/claude"}
    source = sealed("a-1", 1, None, kind="agent", type_name="ModelConfigured", data=data)
    event = JournalEvent(0, read_block("agent", source.value), source.value, source.cid, ())
    definitions = [Definition("newest"), Definition("first", schema_version={"ModelConfigured": 1})][::order]
    subscribed = [(Subscribed(Kept(Record(each, 1, {"agent": [0]}), 0), "agent", 0), 0) for each in definitions]
    records = select([event], subscribed, agent).records
    values = {name: msgspec.json.decode(record.value) for name, (record,) in records.items()}
    assert values == {"newest": {"provider": "anthropic/claude"}, "first": data}


def test_an_expression_that_nobody_has_any_more_is_forgotten():
    text = "data.name == 'of nobody else'"
    program = weakref.ref(Expression(text).program)
    gc.collect()
    assert program() is None
