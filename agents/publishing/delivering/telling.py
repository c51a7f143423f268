"""What is told of one subscription's deliveries in one journal partition."""

from __future__ import annotations

from typing import TYPE_CHECKING

from annals.agents.publishing.delivering.machine import TAKEN
from annals.schemas.ack import EXTEND

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from annals.agents.publishing.delivering.answers import Answered
    from annals.agents.publishing.delivering.machine import Deliveries
    from annals.agents.publishing.delivering.ports import DeliveryTelemetry


class Telling:
    """Counts deliveries by what was made of them: what is posted may wait for its endpoint, and is not sent then."""

    def __init__(self, name: str, telemetry: DeliveryTelemetry) -> None:
        """Take the subscription's name."""
        self._name = name
        self._telemetry = telemetry

    def delivered(self, attempts: Collection[int]) -> None:
        """Count deliveries that were made, each by which attempt it was."""
        self._telemetry.published(self._name, len(attempts))
        self._telemetry.redelivered(self._name, sum(attempt > 1 for attempt in attempts))

    def posted(self, taken: Collection[tuple[Answered, str]]) -> None:
        """Count deliveries that were posted, by what became of the answers."""
        answers = [each.answer for each, result in taken if result == TAKEN]
        self.delivered([each.attempt for each in answers if each.is_made and each.verdict != EXTEND])

    def answers(self, results: Mapping[str, int]) -> None:
        """Count answers by what they were."""
        if results:
            self._telemetry.answers(self._name, results)

    def standing(self, machine: Deliveries, newly_parked: int, now_ms: int, failures: int, lag: int) -> None:
        """Say where it stands. now_ms: the time of day, in milliseconds since 1970; failures: of expressions."""
        self._telemetry.parked(self._name, newly_parked)
        self._telemetry.unsettled(self._name, machine.numbers)
        since = machine.parked_since
        self._telemetry.parked_since(self._name, None if since is None else min(since, now_ms))
        self._telemetry.failed(self._name, failures)
        self._telemetry.lag(self._name, lag)
