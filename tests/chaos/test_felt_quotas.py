"""Under a quota of the broker a worker goes on as fast as that allows, says so, and is itself again afterwards."""

import asyncio

import pytest
from chaos_commands import command
from chaos_scenario import Scenario, assert_clean
from chaos_workers import Worker, eventually

from quotas import WORKERS, alter

pytestmark = [pytest.mark.broker, pytest.mark.chaos]


def limit(scenario: Scenario, bytes_per_second: float | None) -> None:
    """How much workers may write; None: no bound."""
    asyncio.run(alter(scenario.bootstrap, WORKERS, producer_byte_rate=bytes_per_second))


def says_why(worker: Worker) -> tuple[int, str] | None:
    """The answer of readiness while it names a quota: not so between two waits, where a transaction is under way."""
    answer = worker.ask("/health/ready")
    return answer if "a quota" in answer[1] else None


def answers(scenario: Scenario, kind: str) -> int:
    return sum(len(records) for _, records in scenario.read().of("outcomes", kind))


def test_commands_that_wait_are_answered_under_a_quota(people: Scenario) -> None:
    limit(people, 10_000)
    try:
        people.send(
            command("person", f"p-{n}", f"c-{n}", "RegisterPerson", {"name": f"Ada {n}"}) for n in range(15_000)
        )
        worker = people.start()
        eventually(lambda: answers(people, "person") >= 6_000, "a batch of each shard is answered", told=worker.told)
        status, _ = eventually(lambda: says_why(worker), "it says why", told=worker.told)
        assert status == 503
        worker.until_logged("writes are throttled by a quota")
        assert worker.metric("annals_transactions_uncertain_total") == 0
    finally:
        limit(people, None)
    assert_clean(people.until_answered())
    worker.until_ready()
    assert worker.metric("annals_transactions_uncertain_total") == 0


def test_batches_that_a_quota_holds_up_in_the_middle_are_halved_until_they_pass(people: Scenario) -> None:
    limit(people, 50_000)
    try:
        people.send(command("person", f"p-{n}", f"c-{n}", "RegisterPerson", {"name": f"Ada {n}"}) for n in range(6_000))
        # record batches so small that those of a full batch go one after the other
        worker = people.start(plan={"event_batch_bytes": 100_000}, COMPRESSION="none")
        worker.until_logged("batches halved")
        eventually(lambda: answers(people, "person"), "some are answered", told=worker.told)
    finally:
        limit(people, None)
    assert_clean(people.until_answered())
    worker.until_ready()
    assert worker.metric("annals_transactions_uncertain_total") <= 2 * 12  # each shard once for each halving
    people.send(command("person", f"q-{n}", f"d-{n}", "RegisterPerson", {"name": f"Bea {n}"}) for n in range(2_000))
    worker.until_logged("batches have their full size again")
    assert_clean(people.until_answered())
