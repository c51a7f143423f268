"""The measures of parking, each taken out: what a mutation changes, for a test that must go red with it."""

from typing import Any

import pytest
from msgspec.structs import replace
from publishing_measures import Patch

from annals.agents.ports import UncertainError
from annals.agents.publishing.delivering.machine import Deliveries
from annals.agents.publishing.delivering.ports import DeliveryWrites
from annals.schemas import delivery
from annals.workers.publishing import parked
from annals.workers.publishing.delivery_log import KafkaDeliveryLog
from annals.workers.publishing.parked import ParkedService
from annals.workers.publishing.parked_decisions import Decisions


def rows_behind_the_fence(patch: pytest.MonkeyPatch) -> None:
    """Rows are not read again behind the fence: those that were found before are decided about, whatever they are."""
    patch.setattr(Decisions, "_take", lambda self, key, row: None)


def uncertain_looked_at(patch: pytest.MonkeyPatch) -> None:
    """What is uncertain is taken for decided."""
    deliver = KafkaDeliveryLog.deliver

    async def certain(self: Any, writes: DeliveryWrites) -> None:
        try:
            await deliver(self, writes)
        except UncertainError:
            if not any(row is not None and row.by for row in writes.rows.values()):
                raise

    patch.setattr(KafkaDeliveryLog, "deliver", certain)


def stop_at(patch: pytest.MonkeyPatch) -> None:
    """What was parked meanwhile is taken along."""

    async def none_is_later(*_: Any) -> tuple[()]:
        return ()

    patch.setattr(ParkedService, "_parked_from", none_is_later)


def reason_of_a_discard(patch: pytest.MonkeyPatch) -> None:
    """Why something was discarded is not kept."""
    discarded = delivery.discarded
    patch.setattr(parked, "discarded", lambda row, now, by, _: discarded(row, now, by, row.reason))


def who_decided(patch: pytest.MonkeyPatch) -> None:
    """Who replayed something is not kept."""
    replayed = delivery.replayed
    patch.setattr(parked, "replayed", lambda row, now, by: replayed(row, now))


def record_with_its_row(patch: pytest.MonkeyPatch) -> None:
    """The record of what is parked is written before its row."""
    deliver = KafkaDeliveryLog.deliver

    async def in_two(self: Any, writes: DeliveryWrites) -> None:
        if writes.parked and self.before is not None:
            await deliver(self, DeliveryWrites({}, self.before, writes.at, parked=writes.parked))
            writes = writes._replace(parked=())
        await deliver(self, writes)
        self.before = writes.progress

    patch.setattr(KafkaDeliveryLog, "before", None, raising=False)
    patch.setattr(KafkaDeliveryLog, "deliver", in_two)


def parked_keys(patch: pytest.MonkeyPatch) -> None:
    """Whoever opens does not know what is parked: the next event of the aggregate passes it."""
    patch.setattr(Deliveries, "take_up_parked", lambda self, keys: None)


def attempts_that_go_on(patch: pytest.MonkeyPatch) -> None:
    """The attempts of what is replayed begin anew."""
    replayed = delivery.replayed

    def anew(row: Any, now: int, by: str) -> Any:
        found = replayed(row, now, by)
        return found and replace(found, attempt=0)

    patch.setattr(parked, "replayed", anew)


MEASURES: list[Patch] = [
    rows_behind_the_fence,
    uncertain_looked_at,
    stop_at,
    reason_of_a_discard,
    who_decided,
    record_with_its_row,
    parked_keys,
    attempts_that_go_on,
]
