"""document: a content's versions, review, access and retention. The content itself is elsewhere.

References, not checked: persons, organizations and agents (owner, authors, reviewers, readers), a document
(superseded_by).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, assert_never

from msgspec import UNSET
from msgspec.structs import replace

from annals.agents.deciding.comparison import changes, matches, or_none
from annals.agents.deciding.decider import Decider
from annals.agents.deciding.machine import ABSENT, Machine, On
from annals.agents.deciding.refusals import Refused
from annals.agents.deciding.rules import drop, put, refuse_full, refuse_self
from annals.agents.deciding.state import State, StatePart
from annals.schemas.kinds import document as say
from annals.schemas.messages import event_from
from annals.schemas.values.refs import ref_text
from annals.schemas.values.standards.calendar import day_of

if TYPE_CHECKING:
    from annals.agents.deciding.decider import Circumstances

MAX_VERSIONS: Final = 1_000
MAX_ACCESS: Final = 500

_SECRECY: Final = ("public", "internal", "confidential", "restricted")
"""From the least to the most confidential."""

# --- Lifecycle -------------------------------------------------------------------------------------------------------

MACHINE: Final = Machine(
    open_={"draft": "", "in_review": "", "approved": "", "published": ""},
    frozen={"archived": "put away"},
    terminal={"superseded": "another took its place", "deleted": ""},
    rows=(
        On(say.CreateDocument, (say.DocumentCreated,), where=(ABSENT,), to="draft"),
        On(say.AddVersion, (say.VersionAdded,), where=("draft",)),
        On(say.DescribeDocument, (say.DocumentDescribed,)),
        On(say.ShareDocument, (say.DocumentShared,)),
        On(say.SubmitDocument, (say.DocumentSubmitted,), where=("draft",), to="in_review"),
        On(say.ApproveDocument, (say.DocumentApproved,), where=("in_review",), to="approved"),
        On(say.ReturnDocument, (say.DocumentReturned,), where=("in_review",), to="draft"),
        On(say.PublishDocument, (say.DocumentPublished,), where=("approved",), to="published"),
        On(say.ReopenDocument, (say.DocumentReopened,), where=("approved", "published"), to="draft"),
        On(say.SupersedeDocument, (say.DocumentSuperseded,), where=("published",), to="superseded"),
        On(say.ArchiveDocument, (say.DocumentArchived,), where=("draft", "approved", "published"), to="archived"),
        On(say.RestoreDocument, (say.DocumentRestored,), where=("archived",), to="draft"),
        On(say.DeleteDocument, (say.DocumentDeleted,), where=("archived",), to="deleted"),
    ),
)

# --- State -----------------------------------------------------------------------------------------------------------


class Version(StatePart):
    """One content, and what it is."""

    content_cid: str
    size_bytes: int
    media_type: str
    summary: str | None = None


class Document(State):
    """The document: `versions` oldest first, `published_version` counted from 1, references as `person/p-1`."""

    title: str = ""
    document_type: str = ""
    owner: str = ""
    authors: list[str] = []
    language: str | None = None
    license: str | None = None
    confidentiality: str = ""
    tags: list[str] = []
    versions: list[Version] = []
    published_version: int | None = None
    reviewer_ids: list[str] = []
    access: dict[str, str] = {}
    retain_until: str | None = None
    superseded_by: str | None = None


def already_true(command: say.Command, document: Document) -> bool:
    """Whether the command's wish is true of the document."""
    match command:
        case say.CreateDocument():
            return matches(command, document) and all(matches(command, first) for first in document.versions[:1])
        case say.AddVersion():
            return any(newest.content_cid == command.content_cid for newest in document.versions[-1:])
        case say.ShareDocument():
            return document.access.get(ref_text(command.grantee)) == command.access
        case (
            say.DescribeDocument()
            | say.SubmitDocument()
            | say.ApproveDocument()
            | say.ReturnDocument()
            | say.PublishDocument()
            | say.ReopenDocument()
            | say.SupersedeDocument()
            | say.ArchiveDocument()
            | say.RestoreDocument()
            | say.DeleteDocument()
        ):
            return matches(command, document)
        case _:
            assert_never(command)


# --- Decide ----------------------------------------------------------------------------------------------------------


