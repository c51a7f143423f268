"""The routes of projections, questions and jobs, which answer as soon as the process has its reading shards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from annals.agents.reading.ports import NotReadyError
from annals.workers.api.routes.jobs import JobRoutes
from annals.workers.api.routes.projections import Expecting, ProjectionRoutes
from annals.workers.api.routes.questions import QuestionRoutes
from annals.workers.registry import projections

if TYPE_CHECKING:
    from collections.abc import Callable

    from annals.agents.reading.gathering.all_shards import AllShards
    from annals.workers.api.http.routing import Route


class Late:
    """Stands for an object that is there later; asked before, it is not ready."""

    def __init__(self, find: Callable[[], Any | None]) -> None:
        """Take what finds the object; None: it is not there."""
        self._find = find

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the object.

        Raises:
            NotReadyError: it is not there yet.
        """
        found = self._find()
        if found is None:
            raise NotReadyError("projections and jobs are not read yet: the worker is starting")
        return getattr(found, name)


def projection_routes(
    shards: AllShards,
    service: Callable[[], Any | None],
    answers: Callable[[], Any | None],
    jobs: Callable[[], Any | None],
    replays: Callable[[], Any | None],
    streams: Callable[[], Any | None],
) -> tuple[Route, ...]:
    """Return the routes; service and the others: what they are asked of, None while the process has no shards."""
    expecting = Expecting(shards, cast("Any", Late(streams)))
    asked, working = cast("Any", Late(answers)), cast("Any", Late(jobs))
    return (
        *ProjectionRoutes(cast("Any", Late(service)), working, asked, expecting, projections()).routes(),
        *QuestionRoutes(asked, expecting).routes(),
        *JobRoutes(working, cast("Any", Late(replays))).routes(),
    )
