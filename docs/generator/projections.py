"""docs/reference/projections.md, from the registry of read models."""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING, Any

import msgspec

from annals.agents.projections import REGISTRY
from annals.agents.reading.read_models.asking import QUESTIONS
from generator.markdown import code, table

if TYPE_CHECKING:
    from annals.agents.projections.projection import Projection

HEAD = """# Projections

The read models: pure folds of events into rows. Each row begins with the kind and id of the aggregate that it tells of.
A local projection is folded partition by partition; a global one folds all partitions of its kinds.
"""


QUESTION_HEAD = """Each answers `{rows, next, positions, missing, stale, truncated, lag}`: the rows of a projection,
and what they rest on. With `limit` (1 to 1,000) a page of them, and `next` leads to the next one; all pages are of one
version of the projection, in the order of their rows' keys. A page may have fewer rows than `limit` before the last
one, or none: where few of those that an index finds answer. Without `limit`: all of them, up to 100,000 that are looked
at; `truncated`: there are more, and `next` goes on behind them. References are `kind:id`, as `person:p-1`.
`expect=<kind>/<id>@<version>` (repeatable) and `wait` (seconds), as for rows: not before that event is folded.
`annals ask people email=ada@example.org` asks on the command line, page by page."""


def page() -> str:
    """Return the page."""
    return "\n\n".join([HEAD.rstrip(), *(_section(each) for each in REGISTRY.values()), _questions()])


def _section(projection: Projection[Any]) -> str:
    title = inspect.cleandoc(projection.row.__doc__ or "")
    facts = f"Version {projection.version}, {projection.scope}. Found by {', '.join(map(code, projection.parameters))}."
    facts += "".join(f" {code(each)} finds all values below it, the least first." for each in projection.ranges)
    rows = [(code(field.encode_name), code(_type_of(field.type))) for field in msgspec.structs.fields(projection.row)]
    return f"## {projection.name}\n\n{title}\n\n{facts}\n\n{table(('column', 'type'), rows)}"


def _type_of(annotation: Any) -> str:
    if type(annotation) is type or isinstance(annotation, msgspec.StructMeta):
        return str(annotation.__name__)
    return re.sub(r"(annals\.[a-z_.]*|typing\.)", "", str(annotation))


def _questions() -> str:
    rows = [
        (
            code(f"/v1/questions/{name}"),
            ", ".join(map(code, question.required)),
            ", ".join(map(code, question.optional)),
            code(question.projection.name),
        )
        for name, question in QUESTIONS.items()
    ]
    heads = ("question", "required", "optional", "rows of")
    return f"## Questions\n\n{QUESTION_HEAD}\n\n{table(heads, rows)}\n"
