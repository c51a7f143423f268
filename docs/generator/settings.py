"""docs/reference/settings.md, from the metadata of `annals.workers.settings`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from annals.workers.settings import settings_metadata
from generator.markdown import code, fenced, table

if TYPE_CHECKING:
    from annals.workers.settings.metadata import SettingMeta

# No setting but a free text or a path takes this; what the others say when they refuse it is what they take.
PROBE = "\x7f/\x7f"
TITLES = {
    "kafka": "Kafka",
    "connection": "Connection",
    "topics": "Topics",
    "schemas": "Schema registry",
    "worker": "Worker",
    "limits": "Limits",
    "web": "Web",
    "reading": "Reading",
    "asking": "Commands that ask the API",
    "log": "Log",
}
INTRO = """# Settings

A setting is an environment variable, an option of the same name (`ANNALS_WEB_PORT` is `--web-port`) or a member of a
TOML file. An option wins over the environment, and that over the file. A wrong value, and a name that does not exist,
is refused at the start, by name. Words are taken in either case, and those of a list in any order, one more than once;
`1` may be `true`, `yes` or `on`, and `0` may be `false`, `no` or `off`.
"""
SOURCES = """## From a file

`ANNALS_CONFIG`, or `--config`, names a TOML file. Its members are the names in lower case, without the prefix:
"""
SECRETS = """## Secrets

Each of {variables} can be read from a file instead: {files} name it. A line feed at its end is not part of the
secret. A secret is in no log, no error and no listing. Given twice, it is refused.
"""


def page() -> str:
    """Return the page."""
    metas = settings_metadata()
    if unknown := {meta.group for meta in metas} - TITLES.keys():
        raise LookupError(f"groups of settings without a title: {sorted(unknown)}")
    parts = [INTRO]
    for group, title in TITLES.items():
        rows = [_row(meta) for meta in metas if meta.group == group]
        parts += [f"## {title}\n", table(["variable", "default", "what", "takes"], rows)]
    secrets = [meta for meta in metas if meta.is_secret]
    variables = ", ".join(code(meta.variable) for meta in secrets)
    files = ", ".join(code(f"{meta.variable}_FILE") for meta in secrets)
    example = 'bootstrap_servers = ["kafka-1:9092", "kafka-2:9092"]\npartitions = 12\nreplication_factor = 3\n'
    parts += [SOURCES, fenced("toml", example), SECRETS.format(variables=variables, files=files)]
    return "\n".join(parts)


def _row(meta: SettingMeta) -> list[str]:
    default = meta.default
    if default is None:
        shown = "unset"
    elif meta.is_switch:
        shown = code("1" if default else "0")
    else:
        shown = code(str(default)) if str(default) else "empty"
    unit = f" ({meta.unit})" if meta.unit and meta.unit not in meta.help and ":" not in meta.unit else ""
    return [code(meta.variable), shown, meta.help + unit, _takes(meta)]


def _takes(meta: SettingMeta) -> str:
    """What a setting takes, in its own words."""
    if meta.is_secret:
        return "text, or a file"
    try:
        value = meta.parse(PROBE)
    except ValueError as error:
        # The reason of this refusal is no part of what is taken.
        return re.sub(r" \((?!ASCII)[^()]*\)$", "", str(error))
    return "a folder" if isinstance(value, Path) else "text"
