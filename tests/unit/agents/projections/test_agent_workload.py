"""Agents' workloads: counts of events that are as large as an integer may be."""

from __future__ import annotations

from annals.agents.projections.agent_workload import AGENT_WORKLOAD, Agent
from annals.agents.testing.projections import given_events
from annals.schemas.kinds.agent import AgentDeployed, TaskCompleted
from annals.schemas.wire.strict_json import MOST_INTEGER


def test_tokens_beyond_the_greatest_integer_stay_at_it() -> None:
    deployed = AgentDeployed(name="a", agent_type="assistant", owner_id="p-1", capacity=1)
    done = [
        TaskCompleted(task_id=str(number), result={}, confidence=1, input_tokens=3, output_tokens=tokens)
        for number, tokens in enumerate((1, MOST_INTEGER, MOST_INTEGER))
    ]
    (row,) = given_events("agent", "a-1", deployed, *done).project(AGENT_WORKLOAD).rows().values()
    assert isinstance(row, Agent)
    assert (row.completed, row.input_tokens, row.output_tokens) == (3, 9, MOST_INTEGER)
