"""What an operator can turn: options, then the environment, then a TOML file; the only reader of the environment.

- `workers.settings.model`: every setting with its default, unit and meaning, as data;
- `workers.settings.values`: what each kind of value may be;
- `workers.settings.sources`: where values come from, and the refusal of wrong ones by name;
- `workers.settings.connection`: what a Kafka client needs of them;
- `workers.settings.certificates`: which authorities the first fetch of Kafka believes.
"""

from workers.settings.connection import client_options, is_loopback, warnings
from workers.settings.model import Settings, SettingsError, settings_metadata
from workers.settings.sources import default_cache_dir, environment_without_settings, load_settings
from workers.settings.values import Secret

__all__ = [
    "Secret",
    "Settings",
    "SettingsError",
    "client_options",
    "default_cache_dir",
    "environment_without_settings",
    "is_loopback",
    "load_settings",
    "settings_metadata",
    "warnings",
]
