"""docs/reference/vectors.json: our own readers, and the one that has nothing of ours, say what it says."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from annals.agents.aggregates import REGISTRY
from annals.agents.folding.fold import Fold
from annals.agents.folding.working_set import AggregateCache, WorkingSet
from annals.agents.ports import JournalRecord, StoppedError
from annals.schemas.bulk import read_together
from annals.schemas.cid import cid_of, cid_text
from annals.schemas.journal_reader import Counted, Foreign, Gap, RememberingReader, Void
from annals.topics.keys import keys_of, murmur2, partition_of
from annals.workers.audit.chains import Chains, JournalId
from annals.workers.audit.kept_heads import KeptHead
from annals.workers.audit.report import Report
from annals.workers.audit.scan import survey
from annals.workers.stores.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

ROOT = Path(__file__).parents[4]
VECTORS = json.loads((ROOT / "docs/reference/vectors.json").read_text())
WORDS: dict[type, str] = {Counted: "counts", Void: "void", Foreign: "foreign", Gap: "gap"}
# A block is a journal of one record.
JOURNALS = [
    {**block, "kind": "person", "partition": 0, "partitions": 1, "records": [{"offset": 0, **block}], "kept": []}
    for block in VECTORS["blocks"]
] + VECTORS["journals"]
by_name = {"argnames": "journal", "argvalues": JOURNALS, "ids": lambda journal: journal["name"]}

Record = tuple[int, bytes | None, bytes | None]


def records(journal: dict[str, Any]) -> list[Record]:
    return [(each["offset"], unhex(each["key"]), unhex(each["value"])) for each in journal["records"]]


def unhex(text: str | None) -> bytes | None:
    return None if text is None else bytes.fromhex(text)


def verdicts(journal: dict[str, Any]) -> list[str]:
    return [each["verdict"] for each in journal["records"]]


def reader(journal: dict[str, Any], *kept: Any) -> RememberingReader:
    return RememberingReader(journal["kind"], keys_of(journal["partition"], journal["partitions"]), *kept)


def test_there_are_vectors_of_each_verdict() -> None:
    found = [verdict for journal in JOURNALS for verdict in verdicts(journal)]
    assert set(found) == set(WORDS.values())
    assert {kept["is_in_chain"] for journal in JOURNALS for kept in journal["kept"]} == {True, False}
    assert len(JOURNALS) == len({journal["name"] for journal in JOURNALS})


@pytest.mark.parametrize("key", VECTORS["keys"], ids=lambda key: key["key"][:20])
def test_a_key_has_its_partition(key: dict[str, Any]) -> None:
    own = bytes.fromhex(key["key"])
    assert murmur2(own) == key["murmur2"]
    assert {count: partition_of(own, int(count)) for count in key["partition"]} == key["partition"]


@pytest.mark.parametrize(**by_name)
def test_the_journal_reader_says_the_same(journal: dict[str, Any]) -> None:
    own = reader(journal)
    found = [own.read(*record) for record in records(journal)]
    assert [WORDS[type(record)] for record in found] == verdicts(journal)
    assert [cid_text(each.cid) if type(each) is Counted else None for each in found] == [
        each["cid"] for each in journal["records"]
    ]
    heads = {key.decode(): {"version": end.version, "head": cid_text(end.head or b"")} for key, end in own.ends.items()}
    assert heads == journal.get("heads", heads)


@pytest.mark.parametrize("journal", VECTORS["journals"], ids=lambda journal: journal["name"])
def test_a_reader_that_goes_on_says_the_same_wherever_it_does(journal: dict[str, Any]) -> None:
    for cut in range(len(journal["records"])):
        first = reader(journal)
        found = [first.read(*record) for record in records(journal)[:cut]]
        second = reader(journal, first.ends, [each.cid for each in found if type(each) is Void])
        found += [second.read(*record) for record in records(journal)[cut:]]
        assert [WORDS[type(record)] for record in found] == verdicts(journal)


@pytest.mark.parametrize(**by_name)
def test_verification_says_the_same(journal: dict[str, Any]) -> None:
    place = JournalId(journal["kind"], "events", journal["partition"], journal["partitions"])
    report = Report()
    chains = Chains(place, report)
    for record in records(journal):  # one by one, so that each is a chunk's first
        chains.add(survey(place.kind, place.partition, place.partitions, [(*record, [])]))
    found = {broken.offset: broken.reason.split(":")[0] for broken in report.broken}
    headers = "headers differ from the block"
    assert [found.get(each["offset"], headers).replace(headers, "counts") for each in journal["records"]] == verdicts(
        journal
    )
    heads = {name: (end["version"], end["head"]) for name, end in journal.get("heads", {}).items()}
    assert {name: (version, cid_text(head)) for name, (version, head) in _ends(chains, heads)} == heads
    for kept in journal["kept"]:
        head = KeptHead(kept["aggregate_id"], _binary(kept["cid"]))
        watching = Chains(place, Report(), watched=[head])
        own = [(*each, []) for each in records(journal) if each[1] == kept["aggregate_id"].encode()]
        watching.add(survey(place.kind, place.partition, place.partitions, own))
        assert watching.has_met(head) == kept["is_in_chain"]


def _ends(chains: Chains, heads: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    return ((name, chains.head(name.encode())) for name in heads)


def _binary(text: str) -> bytes:
    from annals.schemas.cid import parse_cid

    return parse_cid(text)


@pytest.mark.parametrize("block", VECTORS["blocks"], ids=lambda block: block["name"])
def test_what_is_foreign_is_never_read_in_bulk(block: dict[str, Any]) -> None:
    columns = read_together("person", [unhex(block["value"])])
    if columns is not None and block["verdict"] == "foreign":
        assert columns.aggregate_ids[0].encode() != unhex(block["key"])
    if block["verdict"] == "counts":
        assert cid_text(cid_of(bytes.fromhex(block["value"]))) == block["cid"]


@pytest.mark.parametrize(**by_name)
def test_the_fold_says_the_same(journal: dict[str, Any]) -> None:
    """As far as this release reads the types and data: what it cannot read counts, and stops it."""
    decider, store = REGISTRY[journal["kind"]], MemoryStore()
    fold = Fold(
        decider, WorkingSet(decider, store, AggregateCache(1 << 20)), journal["partition"], journal["partitions"]
    )
    found = []
    for record in records(journal):
        before = dict(fold.counts)
        try:
            fold.apply([JournalRecord(*record)])
        except StoppedError as error:
            found.append("gap" if str(error).startswith("gap") else "counts")
            break
        (word,) = [name for name, count in fold.counts.items() if count != before.get(name, 0)]
        found.append("counts" if word == "events" else word)
    assert found == verdicts(journal)[: len(found)]
    assert len(found) == len(journal["records"]) or found[-1] == "counts"


@pytest.fixture(scope="module")
def auditor() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("auditor_example", ROOT / "examples/auditor.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(10_000)  # as the program itself sets it
    yield module
    sys.setrecursionlimit(before)


@pytest.mark.parametrize(**by_name)
def test_the_auditor_says_the_same(auditor: ModuleType, journal: dict[str, Any]) -> None:
    own = auditor.Journal(journal["kind"], journal["partition"], journal["partitions"])
    found = [own.judge(key, value) for _, key, value in records(journal)]
    assert [verdict for verdict, _, _ in found] == verdicts(journal)
    counted = {(what, cid) for verdict, what, cid in found if verdict == "counts"}
    assert [(kept["aggregate_id"], kept["cid"]) in counted for kept in journal["kept"]] == [
        kept["is_in_chain"] for kept in journal["kept"]
    ]
