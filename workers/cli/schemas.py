"""`annals schemas`: the JSON Schemas of commands, events and what is around them, and the AsyncAPI document."""

from __future__ import annotations

import json
from pathlib import Path

import click

from annals.agents.aggregates import REGISTRY
from annals.schemas.json_schemas.json_schema import urn
from annals.schemas.json_schemas.wire_schemas import WIRE
from annals.schemas.suggestion import meant
from annals.workers.cli.arguments import KindType
from annals.workers.cli.failures import ANSWER_IS_NO, DONE, CannotAskError
from annals.workers.cli.groups import Commands
from annals.workers.cli.stored import migrate, usage
from annals.workers.cli.versions import new_version
from annals.workers.file_errors import named
from annals.workers.registry import deciders
from annals.workers.schema_publisher.compatibility import LEVELS, BaselineError, compare, read_baseline
from annals.workers.schema_publisher.published import FOLDER, as_text, files, find, newest, published

URN_LEAD = "urn:"


@click.group(cls=Commands)
def schemas() -> None:
    """List, show, export, check and use the schemas of all messages; usage and migrate ask Kafka."""


@schemas.command("list")
@click.option("--kind", type=KindType(WIRE), help="Only of this kind; `wire` is what is around the data.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON line for each schema.")
def list_(kind: str | None, *, as_json: bool) -> int:
    """List every schema with its URN: an event's is its ce_dataschema."""
    found = [schema for schema in published(deciders()) if kind in {None, schema.kind}]
    for schema in found:
        said = {"urn": schema.urn, "kind": schema.kind, "role": schema.role, "type": schema.name}
        if as_json:
            click.echo(json.dumps({**said, "version": schema.version, "title": schema.summary}))
        else:
            click.echo(f"{schema.role:7}  {schema.urn}")
    return DONE


@schemas.command()
@click.argument("name", metavar="URN|KIND")
@click.argument("type_name", metavar="[TYPE]", required=False)
@click.argument("version", type=click.IntRange(min=1), required=False)
def show(name: str, type_name: str | None, version: int | None) -> int:
    """Print one JSON Schema, by its URN or by kind, type and version (the newest).

    Exit status 1 if there is none of this URN or version.
    """
    if (type_name is None) != name.startswith(URN_LEAD):
        raise click.UsageError("name a schema by its URN, or by kind and type: annals schemas show person AddEmail")
    if type_name is not None:
        name = KindType(WIRE).convert(name, None, click.get_current_context())
        known = {schema.name: None for schema in published(deciders()) if schema.kind == name}
        if type_name not in known:
            raise click.UsageError(
                f"{name} has no type {type_name!r}: see `annals schemas list`.{meant(type_name, known)}"
            )
    if type_name is None:
        schema = find(name, deciders())
    elif version is None:
        schema = newest(name, type_name, deciders())
    else:
        schema = find(urn(name, type_name, version), deciders())
    if schema is None:
        wanted = " ".join(str(part) for part in (name, type_name, version) if part is not None)
        click.echo(f"there is no schema {wanted}: see `annals schemas list`", err=True)
        return ANSWER_IS_NO
    click.echo(as_text(schema.schema), nl=False)
    return DONE


@schemas.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON document.")
def export(folder: Path, *, as_json: bool) -> int:
    """Write every JSON Schema and asyncapi.json, which refers to them, into a folder; other files there are left."""
    count = 0
    try:
        for path, text in files(deciders()):
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            with named(target):
                target.write_text(text, encoding="utf-8")
            count += 1
    except OSError as error:
        raise CannotAskError(f"{error.filename} cannot be written ({error.strerror}): name another folder") from error
    click.echo(json.dumps({"folder": str(folder), "files": count}) if as_json else f"wrote {count} files to {folder}")
    return DONE


@schemas.command()
@click.option(
    "--against",
    type=click.Path(path_type=Path),
    help="What was published: a folder that `annals schemas export` wrote, with the aggregates of other "
    "distributions.  [default: that of this release, without them]",
)
@click.option(
    "--compatibility",
    type=click.Choice(list(LEVELS)),
    default="full",
    show_default=True,
    help="What must hold: old data are read (backward), old readers read new data (forward), or both.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON line for each difference.")
def check(against: Path | None, compatibility: str, *, as_json: bool) -> int:
    """Compare the code with the published schemas, and say whom each difference breaks.

    Exit status 1 if one breaks stored events, readers, senders or snapshots.
    """
    level = LEVELS[compatibility]
    try:
        before = read_baseline(against or FOLDER)
        findings = list(compare(before, deciders() if against else REGISTRY))
    except BaselineError as error:
        raise click.UsageError(f"{error}: name a folder as `annals schemas export` wrote it") from error
    broken = 0
    for finding in findings:
        broken += bool(level.intersection(finding.breaks))
        if as_json:
            click.echo(json.dumps(finding._asdict()))
        else:
            whom = f"breaks {', '.join(finding.breaks)}" if finding.breaks else "breaks nobody"
            click.echo(f"{' '.join(filter(None, finding[:2]))}: {finding.what}: {whom}")
    if not as_json:
        click.echo(f"{len(findings)} differences, {broken} of them break {compatibility} compatibility")
    if broken:
        click.echo("give the event a new version, keep what was published, or raise state_version", err=True)
    return ANSWER_IS_NO if broken else DONE


schemas.add_command(new_version)
schemas.add_command(usage)
schemas.add_command(migrate)
