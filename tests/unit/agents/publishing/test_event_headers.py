"""The headers of an event for subscribers: one by one, and as they stand in a record, they are the same."""

import pytest

from annals.agents.aggregates import REGISTRY
from annals.agents.publishing.ports import Kept
from annals.agents.publishing.records import Attributes, EventHeaders, encoded, form_of
from annals.agents.publishing.selection import Subscribed, select
from annals.agents.reading.found import JournalEvent
from annals.schemas.cid import cid_of, cid_text
from annals.schemas.subscription import Definition, Record
from annals.topics.wire import encode_headers

CID, PREVIOUS = cid_of(b"this"), cid_of(b"the one before")
AT = "2026-11-21T03:50:27.123456Z"
EVENT = {
    "kind": "person",
    "aggregate_id": "ada",
    "version": 2,
    "previous": PREVIOUS,
    "type": "PersonRenamed",
    "schema_version": 1,
    "recorded_at": AT,
    "command_id": "c-1",
    "correlation_id": "c-0",
    "causation_id": None,
    "actor": None,
    "data": {"name": "Ada"},
}


def headers_of(payload, carried=(), **members):
    source = JournalEvent(7, {**EVENT, **members}, b"\xa0", CID, carried)
    definition = Definition(name="s", payload=payload)
    return form_of(source, None, definition).outgoing(definition).headers


def test_the_headers_say_what_the_value_is_and_end_with_what_is_carried():
    carried = [("traceparent", b"00-1"), ("ce_annalsvia", b"other/1")]
    assert list(headers_of("data", carried, causation_id="c-9", actor="mel")) == [
        ("content-type", b"application/json"),
        ("ce_specversion", b"1.0"),
        ("ce_id", cid_text(CID).encode()),
        ("ce_type", b"annals.person.PersonRenamed.v1"),
        ("ce_source", b"/annals/person"),
        ("ce_dataschema", b"urn:annals:schema:person:PersonRenamed:1"),
        ("ce_subject", b"ada"),
        ("ce_time", AT.encode()),
        ("ce_sequence", b"00000000000000000002"),
        ("ce_partitionkey", b"ada"),
        ("ce_correlationid", b"c-0"),
        ("ce_causationid", b"c-1"),
        ("ce_commandcausationid", b"c-9"),
        ("ce_actor", b"mel"),
        ("ce_previous", cid_text(PREVIOUS).encode()),
        *carried,
    ]
    assert headers_of("block")[0] == ("content-type", b"application/vnd.ipld.dag-cbor")


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"previous": None, "version": 1},
        {"causation_id": "c-9", "actor": "m\u00e9l"},
        {"type": "x" * 300},
        {"aggregate_id": "a" * 10_000},
        {"command_id": "c" * 10_000},
        {"correlation_id": "c" * 10_000},
        {"recorded_at": "2026-11-21T03:50:27Z"},
        {"type": "100%b"},
    ],
    ids=lambda members: ",".join(members) or "ordinary",
)
@pytest.mark.parametrize("payload", ["data", "block"])
def test_as_they_stand_in_a_record_they_are_the_same(payload, members):
    carried = [("tracestate", b"a=1"), ("of somebody", b"")]
    headers = headers_of(payload, carried, **members)
    assert encoded(headers) == encode_headers(list(headers))
    assert len(headers) == len(list(headers))


def test_with_one_more_they_are_encoded_one_by_one():
    more = [*headers_of("data"), ("ce_redelivery", b"2")]
    assert encoded(more) == encode_headers(more)


@pytest.mark.parametrize("payload", ["data", "block"])
def test_attributes_that_are_asked_for_one_by_one_are_those_of_the_headers(payload):
    event = {**EVENT, "actor": "m\u00e9l"}
    form = form_of(
        JournalEvent(7, event, b"\xa0", CID, [("ce_annalsvia", b"other/1")]), None, Definition("s", payload=payload)
    )
    attributes = Attributes(form, event)
    assert {name: attributes[name] for name in form.attributes} == dict(attributes) == form.attributes
    assert (attributes["annalsvia"], attributes["actor"], attributes["subject"]) == ("other/1", "m\u00e9l", "ada")
    assert attributes.get("commandcausationid") is None


@pytest.mark.parametrize(
    ("filters", "is_wanted"),
    [
        ([{"suffix": {"subject": "da"}}], True),
        ([{"suffix": {"subject": "00"}}], False),
        ([{"exact": {"correlationid": "c-0", "subject": "ada"}}], True),
        ([{"not": {"prefix": {"time": "2026"}}}], False),
    ],
)
def test_filters_by_what_an_event_has_itself_need_no_headers(monkeypatch, filters, is_wanted):
    """Goes red when all headers are made of each event that is not wanted: that takes half of a filtered catch-up."""
    made = []

    def make(headers):
        made.append(headers)
        return []

    monkeypatch.setattr(EventHeaders, "_all", make)
    subscribed = Subscribed(Kept(Record(Definition("s", filters=filters), 1, {}), 0), "person", 0)
    found = select([JournalEvent(7, EVENT, b"\xa0", CID, ())], [(subscribed, 0)], REGISTRY["person"])
    assert bool(found.records) is is_wanted
    assert made == []