def decide(command: say.Command, document: Document, at: Circumstances) -> list[say.Event]:
    """The events of a command that is open and not yet true.

    Raises:
        Refused: the first rule of the command's row that is broken.
    """
    match command:
        case say.CreateDocument():
            return [event_from(command, say.DocumentCreated)]
        case say.AddVersion():
            refuse_full(document.versions, MAX_VERSIONS, "versions")
            return [event_from(command, say.VersionAdded)]
        case say.DescribeDocument():
            if command.reason is UNSET and _is_less_confidential(command, document):
                raise Refused("reason_missing", "making a document less confidential needs a reason")
            return [say.DocumentDescribed(reason=command.reason, **changes(command, document))]
        case say.ShareDocument():
            if command.access is not None:
                _refuse_grantee(ref_text(command.grantee), document)
            return [event_from(command, say.DocumentShared)]
        case say.SubmitDocument():
            makers = {document.owner, *document.authors}
            if any(f"person/{reviewer_id}" in makers for reviewer_id in command.reviewer_ids):
                raise Refused("own_review", "the owner and the authors cannot review the document; name others")
            return [event_from(command, say.DocumentSubmitted)]
        case say.ApproveDocument():
            _refuse_stranger(command.reviewer_id, document)
            return [event_from(command, say.DocumentApproved)]
        case say.ReturnDocument():
            _refuse_stranger(command.reviewer_id, document)
            return [event_from(command, say.DocumentReturned)]
        case say.PublishDocument():
            return [event_from(command, say.DocumentPublished)]
        case say.ReopenDocument():
            return [event_from(command, say.DocumentReopened)]
        case say.SupersedeDocument():
            refuse_self(command.superseded_by, at.aggregate_id, "superseded_by")
            return [event_from(command, say.DocumentSuperseded)]
        case say.ArchiveDocument():
            return [event_from(command, say.DocumentArchived)]
        case say.RestoreDocument():
            return [event_from(command, say.DocumentRestored)]
        case say.DeleteDocument():
            if document.retain_until is not None and day_of(at.now) < document.retain_until:
                raise Refused("retention_running", f"the document is to be kept until {document.retain_until} (UTC)")
            return [event_from(command, say.DocumentDeleted)]
        case _:
            assert_never(command)


def _is_less_confidential(command: say.DescribeDocument, document: Document) -> bool:
    wanted = command.confidentiality
    return wanted is not UNSET and _SECRECY.index(wanted) < _SECRECY.index(document.confidentiality)


def _refuse_grantee(grantee: str, document: Document) -> None:
    """Refuse one too many, or the owner; what an owner was granted before can be ended."""
    if grantee not in document.access:
        refuse_full(document.access, MAX_ACCESS, "grantees")
    if grantee == document.owner:
        raise Refused("grantee_is_owner", "the owner may do everything already")


def _refuse_stranger(reviewer_id: str, document: Document) -> None:
    if reviewer_id not in document.reviewer_ids:
        raise Refused("not_a_reviewer", "only a reviewer who was named at the submission decides about the document")


# --- Evolve ----------------------------------------------------------------------------------------------------------


def evolve(document: Document, event: say.Event) -> Document:
    """The document after the event."""
    match event:
        case say.DocumentCreated():
            return Document(
                status="draft",
                title=event.title,
                document_type=event.document_type,
                owner=ref_text(event.owner),
                authors=[ref_text(author) for author in or_none(event.authors) or ()],
                language=or_none(event.language),
                license=or_none(event.license),
                confidentiality=event.confidentiality,
                tags=or_none(event.tags) or [],
                versions=[_version(event)],
            )
        case say.VersionAdded():
            version = replace(_version(event), summary=or_none(event.summary))
            return replace(document, versions=[*document.versions, version])
        case say.DocumentDescribed():
            return replace(document, **_as_kept(changes(event, document)))
        case say.DocumentShared():
            grantee = ref_text(event.grantee)
            access = document.access
            return replace(
                document, access=drop(access, grantee) if event.access is None else put(access, grantee, event.access)
            )
        case say.DocumentSubmitted():
            return replace(document, status="in_review", reviewer_ids=event.reviewer_ids)
        case say.DocumentApproved():
            return replace(document, status="approved")
        case say.DocumentReturned():
            return replace(document, status="draft")
        case say.DocumentPublished():
            return replace(document, status="published", published_version=len(document.versions))
        case say.DocumentReopened():
            return replace(document, status="draft")
        case say.DocumentSuperseded():
            return replace(document, status="superseded", superseded_by=event.superseded_by)
        case say.DocumentArchived():
            # A duty to retain is not ended by saying nothing of it.
            retain_until = document.retain_until if event.retain_until is UNSET else event.retain_until
            return replace(document, status="archived", retain_until=retain_until)
        case say.DocumentRestored():
            return replace(document, status="draft")
        case say.DocumentDeleted():
            return replace(document, status="deleted")
        case _:
            assert_never(event)


def _version(event: say.DocumentCreated | say.VersionAdded) -> Version:
    return Version(content_cid=event.content_cid, size_bytes=event.size_bytes, media_type=event.media_type)


def _as_kept(changed: dict[str, Any]) -> dict[str, Any]:
    """Changed members as the state keeps them."""
    if "owner" in changed:
        changed["owner"] = ref_text(changed["owner"])
    if "authors" in changed:
        changed["authors"] = [ref_text(author) for author in changed["authors"]]
    return changed


# --- Decider ---------------------------------------------------------------------------------------------------------

DOCUMENT: Final = Decider(
    "document", MACHINE, Document(), state_version=1, already_true=already_true, decide=decide, evolve=evolve
)
