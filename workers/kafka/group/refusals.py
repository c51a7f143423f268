"""What the coordinator of a consumer group refuses a member with, by the codes of its answers."""

from __future__ import annotations

from typing import Final

from aiokafka.errors import (
    BrokerResponseError,
    GroupAuthorizationFailedError,
    InconsistentGroupProtocolError,
    InvalidGroupIdError,
    InvalidSessionTimeoutError,
)


class GroupFullError(BrokerResponseError):
    """The group has as many members as the brokers allow; aiokafka does not know this answer."""

    errno = 81
    message = "GROUP_MAX_SIZE_REACHED"
    description = "The consumer group has reached its maximum size."


class FencedInstanceError(BrokerResponseError):
    """Another member has this member's instance id; aiokafka does not know this answer."""

    errno = 82
    message = "FENCED_INSTANCE_ID"
    description = "Another member of the group has the same group.instance.id."


CODES: Final = {
    error.errno: error
    for error in (
        InconsistentGroupProtocolError,
        InvalidGroupIdError,
        InvalidSessionTimeoutError,
        GroupAuthorizationFailedError,
        GroupFullError,
        FencedInstanceError,
    )
}
