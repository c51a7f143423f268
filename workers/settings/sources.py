"""Where settings come from: options, then the environment, then a TOML file, then the defaults."""

from __future__ import annotations

import difflib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from annals.workers.settings.connection import contradictions
from annals.workers.settings.files import UnreadableError, read_toml, read_whole, text_of
from annals.workers.settings.metadata import ENVIRONMENT_PREFIX, SettingMeta
from annals.workers.settings.model import Settings, SettingsError, settings_metadata
from annals.workers.settings.values import may_hold_a_secret

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

CONFIG: Final = "config"
CONFIG_VARIABLE: Final = "ANNALS_CONFIG"
# Variables of the test run are not the worker's.
NOT_SETTINGS: Final = "ANNALS_TEST_"
# What Kubernetes puts into every container beside a service that is called `annals`.
SERVICE_LINK: Final = re.compile(r"ANNALS(_\w+)?_(SERVICE_(HOST|PORT)(_\w+)?|PORT_\d+_\w+|PORT)")
# As the value of such a variable: `annals-api` beside us makes ANNALS_API_PORT, which is a setting, too.
SERVICE_ADDRESS: Final = re.compile(r"(tcp|udp|sctp)://.*")
TABLE: Final = "annals"
LARGEST_SECRET_BYTES: Final = 65_536
PATHS: Final = ("/", "./", "../", "~")  # as paths begin, and secrets hardly ever
LONGEST_SHOWN: Final = 300  # characters of a wrong value that are shown
MOST_MEMBERS: Final = 1_000  # of a file: to look at more, and to say what is wrong with each, helps nobody
LISTS: Final = frozenset({"bootstrap_servers", "roles"})
SWITCHES: Final = frozenset(meta.name for meta in settings_metadata() if meta.is_switch)


class Given(NamedTuple):
    """A value as somebody gave it, and where."""

    value: str
    where: str


class Source(NamedTuple):
    """One place that values come from: the values, and how a name is written there."""

    values: Mapping[str, str]
    where: Mapping[str, str]

    def given(self, name: str) -> Given | None:
        """Return what this source says of a name."""
        return Given(self.values[name], self.where[name]) if name in self.values else None


def load_settings(
    options: Mapping[str, object] | None = None, environment: Mapping[str, str] | None = None
) -> Settings:
    """Return the settings: options (None: not given) over the environment over the TOML file that one of them names.

    Raises:
        SettingsError: something is wrong; every wrong setting is named, with what it may be.
    """
    variables = os.environ if environment is None else environment  # noqa: TID251 - this is the one reader
    problems: list[str] = []
    known = {meta.name for meta in settings_metadata()}
    secrets = {meta.name for meta in settings_metadata() if meta.is_secret}
    names = known | {f"{name}_file" for name in secrets}

    from_options = _from_options(options or {}, names)
    from_environment = _from_environment(variables, names, problems)
    config = (options or {}).get(CONFIG) or variables.get(CONFIG_VARIABLE)
    from_file = _from_file(str(config), names, problems) if config else Source({}, {})

    values: dict[str, Any] = {}
    for meta in settings_metadata():
        given = _first_given(meta, (from_options, from_environment, from_file), problems)
        if given is not None:
            _take(meta, given, values, problems)
    settings = Settings(**values)
    if not problems:
        problems += contradictions(settings)
    if problems:
        raise SettingsError(*problems)
    return settings


def default_cache_dir(environment: Mapping[str, str] | None = None) -> Path:
    """Return the folder for what can be fetched again (XDG base directory specification).

    Raises:
        SettingsError: the user has no home folder to keep it in.
    """
    variables = os.environ if environment is None else environment  # noqa: TID251 - this is the one reader
    given = variables.get("XDG_CACHE_HOME", "")
    # The specification: a relative path is invalid and ignored.
    try:
        return (Path(given) if given.startswith("/") else Path("~/.cache").expanduser()) / "annals"
    except RuntimeError:
        raise SettingsError(
            "ANNALS_CACHE_DIR: must be given, since this user has no home folder, where what is fetched is kept"
        ) from None


