"""What changed of the topics is named once, by whoever sees it first."""

import asyncio
from collections.abc import Iterable

import pytest
from structlog.testing import capture_logs

from annals.workers import topic_watch
from annals.workers.kafka.admin.findings import Finding, Report
from annals.workers.topic_watch import TopicWatch

ADDED = Finding("commands.person", "partitions", "8", "4", "added")
FEWER = Finding("snapshots.person", "partitions", "2", "4", "made anew")
RESTORE = Finding("restore.person", "partitions", "8", "4", "added")
COMPACTED = Finding("commands.person", "cleanup.policy", "compact", "delete", "compacted")


async def problems(
    refusals: Iterable[Finding],
    named: Iterable[str],
    monkeypatch: pytest.MonkeyPatch,
    warnings: Iterable[Finding] = (),
) -> list[str]:
    monkeypatch.setattr(topic_watch, "LOOK_S", 0.0)
    looked = asyncio.Event()
    looks = 0

    async def look() -> Report:
        nonlocal looks
        looks += 1
        if looks == 2:
            looked.set()
        return Report(refusals=list(refusals), warnings=list(warnings))

    watch = TopicWatch(look, lambda: named)
    watching = asyncio.create_task(watch.run())
    await looked.wait()
    watching.cancel()
    await asyncio.wait([watching])
    return watch.problems


async def test_of_partitions_only_what_is_named_already_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Goes red when restore points in more partitions, or snapshots in fewer, are noticed by the next start alone."""
    refusals = [ADDED, FEWER, RESTORE, COMPACTED]
    told = await problems(refusals, ["commands.person"], monkeypatch)
    assert told == [str(FEWER), str(RESTORE), str(COMPACTED)]


async def test_where_nobody_else_counts_partitions_all_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await problems([ADDED], [], monkeypatch) == [str(ADDED)]


async def test_what_is_no_reason_not_to_be_ready_is_logged_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with capture_logs() as logs:
        assert await problems([], [], monkeypatch, [RESTORE, COMPACTED]) == []
    assert [line["what"] for line in logs] == [str(RESTORE)]
