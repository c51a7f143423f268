"""The option --heads: heads that were kept, which the chains of a journal must have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click
import orjson

from annals.workers.cli.failures import CannotAskError
from annals.workers.cli.files import lines, name_of

if TYPE_CHECKING:
    from annals.workers.audit.kept_heads import KeptHead

LONGEST_OUTCOME: Final = 4 << 20  # as its topic takes it

HEADS: Final = click.option(
    "--heads",
    type=click.Path(allow_dash=True),
    metavar="FILE",
    help="Kept heads that chains must have: JSON lines with aggregate_id and head, as outcomes.",
)


def heads_in(file: str, kind: str) -> list[KeptHead]:
    """Return the heads of a kind in a file.

    Raises:
        CannotAskError: the file cannot be read, or a line of it has no head of an aggregate.
    """
    from annals.workers.audit.kept_heads import kept_heads

    try:
        return kept_heads(map(orjson.loads, lines(file, "outcomes", LONGEST_OUTCOME)), kind)
    except ValueError as error:
        raise CannotAskError(f"{name_of(file)}: {error}") from None
