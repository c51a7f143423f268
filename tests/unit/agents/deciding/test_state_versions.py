"""A state's encoding changes only together with its version: an older snapshot is then ignored instead of misread."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from annals.agents.aggregates import REGISTRY
from annals.agents.deciding.state_layouts import layout

sys.path.insert(0, str(Path(__file__).parents[3] / "golden"))
from states import golden

if TYPE_CHECKING:
    from annals.agents.deciding.decider import Decider


@pytest.mark.parametrize("decider", REGISTRY.values(), ids=REGISTRY.keys())
def test_a_state_has_the_layout_of_its_version(decider: Decider[Any]) -> None:
    kept = json.loads(golden(decider).read_text(encoding="utf-8"))
    advice = "raise state_version in agents/aggregates, then run tests/golden/states.py"
    assert layout(decider) == kept, f"the state of {decider.kind} is encoded otherwise than its version says: {advice}"


@pytest.mark.parametrize("decider", REGISTRY.values(), ids=REGISTRY.keys())
def test_a_state_is_encoded_without_the_names_of_its_members(decider: Decider[Any]) -> None:
    encoded = decider.encode_state(decider.initial)
    assert b"status" not in encoded
    assert decider.decode_state(encoded) == decider.initial
