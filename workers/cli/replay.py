"""`annals replay`: the journals once more, to a handler, a topic or a file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from annals.workers.cli.arguments import AS_JSON, RATE, KindType
from annals.workers.cli.failures import ANSWER_IS_NO, DONE, CannotAskError
from annals.workers.cli.options import CONNECTION, takes_settings

if TYPE_CHECKING:
    from annals.workers.replay.plan import Positions, Selection, Target
    from annals.workers.replay.run import Statistics
    from annals.workers.settings import Settings

REPLAYS: Final = "replays."
AS_POSITIONS: Final = 'positions are JSON as {"person": [120, null]}'


class MomentType(click.ParamType):
    """A bound of times, RFC 3339."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the time in the form of `recorded_at`."""
        from annals.schemas.values.moments import bound_of, recorded_at

        try:
            return recorded_at(bound_of(value))
        except ValueError as error:
            self.fail(f"{value!r} {error}", param, ctx)


class ReplayTopicType(click.ParamType):
    """A topic of replays, and no other."""

    name = "topic"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return NAME of `replays.NAME`; a usage error for any other topic."""
        from annals.topics.names import TopicNames

        name = str(value).removeprefix(REPLAYS)
        try:
            TopicNames().replays(name)
        except ValueError:
            name = ""
        if not name or value != REPLAYS + name:
            said = "a replay writes to replays.NAME only (1 to 63 of a-z, 0-9 and '-', no '-' first), not to"
            self.fail(f"{said} {value!r}", param, ctx)
        return name


class PositionsType(click.ParamType):
    """Offsets by kind, as `--json` prints them."""

    name = "positions"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Positions:
        """Return the offsets by kind; a usage error for other JSON, an unknown kind or a negative offset."""
        import msgspec

        from annals.schemas.wire.strict_json import parse_strict
        from annals.workers.registry import unknown_kind

        try:
            parsed, faults = parse_strict(value.encode())
            wrong = " ".join(faults[0]).strip() if faults else None  # as a kind that is named twice
            found: Positions = {} if faults else msgspec.convert(parsed, dict[str, list[int | None]])
        except ValueError as error:  # msgspec's, and that of what is no UTF-8, are such
            wrong = str(error)
        if wrong is not None:
            self.fail(f"{AS_POSITIONS}: {wrong}", param, ctx)
        for kind, offsets in found.items():
            if (said := unknown_kind(kind)) is not None:
                self.fail(said, param, ctx)
            if any(offset is not None and offset < 0 for offset in offsets):
                self.fail(f"an offset of {kind} is below 0", param, ctx)
        return found


@click.command()
@click.option("--kind", "kinds", type=KindType(), multiple=True, help="Only this kind; may be repeated.")
@click.option("--type", "types", metavar="TYPE", multiple=True, help="Only events of this type; may be repeated.")
@click.option("--aggregate", metavar="KIND/ID", help="Only the events of one aggregate.")
@click.option("--since", type=MomentType(), help="Only what was recorded then or later (RFC 3339).")
@click.option("--until", type=MomentType(), help="Only what was recorded before then.")
@click.option("--from", "first", type=PositionsType(), help='First offsets by kind, as {"person": [120, null]}.')
@click.option("--handler", metavar="NAME", help="Call this entry point of annals.replay_handlers with each event.")
@click.option("--topic", type=ReplayTopicType(), metavar="replays.NAME", help="Write CloudEvents to this topic.")
@click.option("--file", type=click.Path(dir_okay=False), help="Append lines as `annals events` prints them.")
@click.option("--state", type=click.Path(dir_okay=False, path_type=Path), help="File of positions, to go on from.")
@click.option("--retries", type=click.IntRange(0, 1_000), default=5, show_default=True, help="Per event, of a handler.")
@click.option("--rate", type=RATE, help="At most so many events a second.")
@click.option("--processes", type=click.IntRange(1, 1024), help="Processes to share the work [default: one per core].")
@click.option("--dry-run", is_flag=True, help="Verify and count only.")
@AS_JSON
@takes_settings(CONNECTION)
def replay(
    settings: Settings,
    *,
    kinds: tuple[str, ...],
    types: tuple[str, ...],
    aggregate: str | None,
    since: str | None,
    until: str | None,
    first: Positions | None,
    handler: str | None,
    topic: str | None,
    file: str | None,
    state: Path | None,
    retries: int,
    rate: float | None,
    processes: int | None,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Give the events that count to a handler, a topic or a file, from Kafka, in order per aggregate.

    All of them, or those that all options together ask for. The chains are verified on the way, from their beginnings.
    Exit status 1 at a gap, which is where it stops, and if a handler fails on an event for good. With --state, the same
    command goes on from where the last one stopped or was killed. A replay never sends a command.
    """
    from annals.workers.kafka.connections import MissingTopicError
    from annals.workers.kafka.protocol.record_batches import FormatError
    from annals.workers.kafka.read.ranges import RangeGoneError
    from annals.workers.replay.plan import Plan, ReplayError, Target, WrongSelectionError
    from annals.workers.replay.run import replay as run

    target = Target(handler, topic, file)
    _require_target(target, dry_run=dry_run)
    selection = _selection(kinds, types, aggregate, since, until)
    plan = Plan(selection, Target() if dry_run else target, retries, rate)
    progress = _progress if sys.stderr.isatty() else None
    try:
        statistics = run(
            settings,
            plan,
            first=first,
            state=None if dry_run else state,
            processes=processes,
            progress=progress,
        )
    except WrongSelectionError as error:
        raise CannotAskError("; ".join(_as_option(*problem) for problem in error.problems)) from None
    except (FormatError, MissingTopicError, RangeGoneError, ReplayError) as error:
        raise CannotAskError(str(error)) from None
    if progress is not None:
        click.echo(err=True)
    click.echo(_as_json(statistics) if as_json else _as_text(statistics, dry_run=dry_run))
    if statistics.stopped is None:
        return DONE
    click.echo(f"annals: {statistics.stopped}", err=True)
    return ANSWER_IS_NO


