"""`annals ask`: the questions of the read models."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import click

from annals.schemas.dag_json import encode
from annals.workers.cli.arguments import AS_JSON, RegisteredType
from annals.workers.cli.asking import PAGE, asked, asks_api, listed, none, require_whole, with_query
from annals.workers.cli.failures import DONE
from annals.workers.cli.output import flush, print_line

if TYPE_CHECKING:
    from collections.abc import Collection

    from annals.workers.settings import Settings


class QuestionType(RegisteredType):
    """A question."""

    name = what = "question"

    def _known(self) -> Collection[str]:
        from annals.agents.reading.read_models.asking import QUESTIONS

        return QUESTIONS


class ParameterType(click.ParamType):
    """A parameter and its value; several of one name are given one after the other."""

    name = "name=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """Return both."""
        name, sign, said = str(value).partition("=")
        if not sign:
            self.fail(f"{value!r} is not NAME=VALUE, as email=ada@example.org", param, ctx)
        return name, said


@click.command()
@click.argument("question", type=QuestionType())
@click.argument("parameters", type=ParameterType(), metavar="[NAME=VALUE]...", nargs=-1)
@click.option("--limit", type=click.IntRange(1), help="End after so many.")
@asks_api()
@AS_JSON
def ask(
    settings: Settings, question: str, parameters: tuple[tuple[str, str], ...], limit: int | None, *, as_json: bool
) -> int:
    """Answer a QUESTION of the read models, a JSON line per row; exit status 1 if there is none.

    As `annals ask people email=ada@example.org`. The questions and their parameters are those of GET /v1/questions/…;
    expect=KIND/ID@VERSION waits until that event is in the answer. A worker's API is asked. With --json its answer is
    printed as it is: the first page, of up to 1,000 rows with --limit, where `next` leads to the next one.
    """
    given: dict[str, list[str]] = {}
    for name, value in parameters:
        given.setdefault(name, []).append(value)
    path = f"/v1/questions/{question}"
    if not as_json:
        size = {"limit": PAGE if limit is None else min(PAGE, limit)}
        is_one = asyncio.run(_print(settings, with_query(path, size | given), limit))
    else:
        answer = asked(settings, "GET", with_query(path, given if limit is None else {"limit": limit} | given))
        print_line(encode(answer))
        is_one = bool(answer["rows"])
        require_whole(answer, is_none=not is_one)
    return DONE if is_one else none(f"row for this question of {question}")


async def _print(settings: Settings, path: str, limit: int | None) -> bool:
    """Print a line for each row; return whether there is any."""
    is_one = False
    async with aclosing(listed(settings, path, "rows", limit)) as found:
        async for row in found:
            print_line(encode(row))
            is_one = True
    flush()
    return is_one
