"""Asks the API of a worker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Self

import aiohttp
from yarl import URL

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

PROBLEM_TYPE: Final = "urn:annals:problem:"
REQUEST_ID: Final = "x-request-id"  # every answer of the API has it
PATIENCE_S: Final = 90.0  # the API's longest wait, and what answering takes


class ApiError(Exception):
    """The API did not answer, or with a problem; the message says which. status: of the answer, 0 for none."""

    def __init__(self, message: str, status: int = 0) -> None:
        """Take the message, and the status of the answer."""
        super().__init__(message)
        self.status = status


class ApiClient:
    """A connection to the API of one worker; it answers for all."""

    def __init__(self, url: str, token: str | None = None) -> None:
        """Take where it is, and the bearer token."""
        self._url = url.rstrip("/")
        self._headers = {"authorization": f"Bearer {token}"} if token else {}
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Begin."""
        timeout = aiohttp.ClientTimeout(total=PATIENCE_S)
        self._session = aiohttp.ClientSession(headers=self._headers, timeout=timeout)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End."""
        if self._session is not None:
            await self._session.close()

    async def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Return what the API answers; body: what the request has, as JSON types.

        Raises:
            ApiError: it does not answer, or with a problem.
        """
        assert self._session is not None  # noqa: S101 - begun
        try:
            # As it stands: an id of dots, which a URL may not be cleaned of, is a segment like any other.
            url = URL(self._url + path, encoded=True)
            async with self._session.request(method, url, json=body, allow_redirects=False) as answer:
                answered = await answer.json(content_type=None)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise self._is_none(str(error) or type(error).__name__) from error
        # Another service on this address, or a redirection, must not be taken for an answer: its 404 says nothing.
        if answer.status >= 300:
            if not (isinstance(answered, dict) and str(answered.get("type")).startswith(PROBLEM_TYPE)):
                raise self._is_none(f"what is there answers with status {answer.status}")
            raise ApiError(f"{answer.status}: {answered.get('detail') or 'the API refuses'}", answer.status)
        if REQUEST_ID not in answer.headers:
            raise self._is_none("what is there answers as another service")
        return answered

    def _is_none(self, reason: str) -> ApiError:
        return ApiError(f"no API answers at {self._url} ({reason}): set ANNALS_API_URL or --api")
