"""documents: titles, newest versions and who may read them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, get_args

from msgspec import UNSET
from msgspec.structs import replace

from annals.agents.projections.projection import Projection, Row, given_members, one_of, reference_to
from annals.schemas.kinds import document as say
from annals.schemas.values.refs import OwnerRef, ReaderRef, ref_text

if TYPE_CHECKING:
    from annals.agents.projections.projection import Happened, ProjectionRows

# --- Row -------------------------------------------------------------------------------------------------------------


class Document(Row, kw_only=True):
    """A document; `version` counts its contents, references are texts (`person/p-1`)."""

    title: str
    document_type: str
    owner: str
    authors: list[str] = []
    status: str = "draft"
    version: int = 1
    content_cid: str
    published_version: int | None = None
    confidentiality: str
    tags: list[str] = []
    access: dict[str, str] = {}


STATUSES: Final[dict[type, str]] = {
    say.DocumentSubmitted: "in_review",
    say.DocumentApproved: "approved",
    say.DocumentReturned: "draft",
    say.DocumentReopened: "draft",
    say.DocumentSuperseded: "superseded",
    say.DocumentArchived: "archived",
    say.DocumentRestored: "draft",
    say.DocumentDeleted: "deleted",
}


def indexes(row: Document) -> dict[str, list[str]]:
    """Owner, tags, status, and who was let in."""
    return {"owner": [row.owner], "tag": row.tags, "status": [row.status], "grantee": list(row.access)}


# --- Fold ------------------------------------------------------------------------------------------------------------


def fold(event: Happened, rows: ProjectionRows[Document]) -> None:
    """Change the document's row."""
    message, at = event.message, event.aggregate_id
    if isinstance(message, say.DocumentCreated):
        given = given_members(message, "title", "document_type", "content_cid", "confidentiality", "tags")
        authors = [] if message.authors is UNSET else [ref_text(author) for author in message.authors]
        row = Document(kind=event.kind, aggregate_id=at, owner=ref_text(message.owner), authors=authors, **given)
        rows.put(row, at)
    elif old := rows.get(at):
        rows.put(_changed(message, old), at)


def _changed(message: object, row: Document) -> Document:
    match message:
        case say.VersionAdded():
            return replace(row, version=row.version + 1, content_cid=message.content_cid)
        case say.DocumentDescribed():
            return _described(message, row)
        case say.DocumentShared():
            grantee = ref_text(message.grantee)
            access = {other: may for other, may in row.access.items() if other != grantee}
            if message.access is not None:
                access[grantee] = message.access
            return replace(row, access=access)
        case say.DocumentPublished():
            return replace(row, status="published", published_version=row.version)
        case _:
            return replace(row, status=STATUSES.get(type(message), row.status))


def _described(message: say.DocumentDescribed, row: Document) -> Document:
    row = replace(row, **given_members(message, "title", "confidentiality", "tags"))
    if message.owner is not UNSET:
        row = replace(row, owner=ref_text(message.owner))
    if message.authors is not UNSET:
        row = replace(row, authors=[ref_text(author) for author in message.authors])
    return row


DOCUMENTS: Final = Projection(
    name="documents",
    version=1,
    wanted={"document": frozenset(get_args(say.Event))},
    row=Document,
    parameters=("owner", "tag", "status", "grantee"),
    indexes=indexes,
    fold=fold,
    values={
        "owner": reference_to(OwnerRef),
        "status": one_of(["draft", *STATUSES.values(), "published"]),
        "grantee": reference_to(ReaderRef),
    },
)
