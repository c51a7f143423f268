"""Many blocks read at once are what each of them is read as alone, or are left to be read alone."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from annals.schemas.bulk import Columns, read_together
from annals.schemas.canonical import encode
from annals.schemas.chain import ForeignError, read_block, seal
from annals.schemas.cid import cid_of
from chained import sealed

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
CIDS = st.binary(min_size=1, max_size=9).map(cid_of)
TIMES = st.sampled_from(["2026-11-21T09:30:00.123456Z", "2024-02-29T23:59:59.000000Z"])
EVENTS = st.builds(
    seal,
    kind=st.just("person"),
    aggregate_id=st.text(max_size=9),
    version=st.integers(1, 2**63),
    previous=st.none() | CIDS,
    type=st.text(max_size=9),
    schema_version=st.integers(1, 9),
    recorded_at=TIMES,
    command_id=st.text(max_size=9),
    correlation_id=st.text(max_size=9),
    causation_id=st.none() | st.text(max_size=9),
    actor=st.none() | st.text(max_size=9),
    data=st.dictionaries(st.text(max_size=9), JSON, max_size=3),
).map(lambda sealed: sealed[0])


@st.composite
def altered(draw: st.DrawFn) -> bytes | None:
    """A block in which something is not as it should be, or may be."""
    event = read_block("person", draw(EVENTS))
    how = draw(st.sampled_from(["member", "more", "less", "flip", "null", "link", "cut"]))
    if how == "member":
        event[draw(st.sampled_from(sorted(event)))] = draw(
            st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=30) | CIDS | st.just({}) | st.just([])
        )
    elif how == "more":
        event["more"] = 1
    elif how == "less":
        del event[draw(st.sampled_from(sorted(event)))]
    elif how == "link":
        event["data"] = {"at": [draw(CIDS)]}
    block = encode(event)
    if how == "flip":
        changed = bytearray(block)
        changed[draw(st.integers(0, len(block) - 1))] ^= 1 << draw(st.integers(0, 7))
        return bytes(changed)
    return None if how == "null" else block[: -draw(st.integers(0, 3)) or None] if how == "cut" else block


def one_by_one(blocks: list[bytes | None]) -> list[dict[str, Any]] | None:
    try:
        return [read_block("person", block) for block in blocks]
    except ForeignError:
        return None


def is_the_same(together: Columns, blocks: list[bytes | None]) -> bool:
    events = one_by_one(blocks)
    assert events is not None
    names = {
        "types": "type",
        "actors": "actor",
        "versions": "version",
        "previous": "previous",
        "command_ids": "command_id",
        "recorded_at": "recorded_at",
        "aggregate_ids": "aggregate_id",
        "causation_ids": "causation_id",
        "correlation_ids": "correlation_id",
        "schema_versions": "schema_version",
    }
    columns = together._asdict()
    assert columns.pop("cids") == [cid_of(block or b"") for block in blocks]
    return {name: list(column) for name, column in columns.items()} == {
        name: [event[member] for event in events] for name, member in names.items()
    }


@given(st.lists(EVENTS, min_size=1, max_size=5))
def test_events_are_read_together_as_they_are_read_alone(blocks: list[bytes | None]) -> None:
    together = read_together("person", blocks)
    assert together is not None
    assert is_the_same(together, blocks)


@given(st.lists(EVENTS, max_size=3), altered(), st.lists(EVENTS, max_size=3))
def test_what_alone_is_foreign_is_never_read_together(
    before: list[bytes | None], doubtful: bytes | None, after: list[bytes | None]
) -> None:
    blocks = [*before, doubtful, *after]
    together = read_together("person", blocks)
    assert together is None or is_the_same(together, blocks)


def test_another_kind_is_left_to_be_read_alone() -> None:
    block = sealed("p-1", 1, None, data={}).value
    assert read_together("person", [block]) is not None
    assert read_together("organization", [block]) is None


def test_what_nests_deeper_than_one_library_writes_is_left_to_be_read_alone() -> None:
    deep: Any = 1
    for _ in range(300):
        deep = [deep]
    block = sealed("p-1", 1, None, data={"deep": deep}).value
    assert read_together("person", [block]) is None
    assert one_by_one([block]) is not None
