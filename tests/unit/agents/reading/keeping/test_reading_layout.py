"""The key spaces of a reading store: no two of them begin alike, wherever they are named."""

from __future__ import annotations

from annals.agents.reading.keeping import layout
from annals.agents.reading.projecting import rows
from annals.agents.reading.read_models import global_fold
from annals.agents.reading.snapshots import kept

SPACES = [
    *(getattr(layout, name) for name in vars(layout) if name.isupper()),
    kept.SNAPSHOTS,
    kept.PERSONAL,
    rows.ROWS,
    rows.INDEXES,
    global_fold.PARTITIONS,
]


def test_no_two_key_spaces_begin_alike() -> None:
    prefixes = [space for space in SPACES if isinstance(space, bytes)]
    assert len(prefixes) > 20
    assert len({space[:1] for space in prefixes}) == len(prefixes)
