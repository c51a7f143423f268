"""The rules that a workflow has beside its own when its definition is `research`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import UNSET, UnsetType

from annals.agents.deciding.refusals import Refused
from annals.schemas.kinds.research import MIN_CONFIDENCE, has_question, read_results

if TYPE_CHECKING:
    from collections.abc import Iterable

    from annals.schemas.kinds.research import Results

RESULTS_ARE: Final = "summary, findings (title, content, confidence, source_urls), sources (url, …) and confidence"


def refuse_no_question(parameters: dict[str, Any] | UnsetType) -> None:
    """Refuse research that asks nothing: `question_missing`."""
    if parameters is UNSET or not has_question(parameters):
        raise Refused("question_missing", "research needs a question in its parameters")


def refuse_no_approval(step_types: Iterable[str]) -> None:
    """Refuse research that nobody approves: `approval_step_missing`."""
    if "approval" not in step_types:
        raise Refused("approval_step_missing", "research needs a step of the type approval: AddStep first")


def refuse_weak_results(results: dict[str, Any] | UnsetType, parameters: dict[str, Any] | None) -> None:
    """Refuse results that are none, rest on nothing or are not certain enough.

    Raises:
        Refused: `results_missing`, `source_missing` or `confidence_too_low`.
    """
    read = _read(results)
    urls = {source.url for source in read.sources}
    if any(urls.isdisjoint(finding.source_urls) for finding in read.findings):
        raise Refused("source_missing", "a finding names none of the listed sources in its source_urls")
    least = (parameters or {}).get("min_confidence", MIN_CONFIDENCE)
    if read.confidence is None or read.confidence < least:
        raise Refused("confidence_too_low", "the results' confidence is below min_confidence, or is not given")


def _read(results: dict[str, Any] | UnsetType) -> Results:
    if results is UNSET:
        raise Refused("results_missing", f"research is completed with its results: {RESULTS_ARE}")
    try:
        read = read_results(results)
    except msgspec.ValidationError as wrong:
        raise Refused("results_missing", f"these are no results of research: {wrong}") from None
    if not read.summary and not read.findings:
        raise Refused("results_missing", f"the results have neither a summary nor findings; they are {RESULTS_ARE}")
    return read
