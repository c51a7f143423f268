"""What the benchmarks print and write."""

import json

import pytest

from annals.workers.tools.bench.figures import Figure, Part
from annals.workers.tools.bench.machine import describe
from annals.workers.tools.bench.page import write_page
from annals.workers.tools.bench.report import as_json, as_markdown, as_text, number

MACHINE = {"processor": "one", "python": "CPython"}
ORDER = ("first", "second")


def part(name="first", value=3.0, **more):
    figures = [
        Figure(name="speed", unit="/s", values=[30_000.0, 40_000.0, 50_000.0], least=40_001.0),
        Figure(name="time", unit="ms", values=[value], most=3.0),
        Figure(name="times", unit="", values=[0.254]),
    ]
    return Part(name=name, title=f"The {name}", method="Somebody\nlooked.\n", figures=figures, measured="then", **more)


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (1234567.8, "/s", "1,234,568/s"),
        (123.4, "MB", "123 MB"),
        (12.34, "µs", "12.3 µs"),
        (0.254, "", "0.25"),
        (15.0, "s", "15 s"),
    ],
)
def test_a_number_has_as_many_digits_as_it_is_worth(value, unit, expected):
    assert number(value, unit) == expected


def test_the_page_has_the_machine_every_figure_with_its_spread_and_the_remarks():
    page = as_markdown(MACHINE, [part(notes=["It rained."])], "## Where the time goes\n\nAway.\n")
    assert page.startswith("# Results\n")
    assert "| processor | one |" in page
    assert "## The first\n\nSomebody\nlooked.\n\nMeasured then.\n" in page
    assert "| speed | 40,000/s | 30,000/s | 50,000/s | 3 | ≥ 40,001/s | **no** |" in page
    assert "| time | 3 ms | 3 ms | 3 ms | 1 | ≤ 3 ms | yes |" in page
    assert "| times | 0.25 | 0.25 | 0.25 | 1 |  |  |" in page
    assert "\nIt rained.\n" in page
    assert page.endswith("## Where the time goes\n\nAway.\n")


def test_the_terminal_shows_which_target_is_missed():
    lines = as_text([part(notes=["It rained."])]).splitlines()
    assert lines[0] == "The first (annals bench first)"
    assert lines[1].split() == ["speed", "40,000/s", "30,000/s", "…", "50,000/s", "in", "3", "≥", "40,001/s", "MISSED"]
    assert lines[2].split() == ["time", "3", "ms", "≤", "3", "ms", "ok"]
    assert lines[3].split() == ["times", "0.25"]
    assert lines[4] == "  It rained."


def test_json_has_the_machine_and_the_parts():
    assert json.loads(as_json(MACHINE, [part()])) == {"machine": MACHINE, "parts": [part().as_json()]}


def test_a_part_that_is_measured_anew_replaces_its_older_self_and_the_rest_stays(tmp_path):
    folder = tmp_path / "bench"
    write_page(folder, MACHINE, [part("second"), part("first")], ORDER)
    (folder / "remarks.md").write_text("## Remarks\n\nMany.\n")
    page = write_page(folder, {"processor": "another"}, [part("first", value=4.0)], ORDER)
    text = page.read_text()
    assert text.index("## The first") < text.index("## The second") < text.index("## Remarks")
    assert text.count("## The first") == 1
    assert "| time | 4 ms |" in text
    assert "| time | 3 ms |" in text
    assert "| processor | another |" in text


def test_the_machine_is_described_with_its_versions():
    machine = describe(own_broker=True)
    assert {"processor", "memory", "system", "python", "broker", "annals", "faust-streaming"} <= machine.keys()
    assert all(machine.values())
    assert machine["broker"].startswith("Apache Kafka 4.")
    assert describe(own_broker=False)["broker"] != machine["broker"]
