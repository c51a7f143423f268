"""`annals ask`: the questions of the read models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from annals.schemas.dag_json import encode
from annals.workers.cli.arguments import AS_JSON, RegisteredType
from annals.workers.cli.asking import asked, asks_api, none, require_whole, with_query
from annals.workers.cli.failures import DONE
from annals.workers.cli.output import print_line

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
@asks_api()
@AS_JSON
def ask(settings: Settings, question: str, parameters: tuple[tuple[str, str], ...], *, as_json: bool) -> int:
    """Answer a QUESTION of the read models, a JSON line per row; exit status 1 if there is none.

    As `annals ask people email=ada@example.org`. The questions and their parameters are those of GET /v1/questions/…;
    expect=KIND/ID@VERSION waits until that event is in the answer. A worker's API is asked.
    """
    given: dict[str, list[str]] = {}
    for name, value in parameters:
        given.setdefault(name, []).append(value)
    answer = asked(settings, "GET", with_query(f"/v1/questions/{question}", given))
    if as_json:
        print_line(encode(answer))
    else:
        for row in answer["rows"]:
            print_line(encode(row))
        if answer["truncated"]:
            click.echo("annals: there are more rows than are looked at", err=True)
    require_whole(answer, is_none=not answer["rows"])
    return DONE if answer["rows"] else none(f"row for this question of {question}")
