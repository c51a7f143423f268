"""`annals new aggregate`, `annals new projection` and `annals new reaction`: the beginning of one in a checkout."""

from __future__ import annotations

import json
from pathlib import Path

import click

from annals.workers.cli.arguments import AS_JSON
from annals.workers.cli.failures import DONE
from annals.workers.cli.groups import Commands


def _tell(what: str, name: str, files: list[str], *, as_json: bool) -> int:
    if as_json:
        click.echo(json.dumps({what: name, "files": files}))
    else:
        click.echo("\n".join([*(f"wrote {file}" for file in files), "now change it, and run `make check`"]))
    return DONE


@click.group(cls=Commands)
def new() -> None:
    """Begin something in a checkout of the project; run it in the checkout's folder."""


@new.command()
@click.argument("name")
@AS_JSON
def aggregate(name: str, *, as_json: bool) -> int:
    """Write the aggregate NAME: its messages, its decider, its test, its registry line and its golden files.

    What it writes passes `make check`: an aggregate that is registered, renamed and archived. Change it from there.
    """
    from annals.workers.tools.scaffold.aggregate import new_aggregate
    from annals.workers.tools.scaffold.tree import Tree

    tree = Tree(Path.cwd())
    new_aggregate(tree, name)
    return _tell("kind", name, tree.written, as_json=as_json)


@new.command()
@click.argument("name")
@AS_JSON
def projection(name: str, *, as_json: bool) -> int:
    """Write the projection NAME: its fold, its test and its registry line.

    What it writes passes `make check`: people by name and status. Change it from there.
    """
    from annals.workers.tools.scaffold.projection import new_projection
    from annals.workers.tools.scaffold.tree import Tree

    tree = Tree(Path.cwd())
    new_projection(tree, name)
    return _tell("projection", name, tree.written, as_json=as_json)


@new.command()
@click.argument("name")
@AS_JSON
def reaction(name: str, *, as_json: bool) -> int:
    """Write the reaction NAME: its process manager, its test and its registry line.

    What it writes passes `make check`: a document that stays a draft is archived. Change it from there.
    """
    from annals.workers.tools.scaffold.reaction import new_reaction
    from annals.workers.tools.scaffold.tree import Tree

    tree = Tree(Path.cwd())
    new_reaction(tree, name)
    return _tell("reaction", name, tree.written, as_json=as_json)
