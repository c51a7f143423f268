"""Index entries of rows that are found by very many values."""

from dataclasses import replace

from annals.agents.projections.documents import DOCUMENTS, Document
from annals.agents.reading.keeping.overlay import Overlay
from annals.agents.reading.projecting.rows import KeptRows, index_key, key_of
from annals.workers.stores.reading_memory import MemoryReadingStore

MANY = 400


class Compared(str):
    """A text that counts how often it is compared."""

    __slots__ = ()
    times = 0

    def __eq__(self, other):
        Compared.times += 1
        return str.__eq__(self, other)

    __hash__ = str.__hash__


def test_one_value_more_is_not_compared_with_all_others_of_all():
    """Goes red when each value of a row is looked for in the list of those before: 500 people, and a turn of events
    of one document that is shared with them held the event loop for half a second.
    """
    found = [Compared(f"person/p-{number:03}") for number in range(MANY + 1)]
    projection = replace(DOCUMENTS, indexes=lambda row: {"grantee": found[: len(row.access)]})
    overlay = Overlay(MemoryReadingStore())
    kept = KeptRows(projection, overlay)

    def put(count):
        access = dict.fromkeys(map(str, found[:count]), "read")
        given = {"title": "T", "document_type": "note", "owner": "person/p", "content_cid": "c"}
        kept.put(Document(kind="document", aggregate_id="d", **given, confidentiality="internal", access=access), "d")
        kept.write()

    put(MANY)
    Compared.times = 0
    put(MANY + 1)
    put(MANY - 1)
    assert Compared.times < 20 * MANY
    entries = [
        key
        for number in range(MANY + 1)
        if overlay.get(key := index_key(DOCUMENTS, "grantee", found[number]) + key_of("d")) is not None
    ]
    assert len(entries) == MANY - 1
