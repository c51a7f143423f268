"""Public names that are imported when they are first used (PEP 562): who needs one does not load all."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def getter(module: str, homes: Mapping[str, str], names: dict[str, Any]) -> Callable[[str], Any]:
    """Return the `__getattr__` of a module.

    Args:
        module: its name.
        homes: the module that defines each public name.
        names: the module's own names; one that was imported becomes part of them.
    """

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {module!r} has no public name {name!r}")
        home = importlib.import_module(homes[name])
        if not hasattr(home, name):  # a module of the package that nobody has imported yet
            importlib.import_module(f"{homes[name]}.{name}")
        names[name] = getattr(home, name)
        return names[name]

    return get
