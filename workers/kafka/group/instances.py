"""What the group protocol says of static members, in versions of two requests that aiokafka does not have.

Source: kafka.apache.org/protocol; KIP-345 (static membership).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from aiokafka.client import CoordinationType
from aiokafka.errors import for_code
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.group import LeaveGroupRequest
from aiokafka.protocol.types import Array, Boolean, Bytes, Int16, Int32, Schema, String

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aiokafka.client import AIOKafkaClient

_TEXT: Final = String("utf-8")
_WITHOUT_OPERATIONS: Final = False  # that a user is authorized to


class _HeartbeatResponse(Response):
    API_KEY = 12
    API_VERSION = 3
    SCHEMA = Schema(("throttle_time_ms", Int32), ("error_code", Int16))


class _Heartbeat(RequestStruct):
    API_KEY = 12
    API_VERSION = 3
    RESPONSE_TYPE = _HeartbeatResponse
    SCHEMA = Schema(("group", _TEXT), ("generation_id", Int32), ("member_id", _TEXT), ("group_instance_id", _TEXT))


class InstanceHeartbeatRequest(Request[_Heartbeat]):
    """A static member's heartbeat: only with its instance id can the broker say that another member has that id."""

    API_KEY = 12

    def __init__(self, group: str, generation_id: int, member_id: str, instance_id: str) -> None:
        """Take what a heartbeat says."""
        self._content = group, generation_id, member_id, instance_id

    def build(self, request_struct_class: type[_Heartbeat]) -> _Heartbeat:
        """Return the request as it is sent."""
        return request_struct_class(*self._content)


class _GroupsResponse(Response):
    API_KEY = 15
    API_VERSION = 4
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "groups",
            Array(
                ("error_code", Int16),
                ("group", _TEXT),
                ("state", _TEXT),
                ("protocol_type", _TEXT),
                ("protocol", _TEXT),
                (
                    "members",
                    Array(
                        ("member_id", _TEXT),
                        ("group_instance_id", _TEXT),
                        ("client_id", _TEXT),
                        ("client_host", _TEXT),
                        ("member_metadata", Bytes),
                        ("member_assignment", Bytes),
                    ),
                ),
                ("authorized_operations", Int32),
            ),
        ),
    )


class _DescribeGroups(RequestStruct):
    API_KEY = 15
    API_VERSION = 4
    RESPONSE_TYPE = _GroupsResponse
    SCHEMA = Schema(("groups", Array(_TEXT)), ("include_authorized_operations", Boolean))


class _DescribeGroupsRequest(Request[_DescribeGroups]):
    API_KEY = 15

    def __init__(self, groups: Iterable[str]) -> None:
        self._groups = list(groups)

    def build(self, request_struct_class: type[_DescribeGroups]) -> _DescribeGroups:
        return request_struct_class(self._groups, _WITHOUT_OPERATIONS)


class Member(NamedTuple):
    """A member of a group, as its coordinator knows it."""

    member_id: str
    instance_id: str | None
    host: str


async def group_members(client: AIOKafkaClient, coordinator_id: int, group: str) -> list[Member]:
    """Return the members of a group.

    Raises:
        KafkaError: the coordinator does not answer, or refuses.
    """
    request: Any = _DescribeGroupsRequest([group])
    response = await client.send(coordinator_id, request)
    ((code, _, _, _, _, members, _),) = response.groups
    if code:
        raise for_code(code)
    return [Member(member_id, instance_id, host.lstrip("/")) for member_id, instance_id, _, host, _, _ in members]


async def leave_for(client: AIOKafkaClient, group: str, member_id: str) -> None:
    """Have a group's member leave that has ended without saying so: its partitions have owners a session earlier.

    Raises:
        KafkaError: the coordinator does not answer. That there is no such member any more is as good.
    """
    coordinator = await client.coordinator_lookup(CoordinationType.GROUP, group)
    await client.send(coordinator, LeaveGroupRequest(group, member_id))
