"""Every event that was ever published, in every version: its bytes and its CID are for ever, and it is read."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft202012Validator

from annals.agents.aggregates import REGISTRY
from annals.schemas.canonical import decode
from annals.schemas.chain import read_block
from annals.schemas.cid import cid_of, cid_text
from annals.workers.schema_publisher.published import find

sys.path.insert(0, str(Path(__file__).parents[2] / "golden"))
from events import block_of, golden, published

if TYPE_CHECKING:
    from annals.agents.deciding.decider import Decider

of_every_kind = pytest.mark.parametrize("decider", REGISTRY.values(), ids=REGISTRY.keys())


def blocks(decider: Decider[Any]) -> dict[str, tuple[bytes, str, dict[str, Any]]]:
    """Type and version, and then: the block, its CID and the data in the newest form."""
    kept = json.loads(golden(decider).read_text(encoding="utf-8"))
    return {key: (bytes.fromhex(each["block"]), each["cid"], each["newest"]) for key, each in kept.items()}


@of_every_kind
def test_every_type_and_version_has_a_golden_block(decider: Decider[Any]) -> None:
    known = {each.key for each in published(decider)}
    kept = blocks(decider).keys()
    assert not known - kept, "run tests/golden/events.py and commit what it writes"
    assert not kept - known, "these were published once: a release must read them for ever"


@of_every_kind
def test_a_golden_block_has_its_cid_and_is_an_event_by_the_readers_rule(decider: Decider[Any]) -> None:
    for key, (block, cid, _) in blocks(decider).items():
        assert cid_text(cid_of(block)) == cid, key
        event = read_block(decider.kind, block)
        assert f"{event['type']}.{event['schema_version']}" == key


@of_every_kind
def test_the_same_data_are_sealed_into_the_same_bytes(decider: Decider[Any]) -> None:
    kept = blocks(decider)
    for each in published(decider):
        block, cid, _ = kept[each.key]
        again, its_cid = block_of(decider, each, decode(block)["data"])
        assert (again, cid_text(its_cid)) == (block, cid), each.key


@of_every_kind
def test_every_golden_block_is_read_in_the_newest_form(decider: Decider[Any]) -> None:
    for key, (block, _, newest) in blocks(decider).items():
        stored = decode(block)
        event = decider.read_event(stored["type"], stored["schema_version"], stored["data"])
        assert decider.event_data(event) == newest, key
        assert stored == decode(block), f"reading {key} changed it"
        assert decider.evolve(decider.initial, event) is not None


@of_every_kind
def test_what_is_written_today_is_the_newest_golden_form(decider: Decider[Any]) -> None:
    """Written data of the newest version are those that were frozen: no member gone, renamed or said otherwise."""
    kept = blocks(decider)
    for name, spec in decider.events.items():
        block, _, newest = kept[f"{name}.{spec.schema_version}"]
        assert decode(block)["data"] == newest


@of_every_kind
def test_the_data_of_a_golden_block_fit_the_schema_of_their_version(decider: Decider[Any]) -> None:
    for each in published(decider):
        block, _, _ = blocks(decider)[each.key]
        schema = find(f"urn:annals:schema:{decider.kind}:{each.name}:{each.version}")
        assert schema is not None
        Draft202012Validator(schema.schema).validate(decode(block)["data"])
