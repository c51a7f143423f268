"""Arguments that several commands take, and what they may be."""

from __future__ import annotations

from typing import Any, Final

import click

AS_JSON: Final = click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON document.")


class KindType(click.ParamType):
    """A kind of aggregate that is registered."""

    name = "kind"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the kind as it was given."""
        from annals.workers.registry import deciders

        if value not in deciders():
            self.fail(f"there is no kind {value!r}: there are {', '.join(deciders())}", param, ctx)
        return str(value)


class IdType(click.ParamType):
    """An aggregate's id, as it was given."""

    name = "id"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the id."""
        try:
            value.encode()
        except UnicodeEncodeError:
            self.fail("an id is UTF-8, this is not", param, ctx)
        return str(value)


class CidType(click.ParamType):
    """A CID in text form; its value is binary."""

    name = "cid"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> bytes:
        """Return the 36 bytes."""
        from annals.schemas.cid import parse_cid

        try:
            return parse_cid(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
