"""The option --heads: heads that were kept, which the chains of a journal must have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click
import orjson

from annals.workers.cli.failures import CannotAskError
from annals.workers.cli.files import lines, name_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

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
        CannotAskError: the file cannot be read, a line of it has no head of an aggregate, or none is of this kind.
    """
    from annals.workers.audit.kept_heads import kept_heads

    try:
        found = kept_heads(_values(lines(file, "outcomes", LONGEST_OUTCOME)), kind)
    except ValueError as error:
        raise CannotAskError(f"{name_of(file)}: {error}") from None
    if not found:  # what made the file may have failed, each night
        raise CannotAskError(f"{name_of(file)}: no head of a {kind} is in it, so that nothing would be compared")
    return found


def _values(texts: Iterable[bytes]) -> Iterator[Any]:
    from annals.workers.audit.kept_heads import NO_HEAD

    for number, text in enumerate(texts, 1):
        try:
            yield orjson.loads(text)
        except orjson.JSONDecodeError as error:
            raise ValueError(f"line {number}: {NO_HEAD} ({error.msg}, column {error.colno})") from None
