"""The options of commands that take settings: one for each setting, of the same name."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import click

from annals.workers.cli.failures import explained
from annals.workers.settings import load_settings, settings_metadata

if TYPE_CHECKING:
    from collections.abc import Callable

    from annals.workers.settings.metadata import SettingMeta

CONNECTION = frozenset({"kafka", "connection"})
ASKING = frozenset({"asking"})
EVERYTHING = frozenset(meta.group for meta in settings_metadata()) - ASKING


def takes_settings(groups: frozenset[str] = CONNECTION) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command the options of some groups of settings; it is called with `settings` as its first argument.

    What is no option of the command still comes from the environment and the file.
    """
    shown = [meta for meta in settings_metadata() if meta.group in groups]

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def with_settings(**arguments: Any) -> Any:
            names = [name for meta in shown for name in _names(meta)]
            options = {name: arguments.pop(name) for name in ["config", *names]}
            settings = load_settings(options)
            try:
                return command(settings, **arguments)
            except Exception as error:
                raise explained(error, settings) from error

        decorated: Callable[..., Any] = with_settings
        for meta in reversed(shown):
            decorated = _option(meta)(decorated)
        return click.option("--config", metavar="FILE", help="TOML file with settings; options and environment win.")(
            decorated
        )

    return decorate


def _names(meta: SettingMeta) -> tuple[str, ...]:
    return (meta.name, f"{meta.name}_file") if meta.is_secret else (meta.name,)


def _option(meta: SettingMeta) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    help_text = f"{meta.help[0].upper()}{meta.help[1:]} [{meta.variable}{_default(meta)}]"
    if meta.is_switch:
        return click.option(f"{meta.option}/--no-{meta.option[2:]}", meta.name, default=None, help=help_text)
    option = click.option(meta.option, meta.name, metavar=(meta.unit or "text").upper(), help=help_text)
    if not meta.is_secret:
        return option

    def both(command: Callable[..., Any]) -> Callable[..., Any]:
        file = click.option(
            f"{meta.option}-file",
            f"{meta.name}_file",
            metavar="FILE",
            help=f"File that holds it [{meta.variable}_FILE]",
        )
        return option(file(command))

    return both


def _default(meta: SettingMeta) -> str:
    return "" if meta.default in {None, ""} or meta.is_switch else f", default {meta.default}"