def environment_without_settings(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment for a process that is told its settings by options, and by nothing else."""
    variables = os.environ if environment is None else environment  # noqa: TID251 - this is the one reader
    return {
        name: value
        for name, value in variables.items()
        if not name.startswith(ENVIRONMENT_PREFIX) or name.startswith(NOT_SETTINGS)
    }


def _first_given(meta: SettingMeta, sources: Iterable[Source], problems: list[str]) -> Given | None:
    for source in sources:
        given = source.given(meta.name)
        file = source.given(f"{meta.name}_file") if meta.is_secret else None
        if given is not None and given.value and file is not None and file.value:
            problems.append(f"{meta.variable} and {meta.variable}_FILE: give one of them ({file.where})")
        elif file is not None and file.value:
            return _read_secret(meta, file, problems)
        elif given is not None:
            return given
    return None


def _read_secret(meta: SettingMeta, file: Given, problems: list[str]) -> Given | None:
    try:
        content = read_whole(file.value, LARGEST_SECRET_BYTES)
        secret = text_of(content).removesuffix("\n").removesuffix("\r")
        why = "" if secret else "is empty"
    except UnreadableError as error:
        secret, why = "", str(error)
    except UnicodeDecodeError:
        secret, why = "", "is not UTF-8 text"
    if why:
        # many a one has the secret itself in this place
        shown = _shown(file.value) if file.value.startswith(PATHS) else "what is given"
        problems.append(f"{meta.variable}_FILE: {shown} {why} ({file.where})")
        return None
    return Given(secret, file.where)


def _take(meta: SettingMeta, given: Given, values: dict[str, Any], problems: list[str]) -> None:
    if not given.value and meta.default == "":
        return
    try:
        values[meta.name] = meta.parse(given.value)
    except ValueError as error:
        shown = "what is given" if meta.is_secret or may_hold_a_secret(given.value) else _shown(given.value)
        problems.append(f"{meta.variable}: {shown} is not {error} ({given.where})")


def _from_options(options: Mapping[str, object], names: set[str]) -> Source:
    values = {name: _text(value) for name, value in options.items() if value is not None and name in names}
    return Source(values, {name: f"option --{name.replace('_', '-')}" for name in values})


def _from_environment(variables: Mapping[str, str], names: set[str], problems: list[str]) -> Source:
    by_variable = {ENVIRONMENT_PREFIX + name.upper(): name for name in names}
    values = {}
    for variable, value in variables.items():
        if variable in by_variable:
            if not (SERVICE_LINK.fullmatch(variable) and SERVICE_ADDRESS.fullmatch(value)):
                values[by_variable[variable]] = value
        elif variable.startswith(ENVIRONMENT_PREFIX) and variable != CONFIG_VARIABLE and _is_meant_for_us(variable):
            meant = _suggestion(variable, by_variable)
            problems.append(f"{_name(variable)}: there is no such setting{meant} (environment)")
    return Source(values, dict.fromkeys(values, "environment"))


def _is_meant_for_us(variable: str) -> bool:
    return not variable.startswith(NOT_SETTINGS) and not SERVICE_LINK.fullmatch(variable)


def _from_file(config: str, names: set[str], problems: list[str]) -> Source:
    values: dict[str, str] = {}
    for name, value in _members(config, problems):
        variable = ENVIRONMENT_PREFIX + name.upper()
        if name in values:
            problems.append(f"{variable}: it is there twice, in [{TABLE}] and outside (in {config})")
        elif name not in names and isinstance(value, dict):
            tables = f"settings are at the top of the file or in [{TABLE}], in no other table"
            problems.append(f"{_shown(name)}: there is no such setting: {tables} (in {config})")
        elif name not in names:
            meant = name.lower().removeprefix(ENVIRONMENT_PREFIX.lower())
            problems.append(f"{_name(name)}: there is no such setting{_suggestion(meant, names)} (in {config})")
        elif isinstance(value, bool) and name not in SWITCHES:
            problems.append(f"{variable}: {str(value).lower()} is for a switch, and this is none (in {config})")
        elif isinstance(value, str | int) or (name in LISTS and _is_list_of_texts(value)):
            values[name] = _text(value)
        else:
            lists = " and ".join(sorted(LISTS))
            problems.append(
                f"{variable}: a setting is a text, a whole number, or true or false; {lists} may be a list of texts "
                f"(in {config})"
            )
    return Source(values, dict.fromkeys(values, f"in {config}"))


def _members(config: str, problems: list[str]) -> list[tuple[str, Any]]:
    """Return what the file says, name by name: at its top, and in the table that is called as the program is."""
    try:
        document = read_toml(config)
    except UnreadableError as error:
        problems.append(f"{CONFIG_VARIABLE}: {_shown(config)} {error}")
        return []
    table = document.pop(TABLE, {})
    members = [*document.items(), *(table.items() if isinstance(table, dict) else [(TABLE, table)])]
    if len(members) > MOST_MEMBERS:
        problems.append(
            f"{CONFIG_VARIABLE}: {_shown(config)} is no file of settings: it has {len(members)} members, and at most "
            f"{MOST_MEMBERS} are taken"
        )
        return []
    return members


def _is_list_of_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "1" if value else "0"
    return ",".join(value) if isinstance(value, list) else str(value)


def _name(name: str) -> str:
    return name if name.isprintable() and len(name) <= LONGEST_SHOWN else _shown(name)


def _shown(value: str) -> str:
    """Return a value as somebody gave it, in quotation marks, and not the whole of it where it is long."""
    return repr(value) if len(value) <= LONGEST_SHOWN else f"{value[:LONGEST_SHOWN]!r}… ({len(value)} characters)"


def _suggestion(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.8)
    return f"; is {close[0]} meant?" if close else ""
