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
    return ApiClient(settings.api_url, None if token is None else token.reveal())


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


async def listed(settings: Settings, path: str, member: str, limit: int | None = None) -> AsyncGenerator[Any, None]:
    """Yield what the pages of a list have under a member, up to a limit; nothing where the API has none of it (404).

    Raises:
        CannotAskError: as `ask`, and as `require_whole` of each page.
    """
    from annals.workers.client.api_client import ApiError

    left, is_none = limit, True
    try:
        async with connected(settings) as client, aclosing(client.pages(path)) as answered:
            async for page in answered:
                items = page[member][:left]
                for each in items:
                    yield each
                is_none = is_none and not items
                if left is not None:
                    left -= len(items)
                is_last = page["next"] is None or left == 0
                require_whole(page, is_last=is_last, is_none=is_none)
                if is_last:
                    break
    except ApiError as error:
        if error.status != NOT_FOUND:
            raise refusal(error) from None


def require_whole(answer: Any, *, is_none: bool, is_last: bool = True) -> None:
    """Let be seen what was printed of an answer, and name partitions that are behind, if it is the last page of it.

    Raises:
        CannotAskError: a partition is missing, the first of which is named; or nothing was found, and a partition that
            is behind may have it.
    """
    flush()
    for each in answer.get("missing", ()):
        raise CannotAskError(f"{each['kind']}-{each['partition']} does not answer: {each['reason']}")
    behind = [f"{each['kind']}-{each['partition']} ({each['reason']})" for each in answer.get("stale", ())]
    if not (behind and is_last):
        return
    if is_none:
        raise CannotAskError(f"nothing was found, and partitions are behind: {', '.join(behind)}")
    click.echo(f"annals: partitions are behind: {', '.join(behind)}", err=True)


def none(what: str) -> int:
    """Say that there is none of what was asked for; return the exit status."""
    flush()
    click.echo(f"annals: there is no {what}", err=True)
    return ANSWER_IS_NO


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
