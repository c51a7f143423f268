"""`annals schemas new-version`: the beginning of an event's next version in a checkout."""

from __future__ import annotations

import json
from pathlib import Path

import click

from annals.schemas.suggestion import with_known
from annals.workers.cli.arguments import AS_JSON, KindType
from annals.workers.cli.failures import DONE, CannotAskError


@click.command("new-version")
@click.argument("kind", type=KindType())
@click.argument("type_name", metavar="TYPE")
@AS_JSON
def new_version(kind: str, type_name: str, *, as_json: bool) -> int:
    """Begin the next version of the event TYPE of KIND; run it in the checkout's folder.

    Writes the type that today's version has as a former one, the skeleton of its upcaster, the golden block and the
    test. Then change the event's type in schemas/KIND.py and fill in the upcaster and the test.
    """
    from annals.agents.aggregates import REGISTRY
    from annals.workers.registry import registration_of
    from annals.workers.tools.scaffold.tree import Tree
    from annals.workers.tools.scaffold.version import new_version as write

    if kind not in REGISTRY and (point := registration_of(kind)) is not None:
        whose = "another distribution" if point.dist is None else point.dist.name
        raise CannotAskError(
            f"{kind} is an aggregate of {whose} ({point.name} = {point.value}): its next version is written there, as "
            f"docs/how-to/keep-an-aggregate-elsewhere.md shows"
        )
    if type_name not in REGISTRY[kind].events:
        known = REGISTRY[kind].events
        raise CannotAskError(with_known(f"{kind} has no event", type_name, known))
    tree = Tree(Path.cwd())
    version = write(tree, REGISTRY[kind], type_name)
    if as_json:
        click.echo(json.dumps({"kind": kind, "type": type_name, "version": version, "files": tree.written}))
        return DONE
    for file in tree.written:
        click.echo(f"wrote {file}")
    click.echo(
        f"now change {type_name} in schemas/kinds/{kind}.py, fill in the upcaster and the test, write the new golden "
        f"block with `.venv/bin/python tests/golden/events.py {kind} {type_name}.{version}`, and run `make docs check`"
    )
    return DONE
