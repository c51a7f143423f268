"""examples/auditor.py: it needs nothing of the project, and says of every record what the project says."""

from __future__ import annotations

import ast
import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dag_cbor
import pytest
from blake3 import blake3
from libipld import encode_dag_cbor

from annals.schemas.chain import DEEPEST_DATA
from annals.schemas.journal_reader import Counted, Foreign, Gap, RememberingReader, Void
from annals.topics.keys import keys_of, partition_of

if TYPE_CHECKING:
    from types import ModuleType

FILE = Path(__file__).parents[3] / "examples/auditor.py"
KEY = b"p-1"
PARTITIONS = 4
SAID: dict[type, str] = {Counted: "counts", Void: "void", Foreign: "foreign", Gap: "gap"}
FIRST: dict[str, Any] = {
    "kind": "person",
    "aggregate_id": "p-1",
    "version": 1,
    "previous": None,
    "type": "PersonRegistered",
    "schema_version": 1,
    "recorded_at": "2026-11-21T09:30:00.000000Z",
    "command_id": "c-1",
    "correlation_id": "c-1",
    "causation_id": None,
    "actor": None,
    "data": {"name": "Ada"},
}


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("auditor_example", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def recursion() -> Any:
    """As the program itself sets it."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(10_000)
    yield
    sys.setrecursionlimit(before)


def block(**changes: Any) -> bytes:
    return dag_cbor.encode({**FIRST, **changes})


def link(value: bytes) -> Any:
    return dag_cbor.decode(b"\xd8\x2a\x58\x25\x00\x01\x71\x1e\x20" + blake3(value).digest())


def nested(levels: int) -> bytes:
    """A block with data that are so many levels deep; dag-cbor's recursion would be too deep for that here."""
    data: dict[str, Any] = {}
    for _ in range(levels - 1):
        data = {"a": data}
    block: bytes = encode_dag_cbor({**FIRST, "data": data})
    return block


def by_the_project(records: list[tuple[bytes | None, bytes | None]]) -> list[str]:
    """What the project's own rule says of a journal's records."""
    reader = RememberingReader("person", keys_of(partition_of(KEY, PARTITIONS), PARTITIONS))
    return [SAID[type(reader.read(offset, *record))] for offset, record in enumerate(records)]


ONE = block()
TWO = block(version=2, previous=link(ONE), command_id="c-2")
OTHER = block(version=2, previous=link(ONE), command_id="c-3")
AFTER_OTHER = block(version=3, previous=link(OTHER))
THREE = block(version=3, previous=link(TWO))
FOUR = block(version=4, previous=link(THREE))
ELSEWHERE = next(
    name for name in map("p-{}".format, range(99)) if partition_of(name.encode(), 4) != partition_of(KEY, 4)
)


@pytest.mark.parametrize(
    ("value", "verdict"),
    [
        (ONE, "counts"),
        (None, "foreign"),
        (b"", "foreign"),
        (b"{}", "foreign"),
        (dag_cbor.encode([1]), "foreign"),
        (ONE + b"\x00", "foreign"),
        (ONE.replace(b"gversion\x01", b"gversion\x18\x01"), "foreign"),
        (block(more=1), "foreign"),
        (dag_cbor.encode({name: value for name, value in FIRST.items() if name != "actor"}), "foreign"),
        (block(version=True), "foreign"),
        (block(version="1"), "foreign"),
        (block(actor=7), "foreign"),
        (block(previous="bafyr4i"), "foreign"),
        (block(previous=dag_cbor.decode(b"\xd8\x2a\x58\x25\x00\x01\x71\x12\x20" + bytes(32))), "foreign"),
        (block(recorded_at="2026-11-21T09:30:00Z"), "foreign"),
        (block(recorded_at="2026-02-30T09:30:00.000000Z"), "foreign"),
        (block(data={"a": b"bytes"}), "foreign"),
        (block(data={"a": [link(ONE)]}), "foreign"),
        (block(data={"a": -0.0}), "foreign"),
        (block(data={"a": [-(2**64), 2**64 - 1, 0.0, -1.5, None, True, "Ä"]}), "counts"),
        (nested(DEEPEST_DATA), "counts"),
        (nested(DEEPEST_DATA + 1), "foreign"),
        (block(kind="agent"), "foreign"),
        (block(aggregate_id="p-2"), "foreign"),
        (block(type="Nobody", schema_version=99), "counts"),
        (block(version=0), "void"),
        (TWO, "gap"),
    ],
)
def test_a_record_is_what_the_project_says(example: ModuleType, value: bytes | None, verdict: str) -> None:
    journal = example.Journal("person", partition_of(KEY, PARTITIONS), PARTITIONS)
    assert journal.judge(KEY, value)[0] == verdict
    assert by_the_project([(KEY, value)]) == [verdict]


@pytest.mark.parametrize(
    ("values", "verdicts"),
    [
        ([ONE, TWO, THREE, FOUR], ["counts"] * 4),
        ([ONE, ONE, TWO], ["counts", "void", "counts"]),
        ([ONE, TWO, OTHER, AFTER_OTHER, THREE], ["counts", "counts", "void", "void", "counts"]),
        ([ONE, THREE, FOUR], ["counts", "gap", "gap"]),
        ([block(data={"name": "Eve"}), TWO, THREE], ["counts", "void", "void"]),
    ],
)
def test_a_chain_is_what_the_project_says(example: ModuleType, values: list[bytes], verdicts: list[str]) -> None:
    journal = example.Journal("person", partition_of(KEY, PARTITIONS), PARTITIONS)
    assert [journal.judge(KEY, value)[0] for value in values] == verdicts
    assert by_the_project([(KEY, value) for value in values]) == verdicts


def test_an_event_in_the_partition_of_another_key_is_foreign(example: ModuleType) -> None:
    journal = example.Journal("person", partition_of(KEY, PARTITIONS), PARTITIONS)
    assert journal.judge(ELSEWHERE.encode(), block(aggregate_id=ELSEWHERE))[0] == "foreign"


@pytest.mark.parametrize("key", ["p-1", "p-3", "Ä", "", "a", "ab", "abc", "abcd", "abcde" * 50])
def test_a_key_has_the_partition_that_the_project_says(example: ModuleType, key: str) -> None:
    for partitions in (1, 3, 4, 12, 1000):
        assert example.partition_of(key.encode(), partitions) == partition_of(key.encode(), partitions)


def test_it_needs_nothing_of_the_project() -> None:
    names = set()
    for node in ast.walk(ast.parse(FILE.read_text())):
        if isinstance(node, ast.Import):
            names |= {each.name.partition(".")[0] for each in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").partition(".")[0])
    # multiformats comes with dag-cbor.
    assert names - sys.stdlib_module_names == {"blake3", "confluent_kafka", "dag_cbor", "multiformats"}
