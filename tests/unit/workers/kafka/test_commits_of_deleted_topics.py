"""An offset of a topic that was deleted: aiokafka asked for ever to commit it, and the member never joined anew."""

from typing import Any

import pytest
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.errors import CommitFailedError, UnknownTopicOrPartitionError

from annals.workers.kafka.group.coordinator import LastingCoordinator


async def test_it_is_tried_once_and_fails_in_the_words_that_faust_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    async def unknown(_: Any, assignment: Any, offsets: Any) -> None:
        asked.append((assignment, offsets))
        raise UnknownTopicOrPartitionError("events.person")

    monkeypatch.setattr(GroupCoordinator, "_do_commit_offsets", unknown)
    coordinator = LastingCoordinator.__new__(LastingCoordinator)
    with pytest.raises(CommitFailedError, match="already rebalanced"):
        await coordinator._do_commit_offsets("assignment", {"p": 1})
    assert asked == [("assignment", {"p": 1})]
    assert not CommitFailedError.retriable  # else aiokafka goes on
