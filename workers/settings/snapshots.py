"""The setting that says when reading stores keep snapshots: `events=1000,keep=20; person: bytes=100000`."""

from __future__ import annotations

import re
from typing import Final

from msgspec.structs import fields

from annals.agents.reading.snapshots.policy import SnapshotPolicy

GREATEST: Final = 1_000_000_000  # seconds of 31 years
_POLICY: Final = re.compile(r"(?:([a-z][a-z0-9_]*)\s*:)?(.*)", re.DOTALL)
_MEMBER: Final = re.compile(r"([a-z_]+)\s*=\s*([0-9]{1,16})", re.ASCII)
MEMBERS: Final = tuple(field.name for field in fields(SnapshotPolicy))


def snapshot_policies(text: str) -> dict[str, SnapshotPolicy]:
    """Return the policies by kind; that of the kinds that are not named under the empty name.

    Raises:
        ValueError: it is of another form.
    """
    found: dict[str, SnapshotPolicy] = {"": SnapshotPolicy()}
    parts = [part.strip() for part in text.split(";") if part.strip()]
    kinds = [kind for kind, _ in map(_split, parts)]
    if len(set(kinds)) < len(kinds):
        raise ValueError("one policy for each kind")
    for kind, members in map(_split, parts):
        found[kind] = _policy(members)
    return found


def snapshots(value: str) -> str:
    """Take policies of snapshots."""
    try:
        snapshot_policies(value)
    except ValueError as error:
        raise ValueError(
            f"policies with semicolons between them, each `events=1000,keep=20` or `kind: events=1000`, of "
            f"{', '.join(MEMBERS)} ({error})"
        ) from None
    return value


def _split(part: str) -> tuple[str, str]:
    form = _POLICY.fullmatch(part)
    assert form is not None  # noqa: S101 - it takes any text
    return form[1] or "", form[2]


def _policy(text: str) -> SnapshotPolicy:
    given: dict[str, int] = {}
    for member in filter(None, map(str.strip, text.split(","))):
        form = _MEMBER.fullmatch(member)
        if form is None or form[1] not in MEMBERS or form[1] in given or int(form[2]) > GREATEST:
            raise ValueError("a member is none of these, has no such number, or is there twice")
        given[form[1]] = int(form[2])
    return SnapshotPolicy(**given)
