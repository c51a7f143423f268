"""A workflow whose definition is `research`: its form and its rules."""

from __future__ import annotations

from typing import Any

import pytest

from annals.agents.testing import given
from annals.schemas.kinds.workflow import (
    CompleteWorkflow,
    DefineWorkflow,
    StartWorkflow,
    StepAdded,
    StepApproved,
    StepStarted,
    WorkflowCompleted,
    WorkflowDefined,
    WorkflowStarted,
)
from annals.schemas.values.refs import ActorRef, OwnerRef

LAB = OwnerRef(kind="organization", id="o-1")
METHODOLOGY = {
    "name": "Literature review",
    "phases": ["scope", "search", "analyse", "synthesise", "critique", "approve"],
    "agent_types": ["researcher", "analyst", "reviewer"],
    "estimated_minutes": 90,
}
PARAMETERS = {"question": "Why do chains hold?", "methodology": METHODOLOGY}
DEFINED = WorkflowDefined(
    name="Study", definition="research", owner=LAB, parameters={**PARAMETERS, "min_confidence": 0.7}
)
READ = StepAdded(step_id="read", name="Read", step_type="automated", optional=True)
APPROVE = StepAdded(step_id="approve", name="Approve", step_type="approval", assignee=ActorRef(kind="person", id="p-1"))
RUN = (
    READ,
    APPROVE,
    WorkflowStarted(),
    StepStarted(step_id="approve", attempt=1),
    StepApproved(step_id="approve", approver_id="p-1", approved=True),
)
RESULTS = {
    "summary": "They hold because each link names the one before.",
    "findings": [
        {
            "title": "Links",
            "content": "Each has the hash of the one before.",
            "confidence": 0.9,
            "source_urls": ["https://a.example"],
        }
    ],
    "sources": [
        {"url": "https://a.example", "title": "On chains", "relevance": 0.9, "accessed_at": "2026-01-01T00:00:00Z"}
    ],
    "confidence": 0.8,
}


def define(**parameters: Any) -> DefineWorkflow:
    return DefineWorkflow(name="Study", definition="research", owner=LAB, parameters=parameters)


# --- Definition ------------------------------------------------------------------------------------------------------


def test_the_event_of_a_definition_carries_the_confidence_that_was_not_given() -> None:
    given().when(define(**PARAMETERS)).then(DEFINED)
    given(DEFINED).when(define(**PARAMETERS)).then_nothing()
    given(DEFINED).when(define(**PARAMETERS, min_confidence=0.7)).then_nothing()
    given(DEFINED).when(define(**PARAMETERS, min_confidence=0.8)).then_not_open("draft")


def test_a_confidence_that_was_given_stays() -> None:
    parameters = {**PARAMETERS, "min_confidence": 1}
    given().when(define(**parameters)).then(
        WorkflowDefined(name="Study", definition="research", owner=LAB, parameters=parameters)
    )


@pytest.mark.parametrize("parameters", [{}, {"question": None}, {"question": ""}, {"question": " \n"}])
def test_research_has_a_question(parameters: dict[str, Any]) -> None:
    given().when(define(**parameters)).then_refused("question_missing")
    given().when(define(methodology=METHODOLOGY, **parameters)).then_refused("question_missing")


def test_research_without_parameters_has_no_question() -> None:
    given().when(DefineWorkflow(name="Study", definition="research", owner=LAB)).then_refused("question_missing")


def test_another_definition_needs_none() -> None:
    given().when(DefineWorkflow(name="Study", definition="review", owner=LAB, parameters={})).then(
        WorkflowDefined(name="Study", definition="review", owner=LAB, parameters={})
    )


@pytest.mark.parametrize(
    ("parameters", "paths"),
    [
        ({"question": "Why?"}, ["methodology"]),
        ({"question": "Why?", "methodology": "reading"}, ["methodology"]),
        ({"question": 7, "methodology": {}}, ["question"]),
        ({"question": " Why?", "methodology": {}}, ["question"]),
        (
            {"question": "Why?\x00", "methodology": {"name": "Reading ", "phases": ["scope", " search"]}},
            ["question", "methodology.name", "methodology.phases[1]"],
        ),
        ({"question": "Why?", "methodology": {}, "min_confidence": 1.5}, ["min_confidence"]),
        ({"question": "Why?", "methodology": {}, "min_confidence": True}, ["min_confidence"]),
        (
            {"question": "x" * 201, "methodology": {"name": "", "phases": "all", "estimated_minutes": -1}},
            ["question", "methodology.name", "methodology.phases", "methodology.estimated_minutes"],
        ),
    ],
)
def test_malformed_parameters_are_named_by_their_paths(parameters: dict[str, Any], paths: list[str]) -> None:
    data = {"name": "S", "definition": "research", "owner": {"kind": "person", "id": "p"}, "parameters": parameters}
    given().when_sent("DefineWorkflow", data, kind="workflow").then_invalid(*[f"data.parameters.{p}" for p in paths])


