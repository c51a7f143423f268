"""docs/reference/cli.md, from the commands themselves."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

import click

from annals.workers.cli.failures import ANSWER_IS_NO, COULD_NOT_ASK, DONE
from annals.workers.cli.group import annals
from annals.workers.settings import settings_metadata
from generator.markdown import code, fenced, table
from generator.settings import TITLES

if TYPE_CHECKING:
    from collections.abc import Iterator

INTRO = """# Command line

`annals --help` and `annals COMMAND --help` say the same. Most commands take [settings](settings.md) as options of the
same name; only the groups of these are named here.
"""


def page() -> str:
    """Return the page."""
    no = (
        "the answer is no: a rejected command, a broken chain, an unhealthy system; there is none of what is asked "
        "for, or what there is does not allow it (404, 409, 412 and 422 of the API)"
    )
    not_asked = (
        "it could not be asked: wrong usage, which is also a kind, type, projection or reaction that there is not; "
        "wrong settings, missing rights, no broker, an API that does not answer now, or without a partition; nothing "
        "was found, and partitions are behind"
    )
    statuses = [[code(str(DONE)), "done"], [code(str(ANSWER_IS_NO)), no], [code(str(COULD_NOT_ASK)), not_asked]]
    root = click.Context(annals, info_name="annals")
    parts = [INTRO, table(["exit status", "means"], statuses)]
    return "\n".join(parts + [_of(context) for context in _commands(annals, root)])


def _commands(group: click.Group, above: click.Context) -> Iterator[click.Context]:
    for name in group.list_commands(above):
        command = group.get_command(above, name)
        if command is None or command.hidden:
            continue
        context = click.Context(command, info_name=name, parent=above)
        if isinstance(command, click.Group):
            yield from _commands(command, context)
        else:
            yield context


def _of(context: click.Context) -> str:
    command = context.command
    parts = [
        f"## {context.command_path}\n",
        fenced("text", " ".join([context.command_path, *command.collect_usage_pieces(context)])),
        inspect.cleandoc(command.help or "").replace("\b\n", "") + "\n",
    ]
    by_option = {meta.name: meta for meta in settings_metadata()}
    by_option |= {f"{meta.name}_file": meta for meta in settings_metadata() if meta.is_secret}
    rows, groups = [], set()
    for parameter in command.params:
        # A command may have an option of its own that is called as a setting is; a setting's says what the setting is.
        meta = by_option.get(parameter.name or "")
        said = (parameter.help or "").lower() if isinstance(parameter, click.Option) else ""
        if meta is not None and said.startswith((meta.help.lower(), "file that holds it")):
            groups.add(meta.group)
        elif isinstance(parameter, click.Option) and (record := parameter.get_help_record(context)):
            rows.append([code(record[0]), record[1]])
    if rows:
        parts.append(table(["option", "does"], rows))
    if groups:
        links = [
            f"[{title}](settings.md#{title.lower().replace(' ', '-')})"
            for group, title in TITLES.items()
            if group in groups
        ]
        parts.append(f"Settings: {', '.join(links)}.\n")
    return "\n".join(parts)
