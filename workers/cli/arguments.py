"""Arguments that several commands take, and what they may be."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import click
from click.shell_completion import CompletionItem

from annals.schemas.suggestion import with_known

if TYPE_CHECKING:
    from collections.abc import Collection

MOST_SECONDS: Final = 1_000_000  # eleven days
MOST_A_SECOND: Final = 1_000_000_000
AS_JSON: Final = click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON document.")
AS_JSON_LINES: Final = click.option("--json", "as_json", is_flag=True, help="Print one JSON line for each.")
AS_LINES: Final = click.option("--json", "as_json", is_flag=True, help="Print JSON lines, which it does anyway.")


class RegisteredType(click.ParamType):
    """A name that is registered, asked for when one is given: registrations of other distributions are loaded then.

    name: what --help calls it; what: what has such a name, in the message.
    """

    what: str

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name as it was given."""
        known = self._known()
        if value not in known:
            self.fail(with_known(f"there is no {self.what}", str(value), known), param, ctx)
        return str(value)

    def shell_complete(
        self,
        ctx: click.Context,  # noqa: ARG002 - click's signature
        param: click.Parameter,  # noqa: ARG002
        incomplete: str,
    ) -> list[CompletionItem]:
        """Return the names that begin as what is typed."""
        return [CompletionItem(name) for name in self._known() if name.startswith(incomplete)]

    def _known(self) -> Collection[str]:
        raise NotImplementedError


class KindType(RegisteredType):
    """A kind of aggregate that is registered, or one of a few words beside those."""

    name = what = "kind"

    def __init__(self, *others: str) -> None:
        self._others = others

    def _known(self) -> Collection[str]:
        from annals.workers.registry import deciders

        return [*deciders(), *self._others]


class ReactionType(RegisteredType):
    """The name of a reaction that is registered."""

    name = "name"
    what = "reaction"

    def _known(self) -> Collection[str]:
        from annals.workers.registry import reactions

        return reactions()


class WebAddressType(click.ParamType):
    """Where an API is."""

    name = "url"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the address as it was given."""
        from annals.workers.settings.values import may_hold_a_secret, web_address

        try:
            return web_address(value)
        except ValueError as error:
            shown = "what is given" if may_hold_a_secret(value) else repr(value)
            self.fail(f"{shown} is not {error}", param, ctx)


class PositiveType(click.ParamType):
    """A number above 0 with an upper bound: `nan` and `inf` are numbers to Python, and waited for for ever.

    name: what --help calls it; most: the bound; what: what it is, in the message.
    """

    def __init__(self, name: str, most: int, what: str = "a number") -> None:
        self.name = name
        self._most = most
        self._what = what

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the number."""
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not 0 < number <= self._most:
            self.fail(f"{value!r} is not {self._what} above 0 and up to {self._most:,}", param, ctx)
        return number


SECONDS: Final = PositiveType("seconds", MOST_SECONDS, "a number of seconds")
RATE: Final = PositiveType("rate", MOST_A_SECOND)


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
