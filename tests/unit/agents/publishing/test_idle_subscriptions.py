"""What subscriptions cost that want nothing of what comes."""

from annals.agents.aggregates import REGISTRY
from annals.agents.publishing.matching import Matcher
from annals.agents.publishing.ports import Kept
from annals.agents.publishing.selection import Subscribed, select
from annals.agents.reading.found import JournalEvent
from annals.schemas.chain import read_block
from annals.schemas.subscription import Definition, Former, Record
from chained import chain

EVENTS = 200


def journal():
    return [
        JournalEvent(offset, read_block("person", event.value), event.value, event.cid, ())
        for offset, event in enumerate(chain("p-1", EVENTS))
    ]


def subscribed(name, former=(), **definition):
    record = Record(Definition(name, **definition), 1, {"person": [0]}, former=list(former))
    return Subscribed(Kept(record, 1), "person", 0)


def test_a_type_is_asked_about_once_for_all_events_of_a_run(monkeypatch):
    asked = []
    wants_type = Matcher.wants_type

    def counted(self, type_name):
        asked.append(type_name)
        return wants_type(self, type_name)

    monkeypatch.setattr(Matcher, "wants_type", counted)
    events = journal()
    idle = [(subscribed(f"idle-{number}", types=("PersonArchived",)), 0) for number in range(100)]
    selected = select(events, [*idle, (subscribed("all"), 0)], REGISTRY["person"])
    types = {event.event["type"] for event in events}
    assert [len(records) for records in selected.records.values()] == [EVENTS]
    assert len(asked) == len(types) * 101 + EVENTS, "by type, and by event of the one that wants it"


def test_what_only_a_former_definition_wants_is_found_up_to_where_it_ends():
    events = journal()
    former = Former(Definition("one"), {"person": [3]})
    selected = select(events, [(subscribed("one", [former], types=("PersonArchived",)), 0)], REGISTRY["person"])
    assert len(selected.records["one"]) == 3
