"""A research workflow on the wire: what `definition: research` says in its parameters and its results.

Both are free objects of a workflow; here is what is known of them. Other members are let be.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import UNSET, UnsetType

from annals.schemas.data.complaints import complaints
from annals.schemas.values.constraints import type_hints
from annals.schemas.values.fields import Count, Score, Text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

DEFINITION: Final = "research"
MIN_CONFIDENCE: Final = 0.7
"""What `min_confidence` is when it is not given."""


class Methodology(msgspec.Struct, frozen=True, gc=False):
    """How it is to be found out, by whom and in what time. Each phase is a step."""

    name: Text | UnsetType = UNSET
    phases: list[Text] | UnsetType = UNSET
    agent_types: list[Text] | UnsetType = UNSET
    estimated_minutes: Count | UnsetType = UNSET


class Parameters(msgspec.Struct, frozen=True, gc=False):
    """What is to be found out, and how certain the answer has to be."""

    question: Text
    methodology: Methodology
    min_confidence: Score = MIN_CONFIDENCE


class Finding(msgspec.Struct, frozen=True, gc=False):
    """One thing that was found out, with the addresses that say so. Its title, content and confidence are not read."""

    source_urls: list[str] = []


class Source(msgspec.Struct, frozen=True, gc=False):
    """One source that was read. Its title, relevance and the day of access are not read."""

    url: str


class Results(msgspec.Struct, frozen=True, gc=False):
    """What came of it, as far as the rules of research look at it."""

    summary: str = ""
    findings: list[Finding] = []
    sources: list[Source] = []
    confidence: Score | None = None


def has_question(parameters: Mapping[str, Any]) -> bool:
    """Whether there is anything to find out."""
    question = parameters.get("question")
    return question is not None and (not isinstance(question, str) or bool(question.strip()))


def parameter_problems(parameters: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What is malformed in the parameters of research. That there is no question at all is a rule's to say."""
    if has_question(parameters):
        yield from complaints(Parameters, _known(parameters), "parameters")


def _known(parameters: dict[str, Any]) -> dict[str, Any]:
    """The parameters without the members that nothing is known of."""
    known = {name: parameters[name] for name in type_hints(Parameters).keys() & parameters.keys()}
    if isinstance(methodology := known.get("methodology"), dict):
        known["methodology"] = {name: methodology[name] for name in type_hints(Methodology).keys() & methodology.keys()}
    return known


def with_defaults(parameters: dict[str, Any]) -> dict[str, Any]:
    """The parameters as an event carries them."""
    return {"min_confidence": MIN_CONFIDENCE} | parameters


def read_results(results: dict[str, Any]) -> Results:
    """The results as far as rules look at them.

    Raises:
        msgspec.ValidationError: they are none of research.
    """
    return msgspec.convert(results, Results)
