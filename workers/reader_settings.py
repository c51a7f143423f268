"""What must be right in the settings of the role `read` before any group is joined, for one process or two."""

from __future__ import annotations

from typing import TYPE_CHECKING

from annals.workers.api.callers.credentials import check_credentials
from annals.workers.process import CannotStartError
from annals.workers.registry import deciders
from annals.workers.settings import SettingsError
from annals.workers.settings.snapshots import snapshot_policies

if TYPE_CHECKING:
    from annals.workers.settings import Settings


def check_reading(settings: Settings) -> None:
    """Refuse settings that nothing could be read by.

    Raises:
        CannotStartError: one of them is wrong; the message names it.
    """
    unknown = sorted(snapshot_policies(settings.read_snapshots).keys() - {"", *deciders()})
    if unknown:
        raise CannotStartError(f"ANNALS_READ_SNAPSHOTS: there is no kind {', '.join(unknown)}")
    try:
        check_credentials(settings)
    except SettingsError as error:
        raise CannotStartError(str(error)) from None
