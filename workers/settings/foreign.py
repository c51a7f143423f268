"""Other deployments whose journals are read: a TOML file with a table for each, named by the deployment's id.

[hr]                                    # in the same cluster, under another prefix
topic_prefix = "hr."

[payroll]                               # in another cluster, with what it takes to connect to it
bootstrap_servers = "kafka.example:9093"
security_protocol = "SASL_SSL"
sasl_username = "annals"
sasl_password_file = "/run/secrets/payroll"
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from annals.schemas.suggestion import meant
from annals.schemas.wire.via import DEPLOYMENT
from annals.workers.settings.connection import client_options
from annals.workers.settings.files import UnreadableError, read_toml
from annals.workers.settings.metadata import ENVIRONMENT_PREFIX
from annals.workers.settings.model import SettingsError, settings_metadata
from annals.workers.settings.sources import load_settings as load_one

if TYPE_CHECKING:
    from collections.abc import Mapping

    from annals.workers.settings.model import Settings

VARIABLE: Final = "ANNALS_FOREIGN_JOURNALS_FILE"
PREFIX: Final = "topic_prefix"
SERVERS: Final = "bootstrap_servers"
CONNECTING: Final = ("bootstrap_servers", "security_protocol", "sasl_", "ssl_")  # how such options of clients begin
_VARIABLE: Final = re.compile(rf"\b{ENVIRONMENT_PREFIX}([A-Z_]+)\b")
_WHERE: Final = re.compile(r" \(option --[a-z-]+\)")
_CONNECTION: Final = [meta for meta in settings_metadata() if meta.group == "connection" or meta.name == SERVERS]
MEMBERS: Final = frozenset(
    {PREFIX, *(meta.name for meta in _CONNECTION), *(f"{meta.name}_file" for meta in _CONNECTION if meta.is_secret)}
)


@dataclass(frozen=True, slots=True)
class ForeignDeployment:
    """Where another deployment's journals are. connection: to its cluster; None: it is in this one's."""

    topic_prefix: str
    connection: Mapping[str, Any] | None = field(repr=False)

    def options(self, ours: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options of aiokafka clients for it; ours: those for this deployment."""
        if self.connection is None:
            return dict(ours)
        others = {name: value for name, value in ours.items() if not name.startswith(CONNECTING)}
        return {**others, **self.connection}


def load_settings(
    options: Mapping[str, object] | None = None, environment: Mapping[str, str] | None = None
) -> Settings:
    """Return the settings, the file of other deployments being looked at, too.

    Raises:
        SettingsError: something is wrong; every wrong setting is named, with what it may be.
    """
    settings = load_one(options, environment)
    foreign_deployments(settings)
    return settings


def foreign_deployments(settings: Settings) -> dict[str, ForeignDeployment]:
    """Return the other deployments by id; none where no file is given.

    Raises:
        SettingsError: the file, or a deployment in it, is wrong; the message names it, and never a secret.
    """
    path = settings.foreign_journals_file
    if path is None:
        return {}
    problems: list[str] = []
    if settings.deployment is None:
        problems.append(f"ANNALS_DEPLOYMENT: must be given, since {VARIABLE} is")
    found = {name: _deployment(name, table, settings, problems) for name, table in _tables(str(path), problems).items()}
    if problems:
        raise SettingsError(*problems)
    return {name: each for name, each in found.items() if each is not None}


def _tables(path: str, problems: list[str]) -> dict[str, Any]:
    try:
        return read_toml(path)
    except UnreadableError as error:
        problems.append(f"{VARIABLE}: {path!r} {error}")
        return {}


def _deployment(name: str, table: object, ours: Settings, problems: list[str]) -> ForeignDeployment | None:
    before = len(problems)
    where = f"{VARIABLE}: [{name}]"
    if not DEPLOYMENT.fullmatch(name) or not isinstance(table, dict):
        problems.append(f"{VARIABLE}: {name!r} is no table whose name has 1 to 64 of a-z, 0-9 and '-'")
        return None
    if name == ours.deployment:
        problems.append(f"{where} is this deployment itself (ANNALS_DEPLOYMENT)")
    for member, value in table.items():
        if member not in MEMBERS:
            known = sorted(MEMBERS)
            problems.append(f"{where} has {member!r}, and may have {', '.join(known)}.{meant(member, known)}")
        elif not isinstance(value, str):
            problems.append(f"{where}: {member} is not a text")
    if len(problems) == before:  # else what seems to be missing may be what is misspelt
        if SERVERS not in table and table.keys() - {PREFIX}:
            problems.append(f"{where} says how to connect and not to which {SERVERS}")
        elif SERVERS not in table and table.get(PREFIX, "") == ours.topic_prefix:
            problems.append(f"{where} has this deployment's own topics: give its {PREFIX} or {SERVERS}")
    if len(problems) > before:
        return None
    try:
        read = load_one(table, {})
        connection = client_options(read) if SERVERS in table else None
    except SettingsError as error:
        problems += [f"{where}: {_by_member(problem)}" for problem in error.problems]
        return None
    return ForeignDeployment(read.topic_prefix, connection)


def _by_member(problem: str) -> str:
    """Return what is wrong with a setting, by the names that members have in the file."""
    return _VARIABLE.sub(lambda found: found[1].lower(), _WHERE.sub("", problem))
