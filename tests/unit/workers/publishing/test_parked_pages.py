"""A page of what is parked reads what it shows: the rows of all that is parked are read once, then what is new."""

from collections import Counter

import msgspec
import pytest

from annals.agents.aggregates import REGISTRY
from annals.agents.publishing.delivering.choosing import FIRST, Choice
from annals.agents.publishing.delivering.ports import DeliveryWrites
from annals.agents.publishing.delivering.records import parked
from annals.agents.publishing.records import Outgoing
from annals.schemas.cid import cid_of, cid_text
from annals.schemas.delivery import PARKED, Row, encode_row, row_key
from annals.schemas.progress import Progress
from annals.schemas.subscription import Definition, Record
from annals.workers.kafka.read import newest_records, settled_ends
from annals.workers.memory.cluster import MemoryCluster, Topic
from annals.workers.publishing import compacted_views
from annals.workers.publishing.compacted_views import CompactedViews
from annals.workers.publishing.delivery_log import KafkaDeliveryLogs
from annals.workers.publishing.delivery_rows import unsettled_row
from annals.workers.publishing.parked import ParkedService
from annals.workers.publishing.parked_list import ParkedList
from annals.workers.settings import Settings
from publishing import NAMES, World

NUMBER, PAGE = 300, 20
DELIVERIES, KEPT = "deliveries.all", "parked.all"


class Shelf(World):
    """A subscription of which events are parked; read: how many records of each topic were read."""

    def __init__(self, monkeypatch, *, ordered=True, most_bytes=compacted_views.MOST_BYTES):
        super().__init__()
        topics = [f"{role}.all" for role in ("deliveries", "parked", "acks", "subscribers")]
        one = {name: Topic(1) for name in (*topics, "progress", "subscriptions", "audit", "dead-letters")}
        self.model = MemoryCluster(one | {f"events.{kind}": Topic(1) for kind in REGISTRY}, transaction_version=2)
        self.ordered = ordered
        definition = Definition("all", kinds=["person"], delivery="acknowledged", ordered=ordered, start="beginning")
        self.definition = definition
        self.put(1)
        self.views = CompactedViews(most_bytes=most_bytes)
        self.service = ParkedService(Settings(), self.options(), REGISTRY, self.views)
        self.read = Counter()
        for module in (newest_records, settled_ends):
            monkeypatch.setattr(module, "read_range", self.counting(module.read_range))

    def put(self, incarnation):
        record = Record(self.definition, incarnation, {"person": [0]})
        self.model.append(("subscriptions", 0), b"all", msgspec.json.encode(record))

    def drop_before(self, number):
        """Drop what was parked before an event, as retention does."""
        log, cid = self.model.logs[KEPT, 0], self.row(number).cid.encode()
        log.delete_before(next(each.base for each in log.entries if cid in each.data))

    def counting(self, read_range):
        async def read(client, where, *args):
            async for records in read_range(client, where, *args):
                self.read[where[0]] += len(records)
                yield records

        return read

    def row(self, number, state=PARKED, attempt=1, **changed):
        name = f"p-{number:04}"
        cid, kind = cid_text(cid_of(name.encode())), "PersonRenamed" if number % 3 else "PersonRegistered"
        more = {"attempt": attempt, "at": 1_000 * number, "reason": f"r{number % 7}", **changed}
        return Row("person", name, 1, cid, kind, number, ordered=self.ordered, state=state, **more)

    async def write(self, *rows, shown=(), settled=()):
        """Write rows, and what is parked with them, as a delivery shard does."""
        records = []
        for row in shown:
            attributes = {
                "id": row.cid,
                "source": "/annals/person",
                "subject": row.aggregate_id,
                "sequence": f"{1:020}",
            }
            headers = [(f"ce_{name}", value.encode()) for name, value in attributes.items()]
            records.append(parked(row, Outgoing(row.aggregate_id.encode(), b"{}", headers)))
        log = KafkaDeliveryLogs(self.options(), NAMES, "annals", "person", 0, 1, "none").delivering("all")
        await log.fence()
        changes = {row_key(row): row for row in rows} | {row_key(row): None for row in settled}
        await log.deliver(DeliveryWrites(changes, Progress(1, None, 1), parked=records))
        await log.close()

    async def park(self, *numbers):
        rows = [self.row(number) for number in numbers]
        await self.write(*rows, shown=rows)

    async def pages(self, choice=None, limit=PAGE):
        """All pages, each as the numbers of what it shows and whether its records are there."""
        begin, found = FIRST, []
        while begin is not None:
            page, begin = await self.service.page("all", choice or Choice(), begin, limit)
            found.append([(each.offset is not None, int(each.aggregate_id[2:])) for each in page])
        return found


def numbers(pages):
    return [number for page in pages for _, number in page]


async def test_rows_are_read_once_for_all_pages(monkeypatch):
    """Goes red when each page reads the rows of its partition from their beginning."""
    shelf = Shelf(monkeypatch)
    await shelf.park(*range(NUMBER))
    pages = await shelf.pages()
    assert numbers(pages) == list(range(NUMBER))
    assert len(pages) == NUMBER // PAGE
    assert shelf.read[DELIVERIES] <= NUMBER + len(pages), "the last record again for each page"
    shelf.read.clear()
    for number in range(10):
        await shelf.write(settled=[shelf.row(number)])
        page, _ = await shelf.service.page("all", Choice(), FIRST, PAGE)
        assert [int(each.aggregate_id[2:]) for each in page] == list(range(number + 1, number + 1 + PAGE))
    assert shelf.read[DELIVERIES] == 20, "the record before it, and what is new"


