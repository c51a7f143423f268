"""A command's members beside its data: read one by one, so that every one that is wrong can be named."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from annals.schemas.cid import parse_cid
from annals.schemas.envelope import ANY, EXISTS, Command, ExpectedVersion
from annals.schemas.values.ids import LONGEST_COMMAND_ID, LONGEST_ID, id_problem
from annals.schemas.values.moments import issued_at_problem
from annals.schemas.wire.dead_letter import NO_AGGREGATE_ID, NO_ID, DeadLetter
from annals.schemas.wire.strict_json import MOST_INTEGER, Fault

Trace = tuple[bytes | None, bytes | None, bytes | None]  # traceparent, tracestate, annals-via

MEMBERS: Final = (
    "id",
    "type",
    "aggregate_id",
    "data",
    "expected_version",
    "expected_head",
    "correlation_id",
    "causation_id",
    "actor",
    "issued_at",
)
_SAME: Final = {name: name for name in MEMBERS}


def command_of(
    values: Mapping[str, Any],
    faults: Sequence[Fault],
    trace: Trace,
    names: Mapping[str, str] = _SAME,
) -> Command | DeadLetter:
    """Return the command with all its errors, or a dead letter where nobody could be answered.

    `values` has the members under their names here (null or absent: not given), `faults` is what is known to be wrong
    already, `trace` what is carried from its headers, `names` what the sender calls the members.
    """
    for name, longest, reason in (("id", LONGEST_COMMAND_ID, NO_ID), ("aggregate_id", LONGEST_ID, NO_AGGREGATE_ID)):
        problem = _id_problem(values.get(name), longest)
        if problem is not None:
            return DeadLetter(reason, f"{names[name]} {problem}")
    reader = _Reader(values, faults, names)
    command_id: str = values["id"]
    type_ = reader.text("type")
    data = reader.object("data")
    expected_version = reader.expected_version()
    expected_head = reader.expected_head()
    correlation_id = reader.optional_id("correlation_id")
    causation_id = reader.optional_id("causation_id")
    actor = reader.optional_id("actor")
    reader.check_issued_at()
    return Command(
        command_id,
        type_,
        values["aggregate_id"],
        data,
        correlation_id or command_id,
        expected_version,
        expected_head,
        causation_id,
        actor,
        *trace,
        tuple(reader.errors),
    )


def _id_problem(value: Any, longest: int) -> str | None:
    if value is None:
        return "is required"
    return id_problem(value, longest) if isinstance(value, str) else "must be text"


class _Reader:
    """Takes members one by one; one that cannot be taken leaves an error, unless its place has one already."""

    def __init__(self, values: Mapping[str, Any], faults: Sequence[Fault], names: Mapping[str, str]) -> None:
        self.errors: list[Fault] = list(faults)
        self._values = values
        self._names = names
        self._known = {path for path, _ in faults}

    def _refuse(self, name: str, message: str) -> None:
        path = self._names[name]
        if path not in self._known:
            self.errors.append((path, message))

    def text(self, name: str) -> str | None:
        """Return a required text."""
        value = self._values.get(name)
        if isinstance(value, str):
            return value if self._names[name] not in self._known else None
        self._refuse(name, "is required" if value is None else "must be text")
        return None

    def object(self, name: str) -> dict[str, Any] | None:
        """Return a required object, None also when it has faults inside."""
        value = self._values.get(name)
        if isinstance(value, dict):
            return None if self.errors else value
        self._refuse(name, "is required" if value is None else "must be an object")
        return None

    def optional_id(self, name: str) -> str | None:
        """Return an optional id."""
        value = self._values.get(name)
        problem = None if value is None else _id_problem(value, LONGEST_ID)
        if problem is None:
            return value
        self._refuse(name, problem)
        return None

    def expected_version(self) -> ExpectedVersion:
        """Return the expected version, by default any."""
        value = self._values.get("expected_version")
        if value is None:
            return ANY
        for word in (ANY, EXISTS):
            if value == word:
                return word
        if type(value) is int and 0 <= value <= MOST_INTEGER:
            return value
        self._refuse("expected_version", 'must be an integer from 0, "any" or "exists"')
        return ANY

    def expected_head(self) -> bytes | None:
        """Return the expected head as a binary CID."""
        value = self._values.get("expected_head")
        if value is None:
            return None
        if not isinstance(value, str):
            self._refuse("expected_head", "must be the text of a CID")
            return None
        try:
            return parse_cid(value)
        except ValueError as error:
            self._refuse("expected_head", f"must be a CID: {error}")
            return None

    def check_issued_at(self) -> None:
        """Check the time that the sender gives; nothing is made of it."""
        value = self._values.get("issued_at")
        if value is None:
            return
        problem = issued_at_problem(value) if isinstance(value, str) else "must be text"
        if problem is not None:
            self._refuse("issued_at", problem)
