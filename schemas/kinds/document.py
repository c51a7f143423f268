"""document on the wire: a content's versions, review, access and retention. The content itself is elsewhere."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType

from annals.schemas.messages import Message
from annals.schemas.values.constraints import UNORDERED
from annals.schemas.values.fields import AggregateId, ContentCid, Count, Date, Language, License, MediaType, Slug, Text
from annals.schemas.values.refs import Actor, Owner, Reader

Confidentiality = Literal["public", "internal", "confidential", "restricted"]
Access = Literal["read", "comment", "write", "admin"]
Authors = Annotated[list[Actor], Meta(max_length=50), UNORDERED]
Tags = Annotated[list[Slug], Meta(max_length=50), UNORDERED]
# Nobody could approve or return what has no reviewers.
Reviewers = Annotated[list[AggregateId], Meta(min_length=1, max_length=20), UNORDERED]


class CreateDocument(Message):
    """A content becomes a document, with its first version."""

    title: Text
    document_type: Slug
    owner: Owner
    content_cid: ContentCid
    size_bytes: Count
    media_type: MediaType
    authors: Authors | UnsetType = UNSET
    language: Language | UnsetType = UNSET
    license: License | UnsetType = UNSET
    confidentiality: Confidentiality = "internal"
    tags: Tags | UnsetType = UNSET


class DocumentCreated(CreateDocument):
    """A content became a document, with its first version."""


class AddVersion(Message):
    """The content that is meant from now on."""

    content_cid: ContentCid
    size_bytes: Count
    media_type: MediaType
    summary: Text | UnsetType = UNSET


class VersionAdded(AddVersion):
    """The content that is meant from then on."""


class DescribeDocument(Message):
    """What is given changes; null clears. Less confidential needs a reason."""

    title: Text | UnsetType = UNSET
    owner: Owner | UnsetType = UNSET
    authors: Authors | UnsetType = UNSET
    language: Language | UnsetType | None = UNSET
    license: License | UnsetType | None = UNSET
    confidentiality: Confidentiality | UnsetType = UNSET
    tags: Tags | UnsetType = UNSET
    reason: Text | UnsetType = UNSET


class DocumentDescribed(DescribeDocument):
    """What is given changed; null: it was cleared."""


class ShareDocument(Message):
    """What somebody may do with it from now on; null: nothing any more."""

    grantee: Reader
    access: Access | None


class DocumentShared(ShareDocument):
    """What somebody may do with it from then on; null: nothing any more."""


class SubmitDocument(Message):
    """Others than owner and authors are asked to review it."""

    reviewer_ids: Reviewers


class DocumentSubmitted(SubmitDocument):
    """Others than owner and authors were asked to review it."""


class ApproveDocument(Message):
    """A reviewer agrees: one is enough."""

    reviewer_id: AggregateId


class DocumentApproved(ApproveDocument):
    """A reviewer agreed."""


class ReturnDocument(Message):
    """A reviewer wants more work."""

    reviewer_id: AggregateId
    reason: Text


class DocumentReturned(ReturnDocument):
    """A reviewer wants more work."""


class PublishDocument(Message):
    """The newest version is out."""


class DocumentPublished(PublishDocument):
    """The newest version is out."""


class ReopenDocument(Message):
    """It is worked on again."""

    reason: Text


class DocumentReopened(ReopenDocument):
    """It is worked on again."""


class SupersedeDocument(Message):
    """Another document takes its place, for good."""

    superseded_by: AggregateId


class DocumentSuperseded(SupersedeDocument):
    """Another document took its place, for good."""


class ArchiveDocument(Message):
    """It is put away; not to be deleted before a day, where one is given."""

    reason: Text
    retain_until: Date | UnsetType = UNSET


class DocumentArchived(ArchiveDocument):
    """It was put away."""


class RestoreDocument(Message):
    """It is taken out again, as a draft."""


class DocumentRestored(RestoreDocument):
    """It was taken out again, as a draft."""


class DeleteDocument(Message):
    """Its content may go. What was recorded of it stays."""

    reason: Text


class DocumentDeleted(DeleteDocument):
    """Its content may go."""


Command = (
    CreateDocument
    | AddVersion
    | DescribeDocument
    | ShareDocument
    | SubmitDocument
    | ApproveDocument
    | ReturnDocument
    | PublishDocument
    | ReopenDocument
    | SupersedeDocument
    | ArchiveDocument
    | RestoreDocument
    | DeleteDocument
)
Event = (
    DocumentCreated
    | VersionAdded
    | DocumentDescribed
    | DocumentShared
    | DocumentSubmitted
    | DocumentApproved
    | DocumentReturned
    | DocumentPublished
    | DocumentReopened
    | DocumentSuperseded
    | DocumentArchived
    | DocumentRestored
    | DocumentDeleted
)