@pytest.mark.parametrize("ordered", [True, False])
async def test_what_is_meant_is_listed_in_the_order_of_parking(monkeypatch, ordered):
    shelf = Shelf(monkeypatch, ordered=ordered)
    order = sorted(range(60), key=lambda number: number * 37 % 61)
    for begin in range(0, 60, 20):
        await shelf.park(*order[begin : begin + 20])
    assert numbers(await shelf.pages(limit=7)) == order
    chosen = {
        "type": ("PersonRenamed", lambda number: number % 3 != 0),
        "reason": ("r2", lambda number: number % 7 == 2),
        "since": ("1970-01-01T00:00:30.000000Z", lambda number: number >= 30),
        "until": ("1970-01-01T00:00:30.000000Z", lambda number: number < 30),
        "aggregate_id": ("p-0007", lambda number: number == 7),
        "cids": (frozenset({shelf.row(3).cid, shelf.row(50).cid}), lambda number: number in {3, 50}),
        "kind": ("agent", lambda _: False),
    }
    for member, (value, is_meant) in chosen.items():
        pages = await shelf.pages(Choice(**{member: value}), limit=7)
        assert numbers(pages) == [number for number in order if is_meant(number)], member
    shelf.read.clear()
    assert await shelf.pages(Choice(type="PersonArchived")) == [[]]
    assert shelf.read[KEPT] == 0, "of what is not meant nothing is looked for"


async def test_what_was_decided_or_is_parked_by_a_later_attempt_is_no_more_at_its_former_place(monkeypatch):
    shelf = Shelf(monkeypatch)
    await shelf.park(*range(5))
    assert numbers(await shelf.pages()) == [0, 1, 2, 3, 4]
    again = shelf.row(1, attempt=2)
    await shelf.write(shelf.row(0, state="waiting"), again, shown=[again], settled=[shelf.row(2)])
    assert numbers(await shelf.pages()) == [3, 4, 1]
    assert [page[0][1] for page in await shelf.pages(limit=1)] == [3, 4, 1]


async def test_what_the_topic_has_no_more_comes_first_and_is_told_from_its_row(monkeypatch):
    shelf = Shelf(monkeypatch)
    for number in range(6):
        await shelf.park(number)
    shelf.drop_before(3)
    expected = [(False, 0), (False, 1), (False, 2), (True, 3), (True, 4), (True, 5)]
    assert [each for page in await shelf.pages() for each in page] == expected
    assert [each for page in await shelf.pages(limit=1) for each in page] == expected
    assert [each for page in await shelf.pages(Choice(type="PersonRegistered")) for each in page] == [
        (False, 0),
        (True, 3),
    ]


@pytest.mark.parametrize("limit", [1, PAGE])
async def test_what_a_former_incarnation_parked_too_is_there_once_and_hides_no_other(monkeypatch, limit):
    """Goes red when a row is met at each record of its attempt: the last rows are then on no page."""
    shelf = Shelf(monkeypatch)
    await shelf.park(0, 1)
    await shelf.write(settled=[shelf.row(0), shelf.row(1)])
    shelf.put(2)
    for rows in ([shelf.row(0, incarnation=2, at=10_000)], [shelf.row(1, incarnation=2, at=11_000)]):
        await shelf.write(*rows, shown=rows)
    assert numbers(await shelf.pages(limit=limit)) == [0, 1]


@pytest.mark.parametrize("limit", [1, 2, PAGE])
async def test_what_was_told_from_its_row_is_not_told_from_its_record_again(monkeypatch, limit):
    """Two writers park in one partition, by clocks of their own: records are not in the order of their times."""
    shelf = Shelf(monkeypatch)
    for number in (0, 1, 3, 2, 4):
        await shelf.park(number)
    shelf.drop_before(3)
    expected = [(False, 0), (False, 1), (False, 2), (True, 3), (True, 4)]
    assert [each for page in await shelf.pages(limit=limit) for each in page] == expected


async def test_a_row_that_is_parked_again_while_a_page_is_read_is_in_it_once(monkeypatch):
    shelf = Shelf(monkeypatch)
    first, again, other = shelf.row(0), shelf.row(0, attempt=2, at=500), shelf.row(1)
    for row in (first, again, other):
        await shelf.write(row, shown=[row])
    rows = {row_key(row).encode(): kept(row) for row in (first, other)}
    async with shelf.service._subscription("all") as (client, _):
        listed = ParkedList(client, rows, (DELIVERIES, 0), (KEPT, 0), Choice(), 1)
        found = []
        async for each in listed.from_place(FIRST):
            found.append((each.parked.aggregate_id, each.parked.attempts))
            rows[row_key(again).encode()] = kept(again)
    assert found == [("p-0000", 1), ("p-0001", 1)]


async def test_what_a_subscriber_gives_as_a_reason_counts_as_what_is_kept(monkeypatch):
    """Goes red when a row is as large as another whatever its reason: 64 MiB would be several hundred."""
    shelf = Shelf(monkeypatch, most_bytes=20_000)
    for attempt, reason, topics in ((1, "short", [DELIVERIES]), (2, "long" * 250, []), (3, "short", [DELIVERIES])):
        rows = [shelf.row(number, attempt=attempt, reason=f"{reason}{number}") for number in range(20)]
        await shelf.write(*rows, shown=rows)
        assert numbers(await shelf.pages()) == list(range(20))
        assert shelf.views.topics == topics, reason


def kept(row):
    return unsettled_row(row_key(row).encode(), encode_row(row))
