"""The aggregates, projections and reactions that there are: the project's own, and those that others register.

An entry point of the group `annals.aggregates` names a kind and its decider, one of `annals.projections` a projection,
or several versions of it, one of `annals.reactions` a reaction; no fork of the project is needed.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Final

from annals.agents.aggregates import REGISTRY
from annals.agents.deciding.decider import Decider
from annals.agents.projections import REGISTRY as READ_MODELS
from annals.agents.projections.projection import Projection
from annals.agents.projections.projection import problem_of as problem_of_projection
from annals.agents.reactions import REGISTRY as OWN_REACTIONS
from annals.agents.reactions.reaction import Reaction, problem_of
from annals.schemas.json_schemas.wire_schemas import WIRE
from annals.schemas.suggestion import meant, with_known

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator
    from importlib.metadata import EntryPoint

    from annals.agents.event_keys import Rekeyed

GROUP: Final = "annals.aggregates"
PROJECTIONS_GROUP: Final = "annals.projections"
REACTIONS_GROUP: Final = "annals.reactions"
KIND: Final = re.compile(r"[a-z][a-z0-9_-]{0,31}", re.ASCII)
"""What fits into the names of topics, the URNs of schemas and the types of CloudEvents."""
PROJECTION_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,62}", re.ASCII)


class RegistrationError(Exception):
    """An entry point does not register what it says; the message names it."""


@cache
def deciders() -> dict[str, Decider[Any]]:
    """Return all deciders by kind.

    Raises:
        RegistrationError: an entry point cannot be loaded, is no decider of its name, or its kind is none or exists.
    """
    found: dict[str, Decider[Any]] = dict(REGISTRY)
    for name, decider, where in _loaded(GROUP):
        if not KIND.fullmatch(name) or name == WIRE:
            raise RegistrationError(f"{where}: a kind is 1 to 32 of a-z 0-9 _ - (a letter first), and not {WIRE!r}")
        if not isinstance(decider, Decider) or decider.kind != name:
            raise RegistrationError(f"{where} is no decider of the kind {name!r}")
        if name in found:
            raise RegistrationError(f"{where} registers a kind that exists already; choose another name")
        found[name] = decider
    return found


@cache
def projections() -> dict[str, tuple[Projection[Any], ...]]:
    """Return all projections by name, each with the versions that this release can fold, the newest last.

    Raises:
        RegistrationError: an entry point cannot be loaded, is no projection of its name, or its name is none or exists.
    """
    found: dict[str, tuple[Projection[Any], ...]] = {name: (projection,) for name, projection in READ_MODELS.items()}
    for name, loaded, where in _loaded(PROJECTIONS_GROUP):
        if not PROJECTION_NAME.fullmatch(name):
            raise RegistrationError(f"{where}: a projection's name is 1 to 63 of a-z 0-9 _, a letter first")
        if name in found:
            raise RegistrationError(f"{where} registers a projection that exists already; choose another name")
        found[name] = _versions(loaded, name, where)
    return found


@cache
def reactions() -> dict[str, Reaction[Any]]:
    """Return all reactions by name.

    Raises:
        RegistrationError: an entry point cannot be loaded, is no reaction of its name that can be run, or its name
            exists.
    """
    found: dict[str, Reaction[Any]] = dict(OWN_REACTIONS)
    for name, loaded, where in _loaded(REACTIONS_GROUP):
        if not isinstance(loaded, Reaction) or loaded.name != name:
            raise RegistrationError(f"{where} is no reaction of the name {name!r}")
        if problem := problem_of(loaded):
            raise RegistrationError(f"{where}: {problem}")
        if loaded.kind not in deciders():
            raise RegistrationError(f"{where} wants events of a kind that does not exist: {loaded.kind}")
        if name in found:
            raise RegistrationError(f"{where} registers a reaction that exists already; choose another name")
        found[name] = loaded
    return found


def streams() -> dict[str, Rekeyed]:
    """Return all re-keyed streams by name: of reactions and of projections.

    Raises:
        RegistrationError: a projection has one, and the name of a reaction, whose progress would be mistaken for its.
    """
    found = {name: each.stream for name, each in reactions().items() if each.stream is not None}
    for name, versions in projections().items():
        stream = versions[-1].stream
        if stream is None:
            continue
        if name in reactions():
            raise RegistrationError(f"the projection {name!r} is re-keyed, and a reaction has its name; choose another")
        found[name] = stream
    return found


def event_types(kinds: Iterable[str]) -> dict[str, None]:
    """Return the types of events that some kinds have in this release, in their order, each once."""
    return {name: None for kind in kinds for name in deciders()[kind].events}


def unknown_kind(name: str) -> str | None:
    """Return what is said of a kind that there is not, with the one that was meant; None of one that there is."""
    if name in deciders():
        return None
    return with_known("there is no kind", name, deciders())


def unknown_event(name: str, kinds: Collection[str]) -> str | None:
    """Return what is said of a type of which these kinds have no event in this release, with what was meant.

    None: one of them has it.
    """
    known = event_types(kinds)
    if name in known:
        return None
    said = f"{_whose(kinds)} no event {name!r}." if _whose(kinds) else f"no kind has an event {name!r}."
    elsewhere = [kind for kind, decider in deciders().items() if name in decider.events]
    if elsewhere:
        return f"{said} It is an event of {' and '.join(elsewhere)}."
    if any(name in decider.commands for decider in deciders().values()):
        return f"{said} It is a command; its events have names of their own."
    return said + meant(name, known)


def unknown_command(name: str, kinds: Collection[str]) -> str | None:
    """Return what is said of a type of which these kinds have no command in this release; None: one of them has it."""
    known = {each: None for kind in kinds for each in deciders()[kind].commands}
    if name in known:
        return None
    said = f"{_whose(kinds)} no command {name!r}." if _whose(kinds) else f"no kind has a command {name!r}."
    return said + meant(name, known)


def _whose(kinds: Collection[str]) -> str:
    """Return who has something, where that is not every kind."""
    if len(kinds) == len(deciders()):
        return ""
    return f"{' and '.join(kinds)} {'has' if len(kinds) == 1 else 'have'}"


def _loaded(group: str) -> Iterator[tuple[str, Any, str]]:
    """Yield name, object and place of each entry point of a group."""
    for point in entry_points(group=group):
        where = f"entry point {point.name} = {point.value} of {group}"
        try:
            loaded = point.load()
        except (Exception, SystemExit) as error:
            raise RegistrationError(f"{where} cannot be loaded: {type(error).__name__}: {error}") from error
        yield point.name, loaded, where


def _versions(loaded: object, name: str, where: str) -> tuple[Projection[Any], ...]:
    versions = tuple(loaded) if isinstance(loaded, tuple | list) else (loaded,)
    for projection in versions:
        if not isinstance(projection, Projection) or projection.name != name:
            raise RegistrationError(f"{where} is no projection of the name {name!r}, nor a tuple of its versions")
        if unknown := projection.wanted.keys() - deciders().keys():
            raise RegistrationError(f"{where} wants events of kinds that do not exist: {', '.join(sorted(unknown))}")
        if problem := problem_of_projection(projection):
            raise RegistrationError(f"{where} {problem}")
    numbers = [projection.version for projection in versions]
    if not numbers or min(numbers) < 1 or len(set(numbers)) < len(numbers):
        raise RegistrationError(f"{where}: versions are numbers from 1, each once")
    if len({projection.scope for projection in versions}) > 1:
        raise RegistrationError(f"{where}: all versions of a projection have one scope")
    if len({projection.stream for projection in versions}) > 1:
        raise RegistrationError(f"{where}: all versions of a projection are re-keyed by one key, or none is")
    return tuple(sorted(versions, key=lambda projection: projection.version))


def registration_of(kind: str) -> EntryPoint | None:
    """Return the entry point by which another distribution registers a kind; None for the project's own."""
    return next(iter(entry_points(group=GROUP, name=kind)), None)
