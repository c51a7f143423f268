"""Errors as RFC 9457 problem details, `type` `urn:annals:problem:<code>`: what clients are told, and no more."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

import msgspec

from annals.schemas.outcome import LONGEST_MESSAGE, LONGEST_PATH, MOST_FOUND

PROBLEM_TYPE: Final = "urn:annals:problem:"
PROBLEM_JSON: Final = "application/problem+json"

INVALID_REQUEST: Final = "invalid_request"
UNAUTHORIZED: Final = "unauthorized"
FORBIDDEN: Final = "forbidden"
NOT_FOUND: Final = "not_found"
METHOD_NOT_ALLOWED: Final = "method_not_allowed"
REQUEST_TIMEOUT: Final = "request_timeout"
TOO_LARGE: Final = "too_large"
UNSUPPORTED_MEDIA_TYPE: Final = "unsupported_media_type"
TOO_MANY_REQUESTS: Final = "too_many_requests"
INTERNAL_ERROR: Final = "internal_error"
BROKEN_CHAIN: Final = "broken_chain"
UNREADABLE_EVENT: Final = "unreadable_event"
NOT_READY: Final = "not_ready"
TIMEOUT: Final = "timeout"

RETRY_AFTER_S: Final = 1
LONGEST_DETAIL: Final = 2_000


class InvalidMember(msgspec.Struct, frozen=True):
    """What is wrong with a parameter or a member of the body, and where it is."""

    path: str
    message: str


class ProblemDetails(msgspec.Struct, frozen=True, omit_defaults=True):
    """The body of every error. Some codes have members of their own: the optional ones."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    errors: list[InvalidMember] | None = None
    position: Any = None
    outcome: Any = None
    command_id: str | None = None


class Problem(Exception):  # noqa: N818 - the RFC's word
    """An answer that is an error."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        headers: dict[str, str] | None = None,
        is_last: bool = False,
        **members: Any,
    ) -> None:
        """Take the status, the code that programs tell it by, what to tell people, and members beside those.

        is_last: the connection is closed behind it.
        """
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.headers = headers or {}
        self.is_last = is_last
        self.members = members

    def body(self, request_id: str) -> bytes:
        """Return the problem as JSON; `instance` names the request.

        What it says of a request has a limit: a name of a megabyte that offends would come back in every sentence.
        """
        members = self.members
        if members.get("errors"):
            members = members | {"errors": [_cut(error) for error in members["errors"][:MOST_FOUND]]}
        return msgspec.json.encode(
            {
                "type": PROBLEM_TYPE + self.code,
                "title": HTTPStatus(self.status).phrase,
                "status": self.status,
                "detail": self.detail[:LONGEST_DETAIL],
                "instance": f"urn:annals:request:{request_id}",
                "code": self.code,
                **members,
            }
        )


def _cut(error: InvalidMember) -> InvalidMember:
    return InvalidMember(error.path[:LONGEST_PATH], error.message[:LONGEST_MESSAGE])


def invalid(path: str, message: str) -> Problem:
    """Return the problem of one wrong parameter or member."""
    return all_invalid([InvalidMember(path, message)])


def all_invalid(errors: list[InvalidMember]) -> Problem:
    """Return the problem of wrong parameters or members."""
    detail = "; ".join(f"{error.path}: {error.message}" if error.path else error.message for error in errors)
    return Problem(400, INVALID_REQUEST, detail, errors=errors)


def not_found(detail: str) -> Problem:
    """Return the problem of something that there is not."""
    return Problem(404, NOT_FOUND, detail)


def not_ready(detail: str, *, is_last: bool = False) -> Problem:
    """Return the problem of something that cannot be answered yet."""
    return Problem(503, NOT_READY, detail, headers={"retry-after": str(RETRY_AFTER_S)}, is_last=is_last)


def timed_out(detail: str, **members: Any) -> Problem:
    """Return the problem of something that did not come in time."""
    return Problem(504, TIMEOUT, detail, **members)
