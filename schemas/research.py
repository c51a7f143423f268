"""A research workflow on the wire: what `definition: research` says in its parameters and its results.

Both are free objects of a workflow; here is what is known of them. Other members are let be.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from schemas.complaints import complaints
from schemas.fields import Count, Score, Text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

DEFINITION: Final = "research"
MIN_CONFIDENCE: Final = 0.7
"""What `min_confidence` is when it is not given."""

_PARAMETERS: Final[Mapping[str, Any]] = {"question": Text, "min_confidence": Score, "methodology": dict[str, Any]}
_METHODOLOGY: Final[Mapping[str, Any]] = {
    "name": Text,
    "phases": list[Text],
    "agent_types": list[Text],
    "estimated_minutes": Count,
}


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


def parameter_problems(parameters: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What is malformed in the parameters of research. That there is no question at all is a rule's to say."""
    if not has_question(parameters):
        return
    yield from _problems(_PARAMETERS, parameters, "parameters")
    if "methodology" not in parameters:
        yield "parameters.methodology", "is required for research"
    elif isinstance(parameters["methodology"], dict):
        yield from _problems(_METHODOLOGY, parameters["methodology"], "parameters.methodology")


def _problems(members: Mapping[str, Any], values: Mapping[str, Any], path: str) -> Iterator[tuple[str, str]]:
    for name, annotation in members.items():
        if name in values:
            yield from complaints(annotation, values[name], f"{path}.{name}")


def with_defaults(parameters: dict[str, Any]) -> dict[str, Any]:
    """The parameters as an event carries them."""
    return {"min_confidence": MIN_CONFIDENCE} | parameters


def read_results(results: dict[str, Any]) -> Results:
    """The results as far as rules look at them.

    Raises:
        msgspec.ValidationError: they are none of research.
    """
    return msgspec.convert(results, Results)