def test_parameters_may_say_more_than_the_rules_look_at() -> None:
    parameters = {"question": "Why?", "methodology": {"name": "Reading", "room": 12}, "min_confidence": 0, "x": None}
    given().when(define(**parameters)).then(
        WorkflowDefined(name="Study", definition="research", owner=LAB, parameters=parameters)
    )


# --- Start -----------------------------------------------------------------------------------------------------------


def test_research_is_started_with_a_step_of_approval() -> None:
    given(DEFINED).when(StartWorkflow()).then_refused("steps_missing")
    given(DEFINED, READ).when(StartWorkflow()).then_refused("approval_step_missing")
    given(DEFINED, READ, APPROVE).when(StartWorkflow()).then(WorkflowStarted())


# --- Results ---------------------------------------------------------------------------------------------------------


def test_research_is_completed_once_with_its_results() -> None:
    given(DEFINED, *RUN).when(CompleteWorkflow(results=RESULTS)).then(WorkflowCompleted(results=RESULTS))
    given(DEFINED, *RUN, WorkflowCompleted(results=RESULTS)).when(CompleteWorkflow(results=RESULTS)).then_nothing()


def test_open_steps_are_named_before_weak_results() -> None:
    given(DEFINED, *RUN[:-1]).when(CompleteWorkflow()).then_refused("steps_open")


def test_research_without_results_is_not_completed() -> None:
    given(DEFINED, *RUN).when(CompleteWorkflow()).then_refused("results_missing")


@pytest.mark.parametrize(
    "results",
    [
        {},
        {"confidence": 0.9},
        {"summary": "", "findings": []},
        RESULTS | {"findings": "many"},
        RESULTS | {"sources": 1},
    ],
)
def test_results_without_substance_are_none(results: dict[str, Any]) -> None:
    given(DEFINED, *RUN).when(CompleteWorkflow(results=results)).then_refused("results_missing")


@pytest.mark.parametrize(
    ("urls", "is_sound"),
    [
        ([], False),
        (["https://b.example"], False),
        (["https://a.example"], True),
        (["https://b.example", "https://a.example"], True),
    ],
)
def test_each_finding_has_a_listed_source(urls: list[str], is_sound: bool) -> None:  # noqa: FBT001
    results = RESULTS | {"findings": [*RESULTS["findings"], {"title": "More", "source_urls": urls}]}
    answer = given(DEFINED, *RUN).when(CompleteWorkflow(results=results))
    if is_sound:
        answer.then(WorkflowCompleted(results=results))
    else:
        answer.then_refused("source_missing")


@pytest.mark.parametrize(
    ("confidence", "least", "is_sound"),
    [
        (0.7, 0.7, True),
        (0.69, 0.7, False),
        (1, 1, True),
        (0.99, 1, False),
        (0, 0, True),
    ],
)
def test_results_are_as_certain_as_they_have_to_be(confidence: float, least: float, is_sound: bool) -> None:  # noqa: FBT001
    defined = WorkflowDefined(
        name="Study", definition="research", owner=LAB, parameters={**PARAMETERS, "min_confidence": least}
    )
    results = RESULTS | {"confidence": confidence}
    answer = given(defined, *RUN).when(CompleteWorkflow(results=results))
    if is_sound:
        answer.then(WorkflowCompleted(results=results))
    else:
        answer.then_refused("confidence_too_low")


def test_results_that_do_not_say_how_certain_they_are_are_not_certain_enough() -> None:
    unsure = {name: value for name, value in RESULTS.items() if name != "confidence"}
    given(DEFINED, *RUN).when(CompleteWorkflow(results=unsure)).then_refused("confidence_too_low")


def test_another_definition_may_end_with_any_results() -> None:
    other = WorkflowDefined(name="Study", definition="review", owner=LAB)
    given(other, *RUN).when(CompleteWorkflow(results={"confidence": "none"})).then(
        WorkflowCompleted(results={"confidence": "none"})
    )
