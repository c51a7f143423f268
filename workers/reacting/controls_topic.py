"""The topic `reactions`: followed by reactors (the `Controls` port), written by one administrator at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
import structlog
from aiokafka.errors import TopicAuthorizationFailedError
from aiokafka.structs import TopicPartition

from annals.agents.reacting.ports import Kept
from annals.schemas.depth import decoded
from annals.schemas.reaction_rows import Control
from annals.workers.kafka.connections import MissingTopicError
from annals.workers.kafka.read.followed_topic import FollowedTopic
from annals.workers.kafka.read.invalid_records import PASSED_OVER
from annals.workers.kafka.read.newest_records import read_newest
from annals.workers.publishing.followed_writer import FollowedTopicWriter

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiokafka.client import AIOKafkaClient

    from annals.schemas.progress import Progress
    from annals.topics.names import TopicNames
    from annals.workers.kafka.read.invalid_records import InvalidRecords

log = structlog.get_logger(__name__)

LOOK_S: Final = 0.2
_CONTROL: Final = msgspec.json.Decoder(Control)


def _kept(key: bytes | None, value: bytes, offset: int) -> Kept:
    del key  # any: a release may have reactions that another does not know
    return Kept(decoded(_CONTROL.decode, value), offset)


async def read_controls(client: AIOKafkaClient, names: TopicNames) -> dict[str, Kept]:
    """Return the newest valid record of each reaction, once no transaction is open."""
    return await read_newest(client, TopicPartition(names.reactions, 0), _kept)


class FollowedControls(FollowedTopic[Kept]):
    """Which reactions run, read again and again."""

    def __init__(self, options: Mapping[str, Any], names: TopicNames, invalid: InvalidRecords = PASSED_OVER) -> None:
        """Take aiokafka client options, and what takes note of records that are none."""
        invalid.expect(names.reactions)
        super().__init__(options, names.reactions, _kept, invalid, LOOK_S)
        self._is_told = False

    def get(self, name: str) -> Kept | None:
        """Return what is known of a reaction."""
        return self._all.get(name)

    async def until_changed(self, name: str, known: Kept | None) -> None:
        """Wait until it is no longer what somebody knows."""
        while self._all.get(name) == known:
            await self._changed.wait()

    def _failed(self, error: Exception) -> None:
        is_taken_away = self._is_read.is_set() and isinstance(error, TopicAuthorizationFailedError)
        if is_taken_away or not isinstance(error, MissingTopicError | TopicAuthorizationFailedError):
            super()._failed(error)
            return
        # A deployment whose topics or rights are of an earlier release: nobody can have resumed any.
        if not self._is_told:
            log.warning("no reaction runs", reason=f"{type(error).__name__}: {error}")
        self._is_told, self.problem = True, None

    def _tell(self, problem: str) -> None:
        log.warning("it is not known which reactions run", reason=problem)


class ControlsWriter(FollowedTopicWriter):
    """One writing of the topic: fence, write, commit."""

    def __init__(
        self, options: Mapping[str, Any], names: TopicNames, app_id: str, name: str, progress_name: str
    ) -> None:
        """Take aiokafka client options, the reaction's name, and what stands for it in the keys of progress."""
        super().__init__(options, names, names.reactions, names.reacting_group(app_id, name))
        self._name = name
        self._progress_name = progress_name

    async def commit(self, control: Control, begins: Mapping[int, Progress], events_topic: str) -> None:
        """Write whether it runs, and the progress of the partitions in which it begins, in one transaction."""
        progress = ((self._progress_name, events_topic, partition, each) for partition, each in begins.items())
        await self.commit_with(self._name.encode(), msgspec.json.encode(control), progress)
