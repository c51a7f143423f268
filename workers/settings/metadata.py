"""What is said of each setting for those who list them: reference, options, checks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

Parse = Callable[[str], Any]
ENVIRONMENT_PREFIX: Final = "ANNALS_"


@dataclass(frozen=True, slots=True)
class SettingMeta:
    """One setting for those who list them: reference, options, checks."""

    name: str
    default: object
    parse: Parse
    unit: str
    help: str
    group: str
    is_secret: bool
    is_switch: bool

    @property
    def variable(self) -> str:
        """The environment variable."""
        return ENVIRONMENT_PREFIX + self.name.upper()

    @property
    def option(self) -> str:
        """The command line option."""
        return "--" + self.name.replace("_", "-")


def meta(parse: Parse, help_text: str, *, unit: str = "", group: str = "worker") -> dict[str, Any]:
    """Return what a field of the settings carries."""
    return {"parse": parse, "help": help_text, "unit": unit, "group": group}
