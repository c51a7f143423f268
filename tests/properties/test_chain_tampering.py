"""Whatever is done to a chain's bytes or order, a reader that has its head notices."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from annals.schemas.chain import ForeignError, read_block, seal
from annals.schemas.cid import cid_of
from annals.schemas.journal_reader import Counted, Gap, RememberingReader, Void

NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
DATA = st.dictionaries(NAMES, NAMES | st.integers(-(2**63), 2**64 - 1) | st.floats(0.5, 1e9) | st.none(), max_size=4)


@st.composite
def chains(draw: st.DrawFn) -> list[bytes]:
    """The blocks of one aggregate."""
    blocks: list[bytes] = []
    previous = None
    for version, data in enumerate(draw(st.lists(DATA, min_size=2, max_size=6)), 1):
        block, previous = seal(
            kind="person",
            aggregate_id="p-1",
            version=version,
            previous=previous,
            type="PersonRenamed",
            schema_version=1,
            recorded_at=f"2026-11-21T09:30:00.{version:06}Z",
            command_id=f"c-{version}",
            correlation_id=draw(NAMES),
            causation_id=draw(st.none() | NAMES),
            actor=None,
            data=data,
        )
        blocks.append(block)
    return blocks


def _read(blocks: Sequence[bytes]) -> tuple[list[type], bytes | None]:
    """What each block in this order is, and the head it leads to."""
    reader = RememberingReader("person", lambda _: True)
    kinds = [type(reader.read(offset, b"p-1", block)) for offset, block in enumerate(blocks)]
    return kinds, reader.ends[b"p-1"].head if reader.ends else None


@given(chains())
def test_a_whole_chain_counts_and_leads_to_its_head(blocks: list[bytes]) -> None:
    assert _read(blocks) == ([Counted] * len(blocks), cid_of(blocks[-1]))


@given(chains(), st.data())
def test_one_flipped_bit_never_leads_to_the_same_head(blocks: list[bytes], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(blocks) - 1))
    block = bytearray(blocks[index])
    bit = data.draw(st.integers(0, len(block) * 8 - 1))
    block[bit // 8] ^= 1 << bit % 8
    records, head = _read([*blocks[:index], bytes(block), *blocks[index + 1 :]])
    assert head != cid_of(blocks[-1])
    # In the last block only the kept head shows it; before that the next link does, too.
    assert index == len(blocks) - 1 or set(records) != {Counted}


@given(chains(), st.data())
def test_a_dropped_event_is_a_gap(blocks: list[bytes], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(blocks) - 2))
    records, _ = _read([*blocks[:index], *blocks[index + 1 :]])
    assert records[index] is Gap


@given(chains(), st.data())
def test_a_cut_off_end_shows_against_the_kept_head(blocks: list[bytes], data: st.DataObject) -> None:
    records, head = _read(blocks[: data.draw(st.integers(0, len(blocks) - 1))])
    assert set(records) <= {Counted}
    assert head != cid_of(blocks[-1])


@given(chains(), st.data())
def test_a_doubled_event_is_void_and_changes_nothing(blocks: list[bytes], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(blocks) - 1))
    records, head = _read([*blocks[: index + 1], blocks[index], *blocks[index + 1 :]])
    assert records[index + 1] is Void
    assert records.count(Counted) == len(blocks)
    assert head == cid_of(blocks[-1])


@given(chains(), st.data())
def test_swapped_events_are_noticed(blocks: list[bytes], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(blocks) - 2))
    blocks[index], blocks[index + 1] = blocks[index + 1], blocks[index]
    records, _ = _read(blocks)
    assert records[index] is Gap


@given(chains(), chains())
def test_the_loser_of_two_writers_is_void_to_its_end(blocks: list[bytes], others: list[bytes]) -> None:
    records, head = _read([*blocks, *others])
    assert records[: len(blocks)] == [Counted] * len(blocks)
    if others[0] != blocks[0]:
        assert records[len(blocks) :] == [Void] * len(others)
        assert head == cid_of(blocks[-1])


@given(st.binary(max_size=300))
def test_any_bytes_are_an_event_or_foreign(value: bytes) -> None:
    try:
        event = read_block("person", value)
    except ForeignError as error:
        str(error).encode()
    else:
        assert seal(**event)[0] == value
