"""aiokafka's membership in a consumer group, made to last: no error ends it, each is named and tried again.

aiokafka holds its coordination still after an error that it cannot mend, until somebody calls a method of the consumer
that raises it. Nothing here calls one: the worker stayed outside of the group for good. The same after any exception
in its own task. A stop is heard in every state: each wait here ends with it.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Final

from aiokafka.client import ConnectionGroup
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.coordinator.protocol import ConsumerProtocol, ConsumerProtocolMemberAssignment
from aiokafka.errors import (
    CommitFailedError,
    GroupLoadInProgressError,
    KafkaConnectionError,
    KafkaError,
    NoError,
    RebalanceInProgressError,
    UnknownTopicOrPartitionError,
)
from aiokafka.protocol.group import HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest, SyncGroupRequest

from annals.agents.cancellation import is_task_cancelled
from annals.workers.clock import loop_time
from annals.workers.kafka.group.instances import InstanceHeartbeatRequest, group_members
from annals.workers.kafka.group.refusals import CODES, FencedInstanceError

if TYPE_CHECKING:
    from annals.workers.kafka.group.instances import Member
    from annals.workers.kafka.group.membership import Membership


LOADS_S: Final = 0.2  # what a coordinator that loads its groups is not asked within: that may take minutes
LOOK_S: Final = 1.0  # at who has the instance id of a member that was replaced
LEAVE_WITHIN_S: Final = 3.0  # the brokers may be out of reach, and the process is to end
_JOINING_REQUESTS: Final = (JoinGroupRequest, SyncGroupRequest)
_STILL_A_MEMBER: Final = (NoError.errno, RebalanceInProgressError.errno)
_MEMBERSHIP_REQUESTS: Final = (JoinGroupRequest, SyncGroupRequest, InstanceHeartbeatRequest, HeartbeatRequest)


class LastingCoordinator(GroupCoordinator):
    """aiokafka's coordinator, which behaves as aiokafka's until it is given `membership`."""

    membership: Membership | None = None
    _commit_refresh_task: asyncio.Task[None] | None
    _answer: type[KafkaError] | None = None  # the last refusal, of which aiokafka keeps no more than its text

    async def _send_req(self, request: Any) -> Any:
        if isinstance(request, HeartbeatRequest) and self.membership is not None and self._group_instance_id:
            request = InstanceHeartbeatRequest(self.group_id, self.generation, self.member_id, self._group_instance_id)
        if self.membership is None or not isinstance(request, _MEMBERSHIP_REQUESTS):
            return await super()._send_req(request)
        return await self._ask_group(request, self.membership)

    async def _do_commit_offsets(self, assignment: Any, offsets: Any) -> None:
        """Commit once. For a topic that was deleted aiokafka would ask without end, and no rebalance could begin."""
        try:
            await super()._do_commit_offsets(assignment, offsets)
        except UnknownTopicOrPartitionError as error:
            # In the words by which Faust knows that nothing is wrong with the application.
            raise CommitFailedError(
                f"{error}: a topic is gone, and the group is about to be or already rebalanced"
            ) from error

    async def _ask_group(self, request: Any, membership: Membership) -> Any:
        is_joining, asked_at = isinstance(request, _JOINING_REQUESTS), loop_time()
        if is_joining:
            membership.asks_to_join()
        response = await (self._join(request) if is_joining else super()._send_req(request))
        self._answer = CODES.get(response.error_code)
        if response.error_code in _STILL_A_MEMBER:
            membership.answered(asked_at, self._session_timeout_ms / 1000)
        elif response.error_code == GroupLoadInProgressError.errno:
            await self._pause(LOADS_S)
        return response

    async def _join(self, request: Any) -> Any:
        """Send a request to join: it is answered when all members have joined, maybe a session later, or the stop.

        The broker takes nothing else from its connection before that. Who is to stop therefore leaves over another one,
        whereupon the broker answers here that there is no such member.

        Raises:
            KafkaConnectionError: a stop came first.
        """
        if self._closing.done():
            raise KafkaConnectionError("stopped before it joined the group")
        node = self.coordinator_id
        answer = asyncio.ensure_future(super()._send_req(request))
        try:
            await asyncio.wait([answer, self._closing], return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                with contextlib.suppress(KafkaError, TimeoutError):
                    async with asyncio.timeout(LEAVE_WITHIN_S):
                        if self.member_id and self._group_instance_id is None:
                            await self._client.send(node, LeaveGroupRequest(self.group_id, self.member_id))
                        await asyncio.wait([answer])
            if answer.done():
                return await answer
        finally:
            answer.cancel()
        connection = self._client._conns.get((node, ConnectionGroup.COORDINATION))  # noqa: SLF001 - it has no other way
        if connection is not None:
            connection.close()
        raise KafkaConnectionError("stopped while it joined the group")

    async def _push_error_to_user(self, exc: BaseException) -> Any:
        if self.membership is None:
            return await super()._push_error_to_user(exc)
        error = self._answer() if self._answer is not None and type(exc) is KafkaError else exc
        self._answer = None
        if isinstance(error, FencedInstanceError):
            await self._await_instance_id(self.membership)
        else:
            await self._pause(self.membership.failed(error))
        self._replace_ended_tasks()
        return None

    async def _coordination_routine(self) -> None:
        while True:
            try:
                # without aiokafka's wrapper, which would raise the error in those who fetch, and end the app with it
                await self._GroupCoordinator__coordination_routine()
            except (Exception, asyncio.CancelledError) as error:
                if self.membership is None or is_task_cancelled():
                    raise
                import structlog  # noqa: PLC0415 - a client of this module's consumer starts without it, which takes 0.1 s

                log = structlog.get_logger(__name__)
                log.exception("the group's coordination failed; starting it again", group=self.group_id)
                await self._pause(self.membership.failed(error))
                await self._stop_heartbeat_task()
                self._performed_join_prepare = False
                self.request_rejoin()
            else:
                return

    async def _on_join_complete(self, generation: int, member_id: str, protocol: str, assignment: bytes) -> None:
        decoded = ConsumerProtocol.ASSIGNMENT.decode(assignment)
        topics = self._subscription.topics
        own = [(topic, partitions) for topic, partitions in decoded.assignment if topic in topics]
        foreign = [topic for topic, _ in decoded.assignment if topic not in topics]
        if foreign:  # aiokafka would take that for a defect of its own
            assignment = ConsumerProtocolMemberAssignment(decoded.version, own, decoded.user_data).encode()
        await super()._on_join_complete(generation, member_id, protocol, assignment)
        if self.membership is not None:
            self.membership.joined()
            if foreign:
                self.membership.misassigned(foreign)
            if self._group_instance_id is not None and self._lookup_assignor(protocol).is_outdated:
                self.request_rejoin()

    async def _maybe_leave_group(self) -> None:
        if self.membership is not None and not self._closing.done():
            self.membership.left(f"nothing was fetched for {self._max_poll_interval:g} s, the worker hangs")
        if self.generation <= 0 and self.member_id and self.membership is not None and self._group_instance_id is None:
            with contextlib.suppress(
                KafkaError, TimeoutError
            ):  # it has its id, and is waited for until its session ends
                async with asyncio.timeout(LEAVE_WITHIN_S):
                    await self._send_req(LeaveGroupRequest(self.group_id, self.member_id))
        await super()._maybe_leave_group()

    async def _await_instance_id(self, membership: Membership) -> None:
        """Give the partitions back, and wait until no other member has this one's instance id.

        To join at once would throw the other one out, who would do the same: each would decide for two seconds.
        """
        membership.replaced(None)
        self.reset_generation()
        await self._stop_heartbeat_task()
        if not self._performed_join_prepare:
            await self._on_join_prepare(self._subscription.subscription.assignment)
            self._performed_join_prepare = True
        while not self._closing.done():
            try:
                other = await self._namesake()
            except KafkaError:
                await self._pause(LOOK_S)
                continue
            if other is None:
                return
            membership.replaced(other.host)
            await self._pause(LOOK_S)

    async def _namesake(self) -> Member | None:
        """Return the member that has this one's instance id."""
        await self.ensure_coordinator_known()
        if self.coordinator_id is None:  # closing
            return None
        members = await group_members(self._client, self.coordinator_id, self.group_id)
        return next((member for member in members if member.instance_id == self._group_instance_id), None)

    def _replace_ended_tasks(self) -> None:
        """Let tasks that failed be started again: aiokafka would find them ended, and fail with them for ever."""
        if self._heartbeat_task is not None and self._heartbeat_task.done():
            self.request_rejoin()
        if self._commit_refresh_task is not None and self._commit_refresh_task.done():
            subscription = self._subscription.subscription
            self._commit_refresh_task = None
            if subscription is not None and subscription.assignment is not None:
                self.start_commit_offsets_refresh_task(subscription.assignment)

    async def _pause(self, seconds: float) -> None:
        await asyncio.wait([self._closing], timeout=seconds)
