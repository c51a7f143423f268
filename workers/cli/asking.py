"""Commands that ask the API of a worker: their settings, the question, and what its failures are."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

import click

from annals.workers.cli.arguments import WebAddressType
from annals.workers.cli.failures import ANSWER_IS_NO, CannotAskError, status_of
from annals.workers.cli.options import ASKING, takes_settings
from annals.workers.cli.output import flush

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping

    from annals.workers.client.api_client import ApiClient, ApiError
    from annals.workers.settings import Settings

PAGE: Final = 1_000
NOT_FOUND: Final = 404


def asks_api(groups: frozenset[str] = ASKING) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command the settings that say where the API is; `--api` is short for `--api-url`."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        def asking(settings: Settings, api: str | None, **arguments: Any) -> int:
            asked = settings if api is None else replace(settings, api_url=api)
            status: int = command(asked, **arguments)
            return status

        asking.__name__, asking.__doc__ = command.__name__, command.__doc__
        asking.__click_params__ = getattr(command, "__click_params__", [])  # type: ignore[attr-defined]
        help_text = "Where the API is; the same as --api-url."
        short = click.option("--api", type=WebAddressType(), metavar="URL", help=help_text)
        return takes_settings(groups)(short(asking))

    return decorate


def connected(settings: Settings) -> ApiClient:
    """Return a client of the API that the settings name."""
    from annals.workers.client.api_client import ApiClient

    token = settings.api_token
    return ApiClient(settings.api_url, None if token is None else token.reveal().strip())


async def ask(client: ApiClient, method: str, path: str) -> Any:
    """Return what the API answers; where its answer is no, say so and end with exit status 1 (see `status_of`).

    Raises:
        CannotAskError: it does not answer, or not to this question.
    """
    from annals.workers.client.api_client import ApiError

    try:
        return await client.ask(method, path)
    except ApiError as error:
        raise refusal(error) from None


def refusal(error: ApiError) -> Exception:
    """Return what ends a command that the API refused: where its answer is no that is said now, with exit status 1."""
    if status_of(error.status) != ANSWER_IS_NO:
        return CannotAskError(str(error))
    click.echo(f"annals: {error}", err=True)
    return click.exceptions.Exit(ANSWER_IS_NO)


async def pages(client: ApiClient, path: str) -> AsyncGenerator[Any, None]:
    """Yield the pages of a list. Where a partition is missing the list is not whole: that page is the last.

    Raises:
        CannotAskError: as `ask`; or a partition is missing, which is named.
    """
    from annals.workers.client.api_client import ApiError

    try:
        async with aclosing(client.pages(path)) as answered:
            async for page in answered:
                yield page
                require_whole(page)
    except ApiError as error:
        raise refusal(error) from None


def require_whole(answer: Any) -> None:
    """Let be seen what was printed of an answer in which a partition is missing, and name the first.

    Raises:
        CannotAskError: one is missing.
    """
    for each in answer.get("missing", ()):
        flush()
        raise CannotAskError(f"{each['kind']}-{each['partition']} does not answer: {each['reason']}")


def with_query(path: str, wanted: Mapping[str, Any]) -> str:
    """Return a path with its query; what is None is not asked for."""
    query = urlencode({name: value for name, value in wanted.items() if value is not None}, doseq=True)
    return f"{path}?{query}" if query else path


def asked(settings: Settings, method: str, path: str) -> Any:
    """Return what the API answers to one question; see `ask`."""

    async def answer() -> Any:
        async with connected(settings) as client:
            return await ask(client, method, path)

    return asyncio.run(answer())
