"""What changed of the topics is named once, by whoever sees it first."""

import asyncio
from collections.abc import Iterable

import pytest
from structlog.testing import capture_logs

from annals.topics.catalog import catalogue
from annals.workers import topic_watch
from annals.workers.kafka.admin.cluster import TopicFacts
from annals.workers.kafka.admin.findings import Finding, Report, compare
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
    *,
    tells_warnings: bool = False,
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

    watch = TopicWatch(look, lambda: named, tells_warnings=tells_warnings)
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
        assert await problems([], [], monkeypatch, [RESTORE, COMPACTED], tells_warnings=True) == []
    assert [line["what"] for line in logs] == [str(RESTORE)]


async def test_topics_that_were_made_with_another_number_of_partitions_are_not_told_of_as_changed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What a start warns of, it has said."""
    made = {
        each.name: TopicFacts(each.name, 4, 1, each.config, {}) for each in catalogue(partitions=4, kinds=["person"])
    }
    found = compare(catalogue(partitions=12, kinds=["person"]), made, 12).warnings
    assert ("partitions", "4", "12") in [(each.setting, each.found, each.wanted) for each in found]
    with capture_logs() as logs:
        assert await problems([], [], monkeypatch, found) == []
    assert logs == []
