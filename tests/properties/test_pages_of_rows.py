"""Pages of rows over partitions that answer or do not: every row once, whatever was missing when."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from annals.agents.reading.found import FoundRow, RowPage, ShardPosition
from annals.agents.reading.gathering.rows import gathered

PARTITIONS = 3
WHERES = [("person", at) for at in range(PARTITIONS)]
# Few keys: partitions may have rows of the same one, as those of two kinds have where aggregates share an id.
ROWS = st.lists(st.sets(st.integers(0, 9)), min_size=PARTITIONS, max_size=PARTITIONS)
STEPS = st.lists(
    st.tuples(st.sets(st.integers(0, PARTITIONS - 1)), st.integers(1, 4), st.integers(1, 4), st.integers(1, 4)),
    max_size=8,
)


@given(ROWS, STEPS)
def test_every_row_of_every_partition_comes_once(
    numbers: list[set[int]], steps: list[tuple[set[int], int, int, int]]
) -> None:
    """Goes red when a cursor passes a row that was not shown: of a missing partition, or of a key that another has.

    Or when it does not pass what was looked at without finding any.
    """
    rows = [sorted(b"%d" % number for number in own) for own in numbers]
    after, seen, is_end = None, [], False
    while not is_end:
        missing, limit, cut, looked_at = steps.pop(0) if steps else (set(), 3, 2, 2)
        keys = [None] * PARTITIONS if after is None else after
        answers = [
            "missing" if at in missing else _page(at, rows[at], keys[at], min(limit, cut), looked_at)
            for at in range(PARTITIONS)
        ]
        page = gathered(WHERES, answers, limit, after)
        assert len(page.rows) <= limit
        assert [row.key for row in page.rows] == sorted(row.key for row in page.rows)
        seen += [(row.row["at"], row.key) for row in page.rows]
        after, is_end = page.after, page.is_end and not page.missing
    assert sorted(seen) == [(at, key) for at, own in enumerate(rows) for key in own]


def _page(at: int, keys: list[bytes], behind: bytes | None, limit: int, looked_at: int) -> RowPage:
    """A page of the next rows, that ends when it is full, or when so many places were looked at."""
    places = [b"%d" % number for number in range(10)]
    ahead = [place for place in places if behind is None or place > behind]
    looked = ahead[:looked_at]
    found = [key for key in looked if key in keys]
    last = None if len(found) > limit or len(ahead) <= looked_at else looked[-1]
    is_end = len(found) <= limit and last is None
    rows = [FoundRow(key, {"at": at}) for key in found[:limit]]
    return RowPage(rows, is_end, ShardPosition("person", at, 1), None, behind=last)
