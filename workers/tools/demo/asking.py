"""Asks the API of the worker that reads; an answer other than the wanted one ends the story."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from annals.workers.client.api_client import ApiError
from annals.workers.tools.demo.teller import DifferedError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from annals.workers.client.api_client import ApiClient

WAIT_S: Final = 60  # the longest that may be asked for
NOT_FOUND: Final = 404


async def asked(api: ApiClient, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
    """Return what the API answers.

    Raises:
        DifferedError: it does not answer, or with a problem.
    """
    try:
        return await api.ask(method, path, body)
    except ApiError as error:
        raise DifferedError(f"{method} {path} was not answered as it should be: {error}") from error


async def found(api: ApiClient, path: str) -> Any | None:
    """Return what the API has there; None if there is nothing.

    Raises:
        DifferedError: it does not answer, or with another problem.
    """
    try:
        return await api.ask("GET", path)
    except ApiError as error:
        if error.status == NOT_FOUND:
            return None
        raise DifferedError(f"GET {path} was not answered as it should be: {error}") from error
