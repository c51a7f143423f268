"""A page of what is parked reads what it shows: the rows of all that is parked are read once, then what is new."""

import pytest
from aiokafka.structs import TopicPartition

from annals.agents.publishing.delivering.choosing import FIRST, Choice
from annals.schemas.delivery import encode_row, row_key
from annals.workers.publishing import parked_list
from annals.workers.publishing.delivery_rows import unsettled_row
from annals.workers.publishing.parked_list import ParkedList
from shelves import DELIVERIES, KEPT, PAGE, Shelf

NUMBER = 300


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
        listed = ParkedList(client, rows, TopicPartition(DELIVERIES, 0), TopicPartition(KEPT, 0), Choice(), 1)
        found = []
        async for each in listed.from_place(FIRST):
            found.append((each.parked.aggregate_id, each.parked.attempts))
            rows[row_key(again).encode()] = kept(again)
    assert found == [("p-0000", 1), ("p-0001", 1)]


async def test_what_a_subscriber_gives_as_a_reason_counts_as_what_is_kept(monkeypatch):
    """Goes red when a row is as large as another whatever its reason: 64 MiB would be several hundred."""
    shelf = Shelf(monkeypatch, most_bytes=20_000)
    both = ["subscriptions", DELIVERIES]
    for attempt, reason, topics in ((1, "short", both), (2, "long" * 250, []), (3, "short", both)):
        rows = [shelf.row(number, attempt=attempt, reason=f"{reason}{number}") for number in range(20)]
        await shelf.write(*rows, shown=rows)
        assert numbers(await shelf.pages()) == list(range(20))
        assert shelf.views.topics == topics, reason


def kept(row):
    return unsettled_row(row_key(row).encode(), encode_row(row), 0)


@pytest.mark.parametrize(("apart_s", "is_near"), [(0.002, True), (0.9, True), (-0.9, True), (-90, False), (90, False)])
async def test_a_single_one_is_found_near_its_time_and_elsewhere_too(monkeypatch, apart_s, is_near):
    """Goes red when one of many is looked for in the whole topic: among 100,000 that took 1.3 s. apart_s: of clocks."""
    monkeypatch.setattr(parked_list, "NEAR", 10)
    monkeypatch.setattr(parked_list, "FIRST_BYTES", 1)
    shelf = Shelf(monkeypatch)
    for number in range(100, 100 + 60):
        shelf.now = number + apart_s
        await shelf.park(number)
    for number in (100, 130, 159):
        shelf.read.clear()
        assert await shelf.pages(Choice(cids=frozenset({shelf.row(number).cid}))) == [[(True, number)]]
        assert (shelf.read[KEPT] <= 1 + 10) is (is_near or (apart_s > 0 and number == 100))
    some = Choice(cids=frozenset(shelf.row(number).cid for number in (150, 110, 111, 107)))
    assert numbers(await shelf.pages(some, limit=3)) == [107, 110, 111, 150]


async def test_one_whose_record_near_its_time_is_of_another_attempt_is_found(monkeypatch):
    shelf = Shelf(monkeypatch)
    for number, attempt in ((100, 1), (101, 1), (100, 2), (102, 1)):
        shelf.now = 100.0
        row = shelf.row(number, attempt=attempt, at=100_000)
        await shelf.write(row, shown=[row])
    page, _ = await shelf.service.page("all", Choice(cids=frozenset({shelf.row(100).cid})), FIRST, 1)
    assert [(each.attempts, each.offset is not None) for each in page] == [(2, True)]
