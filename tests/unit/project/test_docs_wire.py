"""docs/reference/wire.md is written by hand, since it binds the code: what it names is held to the code."""

import json
import re
from pathlib import Path

import pytest

from annals.schemas import outcome
from annals.schemas.chain import read_block
from annals.schemas.cid import cid_text
from annals.schemas.envelope import Command
from annals.schemas.outcome import decode_outcome
from annals.schemas.wire.reading import read_command
from annals.topics.keys import partition_of
from chained import sealed

PAGE = (Path(__file__).parents[3] / "docs/reference/wire.md").read_text()
COMMAND, OUTCOME = (json.loads(body) for body in re.findall(r"^```json\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))


def section(title: str) -> str:
    return re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)[1]


def test_the_command_that_it_shows_is_read_as_it_says() -> None:
    command = read_command(b"p-1", json.dumps(COMMAND).encode(), [], 1_000_000)
    assert isinstance(command, Command)
    assert command.errors == ()
    assert (command.id, command.type, command.aggregate_id) == (COMMAND["id"], COMMAND["type"], COMMAND["aggregate_id"])
    assert (command.expected_version, command.expected_head, command.actor) == (0, None, "hr-service")


def test_the_outcome_that_it_shows_is_one() -> None:
    assert decode_outcome(json.dumps(OUTCOME).encode()).status == "accepted"
    written = json.loads(outcome.accepted("c", "person", "p-1", 1, None, []))
    assert list(written) == list(OUTCOME)


def test_the_members_of_a_block_are_those_of_the_table() -> None:
    members = set(re.findall(r"^\| `(\w+)` \|", section("Event block"), re.MULTILINE))
    block = sealed("p-1", 1, None).value
    assert set(read_block("person", block)) == members
    assert len(members) == 12


def test_the_text_of_a_cid_begins_as_it_says() -> None:
    assert cid_text(sealed("p-1", 1, None).cid).startswith("bafyr4i")
    assert "`bafyr4i…`" in PAGE


@pytest.mark.parametrize("row", re.findall(r"^\| `([^`]+)` \| (\d+) \| (\d+) \| (\d+) \|$", PAGE, re.MULTILINE))
def test_keys_live_in_the_partitions_of_the_table(row: tuple[str, ...]) -> None:
    key, *partitions = row
    assert [partition_of(key.encode(), number) for number in (3, 4, 12)] == [int(each) for each in partitions]


def test_every_code_of_a_rejection_has_its_place_in_the_order() -> None:
    order = re.search(r"\*\*The first that applies answers\*\*(.*?)\n\n", PAGE, re.DOTALL)[1]
    assert [code for code in re.findall(r"`(\w+)`", order) if code in outcome.CODES][: len(outcome.CODES)] == list(
        outcome.CODES
    )
