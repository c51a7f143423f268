"""Whatever is done to a chain's bytes or order, a reader that has its head notices."""

from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from annals.schemas.chain import ForeignError, Verdict, judge, read_block, seal
from annals.schemas.cid import cid_of

NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
DATA = st.dictionaries(NAMES, NAMES | st.integers(-(2**63), 2**64 - 1) | st.floats(0.5, 1e9) | st.none(), max_size=4)


@st.composite
def chains(draw: st.DrawFn) -> list[bytes]:
    """The blocks of one aggregate."""
    blocks: list[bytes] = []
    previous = None
    for version, data in enumerate(draw(st.lists(DATA, min_size=2, max_size=6)), 1):
        block, previous = seal(
            "person",
            "p-1",
            version,
            previous,
            "PersonRenamed",
            1,
            f"2026-11-21T09:30:00.{version:06}Z",
            f"c-{version}",
            draw(NAMES),
            draw(st.none() | NAMES),
            None,
            data,
        )
        blocks.append(block)
    return blocks


def _verdicts(blocks: Sequence[bytes]) -> tuple[list[Verdict], bytes | None]:
    """What the rule says of each block in this order, and the head it leads to."""
    version, head = 0, None
    void: set[bytes] = set()
    verdicts = []
    for block in blocks:
        try:
            event: dict[str, Any] = read_block("person", block)
        except ForeignError:
            verdicts.append(Verdict.FOREIGN)
            continue
        is_after_void = event["previous"] in void
        verdict = judge(event["version"], event["previous"], version, head, previous_is_void=is_after_void)
        if verdict is Verdict.COUNTS:
            version, head = event["version"], cid_of(block)
        elif verdict is Verdict.VOID:
            void.add(cid_of(block))
        verdicts.append(verdict)
    return verdicts, head


@given(chains())
def test_a_whole_chain_counts_and_leads_to_its_head(blocks: list[bytes]) -> None:
    assert _verdicts(blocks) == ([Verdict.COUNTS] * len(blocks), cid_of(blocks[-1]))


@given(chains(), st.data())
def test_one_flipped_bit_never_leads_to_the_same_head(blocks: list[bytes], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(blocks) - 1))
    block = bytearray(blocks[index])
    bit = data.draw(st.integers(0, len(block) * 8 - 1))
    block[bit // 8] ^= 1 << bit % 8
    verdicts, head = _verdicts([*blocks[:index], bytes(block), *blocks[index + 1 :]])
    assert head != cid_of(blocks[-1])
    # In the last block only the kept head shows it; before that the next link does, too.
    assert index == len(blocks) - 1 or set(verdicts) != {Verdict.COUNTS}


@given(chains(), st.data())
def test_a_dropped_event_is_a_gap(blocks: list[bytes], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(blocks) - 2))
    verdicts, _ = _verdicts([*blocks[:index], *blocks[index + 1 :]])
    assert verdicts[index] is Verdict.GAP


@given(chains(), st.data())
def test_a_cut_off_end_shows_against_the_kept_head(blocks: list[bytes], data: st.DataObject) -> None:
    verdicts, head = _verdicts(blocks[: data.draw(st.integers(0, len(blocks) - 1))])
    assert set(verdicts) <= {Verdict.COUNTS}
    assert head != cid_of(blocks[-1])


@given(chains(), st.data())
def test_a_doubled_event_is_void_and_changes_nothing(blocks: list[bytes], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(blocks) - 1))
    verdicts, head = _verdicts([*blocks[: index + 1], blocks[index], *blocks[index + 1 :]])
    assert verdicts[index + 1] is Verdict.VOID
    assert verdicts.count(Verdict.COUNTS) == len(blocks)
    assert head == cid_of(blocks[-1])


@given(chains(), st.data())
def test_swapped_events_are_noticed(blocks: list[bytes], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(blocks) - 2))
    blocks[index], blocks[index + 1] = blocks[index + 1], blocks[index]
    verdicts, _ = _verdicts(blocks)
    assert verdicts[index] is Verdict.GAP


@given(chains(), chains())
def test_the_loser_of_two_writers_is_void_to_its_end(blocks: list[bytes], others: list[bytes]) -> None:
    verdicts, head = _verdicts([*blocks, *others])
    assert verdicts[: len(blocks)] == [Verdict.COUNTS] * len(blocks)
    if others[0] != blocks[0]:
        assert verdicts[len(blocks) :] == [Verdict.VOID] * len(others)
        assert head == cid_of(blocks[-1])


@given(st.binary(max_size=300))
def test_any_bytes_are_an_event_or_foreign(value: bytes) -> None:
    try:
        event = read_block("person", value)
    except ForeignError as error:
        str(error).encode()
    else:
        assert seal(**event)[0] == value
