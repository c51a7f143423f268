"""The rule of every reader stands in annals.schemas.journal_reader, and nobody puts it together again."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[3]
# What the rule is made of. Decoding a block, or classifying a link, is half a rule in anybody else's hands.
PIECES = {"read_block", "read_record", "read_together", "classify_link", "LinkStatus", "ForeignError"}
DECODER = "decode_dag_cbor"
RULE = "schemas/journal_reader.py"
ALLOWED = {
    RULE: {"read_block", "read_record", "classify_link", "LinkStatus", "ForeignError"},
    "schemas/chain.py": {"read_block", "ForeignError"},  # reads one block: part 1
    "schemas/bulk.py": {"read_together"},  # part 1 of many blocks, proven equal to it
    # Asks a store whether a record is one of the events that it knows; judges no link.
    "agents/writing/recovery/losses.py": {"read_block", "ForeignError"},
    # The same, for what the next restore point says; and whether a record is of the command that has its hash.
    "agents/writing/restore/collecting.py": {"read_block", "ForeignError"},
    "agents/writing/restore/restored.py": {"read_block", "ForeignError"},
    # Reads what counted already again, from the rows of a store.
    "agents/reading/keeping/blocks.py": {"read_block"},
    # Asks a store whether the journal's first event is one of those that it knows; judges no link.
    "agents/reading/following/losses.py": {"read_block", "ForeignError"},
    # Follows links back from ends that a restore point names, and judges none: the rule is applied to all of it again.
    "agents/reading/ahead/unwinding.py": {"read_record", "ForeignError"},
    # Reads the one record that a delivery's row names by offset and CID, of which the row says that it counts.
    "agents/reading/ahead/answers.py": {"read_record", "ForeignError"},
    # Reads back what a reader of the journal that was counted has copied into a stream of this deployment's.
    "agents/reading/streams/rekeyed.py": {"read_block", "ForeignError"},
    # Looks for the first record of a time, whether it counts or not: the publisher reads what counts behind it.
    "workers/publishing/places.py": {"read_block", "ForeignError"},
    # Asks what there may be, for an administrator: what waits, since when, and in which schema versions.
    "workers/publishing/stored.py": {"read_block", "ForeignError"},
    # Verification in bulk, proven equal to the rule by tests/properties/test_journal_readers.py.
    "workers/audit/scan.py": {"read_record", "read_together", "ForeignError"},
    "workers/audit/chains.py": {"classify_link", "LinkStatus"},
}
COMPARES_LINKS = {
    RULE,
    "schemas/chain.py",
    "schemas/bulk.py",
    "agents/reading/queries/events.py",  # of events that counted: whether they are kept as they were
    "workers/audit/scan.py",
    "workers/audit/chains.py",
    "examples/subscriber.py",  # of what a subscription has: events that counted, and nothing else
    "workers/tools/demo/subscriber.py",  # the same
    "schemas/projection_record.py",  # of versions of a projection
    "agents/reading/projecting/versions.py",  # the same
    "agents/reading/read_models/service.py",  # the same
}
DECODES = {"schemas/chain.py", "schemas/bulk.py", "schemas/canonical.py"}
# Some have nothing of this project on purpose. The auditor: test_auditor_example.py holds it to the rule. The checker
# of histories, and how it reads their records: it judges what the journal's reader and writer did, and must not make
# their mistakes. What the benchmarks measure against: it is what somebody writes who has not this project.
INDEPENDENT = {"auditor.py", "checker.py", "judged_records.py"}
BASELINES = "baselines"
SOURCES = [
    path
    for folder in ("schemas", "topics", "agents", "workers", "examples")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if path.name not in INDEPENDENT and path.parent.name != BASELINES
]


def names_in(tree: ast.AST) -> set[str]:
    """Each name that the source uses, however it came by it."""
    found = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    found |= {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    found |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            found |= {alias.name for alias in node.names} | {node.module or ""}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


def compared(tree: ast.AST) -> Iterator[str]:
    """What a comparison is about: names, attributes, members taken by name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            for part in ast.walk(node):
                match part:
                    case (
                        ast.Name(id=name)
                        | ast.Attribute(attr=name)
                        | ast.Subscript(slice=ast.Constant(value=str(name)))
                    ):
                        yield name


def breaches(path: str, source: str) -> list[str]:
    """What of the rule a file has that is for the journal reader alone."""
    tree = ast.parse(source)
    names = names_in(tree)
    found = sorted(names & PIECES - ALLOWED.get(path, set()))
    if path not in DECODES:
        found += sorted(names & {DECODER})
    # `previous is None`, to show a link, compares nothing with a chain's end.
    if path not in COMPARES_LINKS and "previous" in compared(_without_tests_for_none(tree)):
        found.append("a comparison of `previous`")
    return found


def _without_tests_for_none(tree: ast.AST) -> ast.AST:
    class Dropped(ast.NodeTransformer):
        def visit_Compare(self, node: ast.Compare) -> ast.AST:
            is_for_none = all(isinstance(op, ast.Is | ast.IsNot) for op in node.ops)
            return ast.Constant(value=True) if is_for_none else node

    return Dropped().visit(ast.parse(ast.unparse(tree)))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nobody_else_puts_the_rule_together(path: Path) -> None:
    found = breaches(str(path.relative_to(ROOT)), path.read_text())
    assert not found, f"{found}: read journals with annals.schemas.journal_reader"


@pytest.mark.parametrize(
    "source",
    [
        "from annals.schemas.chain import read_block",
        "from annals.schemas import chain\nevent = chain.read_block(kind, value)",
        "from annals.schemas.journal_reader import classify_link",
        "import annals.schemas.journal_reader as rule\nrule.read_record('person', key, value)",
        "from annals.schemas.bulk import read_together",
        "from libipld import decode_dag_cbor",
        "import libipld\nlibipld.decode_dag_cbor(value)",
        "counts = event['version'] == last + 1 and event['previous'] == head",
        "counts = record.previous == head",
    ],
)
def test_another_rule_would_be_seen(source: str) -> None:
    assert breaches("workers/intruder.py", source)


def test_the_exceptions_are_no_more_than_is_needed() -> None:
    for path, pieces in ALLOWED.items():
        assert pieces <= names_in(ast.parse((ROOT / path).read_text())), path
