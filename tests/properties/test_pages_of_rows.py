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
STEPS = st.lists(st.tuples(st.sets(st.integers(0, PARTITIONS - 1)), st.integers(1, 4), st.integers(1, 4)), max_size=8)


@given(ROWS, STEPS)
def test_every_row_of_every_partition_comes_once(
    numbers: list[set[int]], steps: list[tuple[set[int], int, int]]
) -> None:
    """Goes red when a cursor passes a row that was not shown: of a missing partition, or of a key that another has."""
    rows = [sorted(b"%d" % number for number in own) for own in numbers]
    after, seen, is_end = None, [], False
    while not is_end:
        missing, limit, cut = steps.pop(0) if steps else (set(), 3, 2)
        keys = [None] * PARTITIONS if after is None else after
        answers = [
            "missing" if at in missing else _page(at, rows[at], keys[at], min(limit, cut)) for at in range(PARTITIONS)
        ]
        page = gathered(WHERES, answers, limit, after)
        assert len(page.rows) <= limit
        assert [row.key for row in page.rows] == sorted(row.key for row in page.rows)
        seen += [(row.row["at"], row.key) for row in page.rows]
        after, is_end = page.after, page.is_end and not page.missing
    assert sorted(seen) == [(at, key) for at, own in enumerate(rows) for key in own]


def _page(at: int, keys: list[bytes], behind: bytes | None, limit: int) -> RowPage:
    left = [key for key in keys if behind is None or key > behind]
    found = [FoundRow(key, {"at": at}) for key in left[:limit]]
    return RowPage(found, len(left) <= limit, ShardPosition("person", at, 1), None)