def _require_target(target: Target, *, dry_run: bool) -> None:
    given = sum(each is not None for each in target)
    if given > 1 or (given == 0 and not dry_run):
        raise click.UsageError("Give one of --handler, --topic and --file, or --dry-run.")


def _selection(
    kinds: tuple[str, ...], types: tuple[str, ...], aggregate: str | None, since: str | None, until: str | None
) -> Selection:
    from annals.workers.registry import deciders, unknown_kind
    from annals.workers.replay.plan import Selection

    aggregate_id = None
    if aggregate is not None:
        if kinds:
            raise click.UsageError("--aggregate names the kind: leave --kind out.")
        kind, separator, aggregate_id = aggregate.partition("/")
        if not separator or not aggregate_id or kind not in deciders():
            said = f"--aggregate is KIND/ID with a kind that there is, not {aggregate!r}"
            raise click.UsageError(f"{said}: {unknown_kind(kind)}" if unknown_kind(kind) else said)
        kinds = (kind,)
    return Selection(tuple(dict.fromkeys(kinds)) or tuple(deciders()), types, aggregate_id, since, until)


def _as_option(path: str, message: str) -> str:
    """Return what is wrong with a member of the request, by the option that it was given with."""
    if path.startswith("types["):
        return f"--type: {message}"
    return f"--from: {path.removeprefix('positions.')} {message}"


def _as_json(statistics: Statistics) -> str:
    import orjson

    return orjson.dumps(statistics.as_json()).decode()


def _as_text(statistics: Statistics, *, dry_run: bool) -> str:
    said = statistics.as_json()
    done = "would be replayed" if dry_run else "replayed"
    return (
        f"{said['events']:,} events {done}, {said['passed_over']:,} passed over, {said['void']:,} void, "
        f"{said['foreign']:,} foreign, {said['failures']:,} failures, in {said['seconds']:.1f} s "
        f"({said['rate']:,.0f} events/s)"
    )


def _progress(_: Statistics, done: int, total: int) -> None:
    click.echo(f"\rReplaying: {done:,} of {total:,} offsets ({100 * done // max(1, total)} %)", err=True, nl=False)
