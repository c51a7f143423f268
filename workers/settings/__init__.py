"""What an operator can turn: options, then the environment, then a TOML file; the only reader of the environment.

- `annals.workers.settings.model`: every setting with its default, unit and meaning, as data;
- `annals.workers.settings.values`: what each kind of value may be;
- `annals.workers.settings.sources`: where values come from, and the refusal of wrong ones by name;
- `annals.workers.settings.connection`: what a Kafka client needs of them;
- `annals.workers.settings.foreign`: other deployments whose journals are read;
- `annals.workers.settings.certificates`: which authorities the first fetch of Kafka believes.
"""

from annals.workers.settings.connection import client_options, is_loopback, warnings
from annals.workers.settings.foreign import ForeignDeployment, foreign_deployments, load_settings
from annals.workers.settings.model import READ, ROLES, WRITE, Settings, SettingsError, settings_metadata
from annals.workers.settings.sources import default_cache_dir, environment_without_settings
from annals.workers.settings.values import Secret

__all__ = [
    "READ",
    "ROLES",
    "WRITE",
    "ForeignDeployment",
    "Secret",
    "Settings",
    "SettingsError",
    "client_options",
    "default_cache_dir",
    "environment_without_settings",
    "foreign_deployments",
    "is_loopback",
    "load_settings",
    "settings_metadata",
    "warnings",
]
