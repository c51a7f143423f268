"""`annals new aggregate` and `annals new projection`: the beginning of one in a checkout."""

from __future__ import annotations

import json
from pathlib import Path

import click

from annals.workers.cli.arguments import AS_JSON
from annals.workers.cli.failures import DONE
from annals.workers.cli.groups import Commands


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
    if as_json:
        click.echo(json.dumps({"kind": name, "files": tree.written}))
    else:
        click.echo("\n".join([*(f"wrote {file}" for file in tree.written), "now change it, and run `make check`"]))
    return DONE


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
    if as_json:
        click.echo(json.dumps({"projection": name, "files": tree.written}))
    else:
        click.echo("\n".join([*(f"wrote {file}" for file in tree.written), "now change it, and run `make check`"]))
    return DONE
