"""What `annals new aggregate` and `annals schemas new-version` write into a checkout passes its checks."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from project_copy import ROOT, project_copy, run  # noqa: F401 - the fixture `copy`

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow


def test_a_new_aggregate_passes_every_check(copy: Path) -> None:
    said = run("annals new aggregate parking_lot", copy)
    assert "wrote agents/aggregates/parking_lot.py" in said
    files = "schemas/kinds/parking_lot.py agents/aggregates tests/unit/agents/aggregates/test_parking_lot.py"
    run(f"ruff format --check {files}", copy)
    run(f"ruff check {files}", copy)
    run("mypy", copy)
    run("mypy --config-file tests/mypy.ini tests/unit/agents/aggregates/test_parking_lot.py", copy)
    run("lint-imports", copy)
    run("python docs/generate.py --check", copy)
    assert "0 differences" in run("annals schemas check", copy)
    tests = "test_parking_lot test_state_versions test_golden_events test_published_schemas test_asyncapi test_machine"
    names = " ".join(str(next((copy / "tests/unit").rglob(f"{name}.py"))) for name in tests.split())
    chosen = "-k 'parking_lot or golden or published or asyncapi or machine'"
    run(f"pytest -q -p no:cacheprovider {names} tests/properties/test_aggregate_laws.py {chosen}", copy)
    assert '    "parking_lot": PARKING_LOT,\n' in (copy / "agents/aggregates/__init__.py").read_text()
    assert "there already" in run("annals new aggregate parking_lot", copy, status=2)


def test_a_name_that_is_none_or_taken_is_refused_and_nothing_is_written(copy: Path) -> None:
    before = sorted(copy.rglob("*.py"))
    for name in ("Lot", "class", "chain"):
        said = run(f"annals new aggregate {name}", copy, status=2)
        assert re.search("is no name of a kind|is there already", said)
    assert sorted(copy.rglob("*.py")) == before


def test_outside_of_a_checkout_it_is_said_where_to_run_it(tmp_path: Path) -> None:
    assert "is no checkout of the project" in run("annals new aggregate lot", tmp_path, status=2)


VERSIONED = [
    ("person", "PersonRenamed", 1),  # the first of its kind
    ("agent", "ModelConfigured", 2),  # a third one of its own
    ("organization", "RoleDefined", 1),  # the second of its kind
    ("policy", "ExemptionGranted", 1),  # a member whose name is a word of Python's
    ("agent", "AgentDeployed", 1),  # a default
]


def test_a_new_version_is_read_through_its_upcaster_and_passes_the_checks(copy: Path) -> None:
    for kind, name, version in VERSIONED:
        said = run(f"annals schemas new-version {kind} {name}", copy)
        assert f"wrote schemas/former/{kind}.py" in said
        assert f"{name}.{version + 1}" in said
    folder = "tests/unit/agents/aggregates"
    written = f"{folder}/test_*_1.py {folder}/test_*_2.py"
    files = f"schemas/former agents/aggregates {written}"
    run(f"ruff format --check {files}", copy)
    run(f"ruff check {files}", copy)
    run("mypy -p annals.schemas -p annals.agents", copy)
    said = run("annals schemas check", copy)
    assert said.count("new version") == len(VERSIONED)
    assert "0 of them break" in said
    run("annals schemas export schemas/json", copy)
    schemas = "tests/unit/schemas"
    tests = f"{schemas}/test_golden_events.py {schemas}/test_former_versions.py tests/properties/test_upcasting.py"
    run(f"pytest -q -p no:cacheprovider {tests} {written}", copy)


def test_a_member_renamed_in_a_new_version_is_read_from_the_old_one(copy: Path) -> None:
    run("annals schemas new-version person PersonRenamed", copy)
    schema, former = copy / "schemas/kinds/person.py", copy / "schemas/former/person.py"
    text = schema.read_text()
    begin = text.index("class PersonRenamed(RenamePerson):")
    changed = re.sub(
        r"class PersonRenamed\(RenamePerson\):\n(    \"\"\".*\"\"\"\n)",
        r"class PersonRenamed(RenamePerson):\n\1\n    noted: bool\n",
        text[begin:],
        count=1,
    ).replace("(RenamePerson):", "(RenamePerson, kw_only=True):", 1)
    schema.write_text(text[:begin] + changed)
    before = (copy / "tests/golden/events/person.json").read_text()
    tests = "tests/unit/agents/aggregates/test_person_person_renamed_1.py tests/unit/schemas/test_golden_events.py"
    run(f"pytest -q -p no:cacheprovider {tests} -k person", copy, status=1)
    former.write_text(former.read_text().replace("return {**data}", 'return {**data, "noted": False}'))
    test = copy / "tests/unit/agents/aggregates/test_person_person_renamed_1.py"
    newest = 'NEWEST = {**STORED, "noted": False}'
    test.write_text(re.sub(r"^NEWEST = .*$", newest, test.read_text(), flags=re.MULTILINE))
    run("python tests/golden/events.py person PersonRenamed.2", copy)
    run(f"pytest -q -p no:cacheprovider {tests} -k person", copy)
    after = (copy / "tests/golden/events/person.json").read_text()
    blocks = re.findall(r'"block": "(\w+)"', before)
    assert len(set(blocks) - set(re.findall(r'"block": "(\w+)"', after))) == 1, "published blocks are as they were"


def test_a_type_that_there_is_not_is_named() -> None:
    assert "person has no event 'PersonTeleported': there are PersonRegistered," in run(
        "annals schemas new-version person PersonTeleported", ROOT, status=2
    )
    assert "there is no kind 'planet'" in run("annals schemas new-version planet PlanetFound", ROOT, status=2)
