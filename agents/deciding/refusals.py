"""Why an aggregate says no, or cannot go on: the exceptions of deciders, each with what its outcome needs."""

from __future__ import annotations


class Refused(Exception):  # noqa: N818 -- an answer, not an error
    """A rule of the command's row is broken: `rule_violated`."""

    def __init__(self, rule: str, message: str) -> None:
        super().__init__(f"{rule}: {message}")
        self.rule = rule
        self.message = message


class NotOpen(Exception):  # noqa: N818 -- the same
    """The aggregate's status does not take the command: `invalid_transition`."""

    def __init__(self, status: str, command: str) -> None:
        self.status = status
        self.command = command
        self.message = f"{command} is not open to an aggregate that is {status}"
        super().__init__(self.message)


class UnknownEventError(Exception):
    """A stored event that this release cannot read: its type, its version, or data that are none of that version.

    It counts, but cannot be folded: the shard stops instead of guessing. `is_later` where another release published
    the type or version.
    """

    def __init__(self, kind: str, event_type: str, schema_version: int, why: str, *, is_later: bool = False) -> None:
        super().__init__(f"{kind} event {event_type} of schema version {schema_version}: {why}")
        self.kind = kind
        self.event_type = event_type
        self.schema_version = schema_version
        self.is_later = is_later
