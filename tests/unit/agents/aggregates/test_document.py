"""document, row by row of the domain's table."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from annals.agents.aggregates.document import MAX_ACCESS, MAX_VERSIONS
from annals.agents.testing import given
from annals.schemas.kinds.document import (
    AddVersion,
    ApproveDocument,
    ArchiveDocument,
    CreateDocument,
    DeleteDocument,
    DescribeDocument,
    DocumentApproved,
    DocumentArchived,
    DocumentCreated,
    DocumentDeleted,
    DocumentDescribed,
    DocumentPublished,
    DocumentReopened,
    DocumentRestored,
    DocumentReturned,
    DocumentShared,
    DocumentSubmitted,
    DocumentSuperseded,
    PublishDocument,
    ReopenDocument,
    RestoreDocument,
    ReturnDocument,
    ShareDocument,
    SubmitDocument,
    SupersedeDocument,
    VersionAdded,
)
from annals.schemas.values.refs import ActorRef, OwnerRef, ReaderRef

if TYPE_CHECKING:
    from annals.schemas.messages import Message

FIRST = "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy"
SECOND = "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi"
ADA = OwnerRef(kind="person", id="ada")
GRACE = ActorRef(kind="person", id="grace")
BOT = ActorRef(kind="agent", id="bot")
MARY = ReaderRef(kind="person", id="mary")

CREATED = DocumentCreated(
    title="Notes",
    document_type="report",
    owner=ADA,
    authors=[GRACE, BOT],
    tags=["ai", "lab"],
    content_cid=FIRST,
    size_bytes=100,
    media_type="text/plain",
    confidentiality="internal",
)
DRAFT = (CREATED,)
IN_REVIEW = (*DRAFT, DocumentSubmitted(reviewer_ids=["mary", "joan"]))
APPROVED = (*IN_REVIEW, DocumentApproved(reviewer_id="mary"))
PUBLISHED = (*APPROVED, DocumentPublished())
SUPERSEDED = (*PUBLISHED, DocumentSuperseded(superseded_by="d-2"))
ARCHIVED = (*DRAFT, DocumentArchived(reason="old", retain_until="2026-01-02"))
DELETED = (*DRAFT, DocumentArchived(reason="old"), DocumentDeleted(reason="duty"))
STATUSES = {
    "draft": DRAFT,
    "in_review": IN_REVIEW,
    "approved": APPROVED,
    "published": PUBLISHED,
    "superseded": SUPERSEDED,
    "archived": ARCHIVED,
    "deleted": DELETED,
}
NEXT = AddVersion(content_cid=SECOND, size_bytes=0, media_type="application/pdf", summary="Typos")
CREATE = CreateDocument(
    title="Notes", document_type="report", owner=ADA, content_cid=FIRST, size_bytes=100, media_type="text/plain"
)


def elsewhere(*statuses: str) -> list[str]:
    return [status for status in STATUSES if status not in statuses]


def not_open(command: Message, *statuses: str) -> None:
    """The command is open to none of these, and not already true there."""
    for status in statuses:
        given(*STATUSES[status]).when(command).then_not_open(status)


def test_a_document_is_created_with_its_first_version_and_is_internal() -> None:
    given().when(CREATE).then(
        DocumentCreated(
            title="Notes",
            document_type="report",
            owner=ADA,
            content_cid=FIRST,
            size_bytes=100,
            media_type="text/plain",
            confidentiality="internal",
        )
    )


def test_an_event_carries_the_default_as_it_was_applied() -> None:
    data = {
        "title": "Notes",
        "document_type": "report",
        "owner": {"kind": "person", "id": "ada"},
        "content_cid": FIRST,
        "size_bytes": 100,
        "media_type": "text/plain",
    }
    answer = given().when_sent("CreateDocument", data, kind="document")
    assert answer.events is not None
    (event,) = answer.events
    assert event == DocumentCreated(**{**data, "owner": ADA, "confidentiality": "internal"})


@pytest.mark.parametrize("status", STATUSES)
def test_creating_the_same_again_is_already_true_in_any_status(status: str) -> None:
    given(*STATUSES[status]).when(CREATE).then_nothing()


def test_creating_the_same_again_is_already_true_of_a_document_with_more_versions() -> None:
    given(*DRAFT, VersionAdded(content_cid=SECOND, size_bytes=1, media_type="text/plain")).when(CREATE).then_nothing()


@pytest.mark.parametrize(
    "changed", [{"title": "Other"}, {"content_cid": SECOND}, {"size_bytes": 1}, {"confidentiality": "public"}]
)
def test_creating_another_document_under_the_same_id_is_not_open(changed: dict[str, object]) -> None:
    said = {
        "title": "Notes",
        "document_type": "report",
        "owner": ADA,
        "content_cid": FIRST,
        "size_bytes": 100,
        "media_type": "text/plain",
    }
    given(*DRAFT).when(CreateDocument(**{**said, **changed})).then_not_open("draft")


@pytest.mark.parametrize(
    "command",
    [
        NEXT,
        DescribeDocument(),
        ShareDocument(grantee=MARY, access=None),
        SubmitDocument(reviewer_ids=["mary"]),
        ApproveDocument(reviewer_id="mary"),
        ReturnDocument(reviewer_id="mary", reason="x"),
        PublishDocument(),
        ReopenDocument(reason="x"),
        SupersedeDocument(superseded_by="d-2"),
        ArchiveDocument(reason="x"),
        RestoreDocument(),
        DeleteDocument(reason="x"),
    ],
)
def test_only_its_creation_is_open_to_an_absent_document(command: Message) -> None:
    given().when(command).then_not_open("absent")


def test_a_version_is_added_to_a_draft_once() -> None:
    added = VersionAdded(content_cid=SECOND, size_bytes=0, media_type="application/pdf", summary="Typos")
    given(*DRAFT).when(NEXT).then(added)
    given(*DRAFT, added).when(NEXT).then_nothing()
    given(*DRAFT, added).when(AddVersion(content_cid=SECOND, size_bytes=5, media_type="text/html")).then_nothing()
    not_open(NEXT, *elsewhere("draft"))


@pytest.mark.parametrize("status", STATUSES)
def test_the_newest_version_is_already_there_in_any_status(status: str) -> None:
    given(*STATUSES[status]).when(AddVersion(content_cid=FIRST, size_bytes=1, media_type="text/plain")).then_nothing()


def test_an_older_version_can_be_the_newest_again() -> None:
    added = VersionAdded(content_cid=SECOND, size_bytes=1, media_type="text/plain")
    given(*DRAFT, added).when(AddVersion(content_cid=FIRST, size_bytes=100, media_type="text/plain")).then(
        VersionAdded(content_cid=FIRST, size_bytes=100, media_type="text/plain")
    )


def test_a_document_has_at_most_a_thousand_versions() -> None:
    many = [
        VersionAdded(content_cid=FIRST if n % 2 else SECOND, size_bytes=n, media_type="text/plain")
        for n in range(1, MAX_VERSIONS)
    ]
    more = AddVersion(content_cid=SECOND, size_bytes=1, media_type="text/plain")
    given(*DRAFT, *many).when(more).then_refused("limit_reached")
    given(*DRAFT, *many[1:-1], VersionAdded(content_cid=FIRST, size_bytes=1, media_type="text/plain")).when(more).then(
        VersionAdded(content_cid=SECOND, size_bytes=1, media_type="text/plain")
    )


def test_a_described_document_says_only_what_differs_with_its_reason_and_null_clears() -> None:
    told = (*DRAFT, DocumentDescribed(language="en-GB", license="MIT"))
    given(*told).when(DescribeDocument(title="Notes", language=None, license="MIT", tags=["x"], reason="tidied")).then(
        DocumentDescribed(language=None, tags=["x"], reason="tidied")
    )
    given(*told).when(DescribeDocument(owner=OwnerRef(kind="organization", id="ada"))).then(
        DocumentDescribed(owner=OwnerRef(kind="organization", id="ada"))
    )
    given(*told).when(DescribeDocument(authors=[])).then(DocumentDescribed(authors=[]))


def test_a_document_that_is_described_so_already_is_not_described_again() -> None:
    given(*DRAFT).when(
        DescribeDocument(
            title="Notes", owner=ADA, authors=[BOT, GRACE], tags=["lab", "ai"], license=None, reason="again"
        )
    ).then_nothing()
    given(*DRAFT).when(DescribeDocument()).then_nothing()
    given(*DELETED).when(DescribeDocument(title="Notes")).then_nothing()


@pytest.mark.parametrize("status", ["draft", "in_review", "approved", "published"])
def test_a_document_is_described_and_shared_until_it_is_put_away(status: str) -> None:
    given(*STATUSES[status]).when(DescribeDocument(title="Other")).then(DocumentDescribed(title="Other"))
    given(*STATUSES[status]).when(ShareDocument(grantee=MARY, access="read")).then(
        DocumentShared(grantee=MARY, access="read")
    )


def test_a_document_that_is_put_away_is_neither_described_nor_shared() -> None:
    away = ("superseded", "archived", "deleted")
    not_open(DescribeDocument(title="Other"), *away)
    not_open(ShareDocument(grantee=MARY, access="read"), *away)
    given(*ARCHIVED).when(ShareDocument(grantee=MARY, access=None)).then_nothing()


@pytest.mark.parametrize(
    ("before", "after", "needs_reason"),
    [
        ("restricted", "confidential", True),
        ("confidential", "internal", True),
        ("internal", "public", True),
        ("restricted", "public", True),
        ("public", "internal", False),
        ("internal", "confidential", False),
        ("confidential", "restricted", False),
    ],
)
def test_less_confidential_needs_a_reason(before: str, after: str, needs_reason: bool) -> None:  # noqa: FBT001
    past = (*DRAFT, DocumentDescribed(confidentiality=before, reason="x"))
    answer = given(*past).when(DescribeDocument(confidentiality=after))
    if needs_reason:
        answer.then_refused("reason_missing")
    else:
        answer.then(DocumentDescribed(confidentiality=after))
    given(*past).when(DescribeDocument(confidentiality=after, reason="board")).then(
        DocumentDescribed(confidentiality=after, reason="board")
    )
    given(*past).when(DescribeDocument(confidentiality=before)).then_nothing()


def test_a_document_is_shared_as_one_may_use_it_and_null_ends_it() -> None:
    shared = (*DRAFT, DocumentShared(grantee=MARY, access="read"))
    given(*DRAFT).when(ShareDocument(grantee=MARY, access="read")).then(shared[-1])
    given(*shared).when(ShareDocument(grantee=MARY, access="read")).then_nothing()
    given(*shared).when(ShareDocument(grantee=MARY, access="admin")).then(DocumentShared(grantee=MARY, access="admin"))
    given(*shared).when(ShareDocument(grantee=MARY, access=None)).then(DocumentShared(grantee=MARY, access=None))
    given(*DRAFT).when(ShareDocument(grantee=MARY, access=None)).then_nothing()
    ended = (*shared, DocumentShared(grantee=MARY, access=None))
    given(*ended).when(ShareDocument(grantee=MARY, access=None)).then_nothing()
    given(*ended).when(ShareDocument(grantee=MARY, access="read")).then(shared[-1])


def test_a_document_is_not_shared_with_its_owner() -> None:
    owner = ReaderRef(kind="person", id="ada")
    given(*DRAFT).when(ShareDocument(grantee=owner, access="read")).then_refused("grantee_is_owner")
    namesake = ReaderRef(kind="agent", id="ada")
    given(*DRAFT).when(ShareDocument(grantee=namesake, access="read")).then(
        DocumentShared(grantee=namesake, access="read")
    )


def test_what_a_later_owner_was_granted_before_can_be_ended() -> None:
    past = (
        *DRAFT,
        DocumentShared(grantee=MARY, access="read"),
        DocumentDescribed(owner=OwnerRef(kind="person", id="mary")),
    )
    given(*past).when(ShareDocument(grantee=MARY, access="write")).then_refused("grantee_is_owner")
    given(*past).when(ShareDocument(grantee=MARY, access=None)).then(DocumentShared(grantee=MARY, access=None))


def test_a_document_is_shared_with_at_most_five_hundred() -> None:
    many = [DocumentShared(grantee=ReaderRef(kind="person", id=f"r-{n}"), access="read") for n in range(MAX_ACCESS)]
    given(*DRAFT, *many).when(ShareDocument(grantee=MARY, access="read")).then_refused("limit_reached")
    given(*DRAFT, *many[1:]).when(ShareDocument(grantee=MARY, access="read")).then(
        DocumentShared(grantee=MARY, access="read")
    )
    changed = DocumentShared(grantee=ReaderRef(kind="person", id="r-0"), access="write")
    given(*DRAFT, *many).when(ShareDocument(grantee=changed.grantee, access="write")).then(changed)


def test_a_draft_is_submitted_to_others_than_owner_and_authors() -> None:
    given(*DRAFT).when(SubmitDocument(reviewer_ids=["mary", "joan"])).then(IN_REVIEW[-1])
    given(*DRAFT).when(SubmitDocument(reviewer_ids=["mary", "ada"])).then_refused("own_review")
    given(*DRAFT).when(SubmitDocument(reviewer_ids=["grace"])).then_refused("own_review")
    given(*DRAFT).when(SubmitDocument(reviewer_ids=["bot"])).then(DocumentSubmitted(reviewer_ids=["bot"]))
    given(*IN_REVIEW).when(SubmitDocument(reviewer_ids=["joan", "mary"])).then_nothing()
    given(*IN_REVIEW).when(SubmitDocument(reviewer_ids=["joan"])).then_not_open("in_review")
    not_open(SubmitDocument(reviewer_ids=["mary"]), *elsewhere("draft"))


def test_only_a_reviewer_approves() -> None:
    given(*IN_REVIEW).when(ApproveDocument(reviewer_id="joan")).then(DocumentApproved(reviewer_id="joan"))
    given(*IN_REVIEW).when(ApproveDocument(reviewer_id="ada")).then_refused("not_a_reviewer")
    given(*APPROVED).when(ApproveDocument(reviewer_id="joan")).then_nothing()
    not_open(ApproveDocument(reviewer_id="mary"), *elsewhere("in_review", "approved"))


def test_only_a_reviewer_returns() -> None:
    back = ReturnDocument(reviewer_id="mary", reason="unclear")
    given(*IN_REVIEW).when(back).then(DocumentReturned(reviewer_id="mary", reason="unclear"))
    given(*IN_REVIEW).when(ReturnDocument(reviewer_id="ada", reason="x")).then_refused("not_a_reviewer")
    given(*DRAFT).when(back).then_nothing()
    not_open(back, *elsewhere("in_review", "draft"))


def test_reviewers_are_those_of_the_last_submission() -> None:
    again = (
        *IN_REVIEW,
        DocumentReturned(reviewer_id="mary", reason="x"),
        DocumentSubmitted(reviewer_ids=["mary"]),
    )
    given(*again).when(ApproveDocument(reviewer_id="joan")).then_refused("not_a_reviewer")


def test_an_approved_document_is_published_once() -> None:
    given(*APPROVED).when(PublishDocument()).then(DocumentPublished())
    given(*PUBLISHED).when(PublishDocument()).then_nothing()
    not_open(PublishDocument(), *elsewhere("approved", "published"))


def test_an_approved_or_published_document_is_reopened() -> None:
    for past in (APPROVED, PUBLISHED):
        given(*past).when(ReopenDocument(reason="typo")).then(DocumentReopened(reason="typo"))
    given(*DRAFT).when(ReopenDocument(reason="typo")).then_nothing()
    not_open(ReopenDocument(reason="typo"), "in_review", "superseded", "archived", "deleted")


def test_a_published_document_is_superseded_by_another_for_good() -> None:
    given(*PUBLISHED).when(SupersedeDocument(superseded_by="d-2")).then(SUPERSEDED[-1])
    given(*PUBLISHED).when(SupersedeDocument(superseded_by="this-one")).then_refused("self_reference")
    given(*SUPERSEDED).when(SupersedeDocument(superseded_by="d-2")).then_nothing()
    given(*SUPERSEDED).when(SupersedeDocument(superseded_by="d-3")).then_not_open("superseded")
    not_open(SupersedeDocument(superseded_by="d-2"), *elsewhere("published", "superseded"))


@pytest.mark.parametrize("status", ["draft", "approved", "published"])
def test_a_document_that_is_not_under_review_is_archived(status: str) -> None:
    given(*STATUSES[status]).when(ArchiveDocument(reason="old", retain_until="2030-01-01")).then(
        DocumentArchived(reason="old", retain_until="2030-01-01")
    )
    not_open(ArchiveDocument(reason="old"), "in_review", "superseded", "deleted")


def test_a_document_is_archived_once_and_with_one_retention() -> None:
    given(*ARCHIVED).when(ArchiveDocument(reason="again")).then_nothing()
    given(*ARCHIVED).when(ArchiveDocument(reason="again", retain_until="2026-01-02")).then_nothing()
    given(*ARCHIVED).when(ArchiveDocument(reason="again", retain_until="2026-01-03")).then_not_open("archived")


def test_an_archived_document_is_frozen_but_comes_back_as_a_draft() -> None:
    given(*ARCHIVED).when(RestoreDocument()).then(DocumentRestored())
    given(*DRAFT).when(RestoreDocument()).then_nothing()
    given(*ARCHIVED, DocumentRestored()).when(NEXT).then(
        VersionAdded(content_cid=SECOND, size_bytes=0, media_type="application/pdf", summary="Typos")
    )
    not_open(RestoreDocument(), *elsewhere("archived", "draft"))


def test_an_archived_document_is_deleted_for_good() -> None:
    past = (*DRAFT, DocumentArchived(reason="old"))
    given(*past).when(DeleteDocument(reason="duty")).then(DocumentDeleted(reason="duty"))
    given(*DELETED).when(DeleteDocument(reason="again")).then_nothing()
    not_open(DeleteDocument(reason="duty"), *elsewhere("archived", "deleted"))
    not_open(RestoreDocument(), "deleted")


def test_a_document_is_not_deleted_before_its_retention_ends() -> None:
    last_moment = datetime(2026, 1, 1, 23, 59, 59, 999_999, tzinfo=UTC)
    given(*ARCHIVED, now=last_moment).when(DeleteDocument(reason="x")).then_refused("retention_running")
    given(*ARCHIVED, now=datetime(2026, 1, 2, tzinfo=UTC)).when(DeleteDocument(reason="x")).then(
        DocumentDeleted(reason="x")
    )


def test_a_retention_is_not_ended_by_archiving_again_without_one() -> None:
    past = (*ARCHIVED, DocumentRestored(), DocumentArchived(reason="again"))
    given(*past).when(DeleteDocument(reason="x")).then_refused("retention_running")


def test_a_malformed_creation_names_every_member_that_offends() -> None:
    data = {
        "title": "a\nb",
        "document_type": "Report",
        "owner": {"kind": "agent", "id": "a"},
        "authors": [{"kind": "person", "id": "a"}, {"kind": "organization", "id": "a"}],
        "language": "en-XQX",
        "license": "GPL",
        "confidentiality": "secret",
        "tags": ["a", "b", "a"],
        "content_cid": "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG",
        "size_bytes": -1,
        "media_type": "text",
        "summary": "x",
    }
    given().when_sent("CreateDocument", data, kind="document").then_invalid(
        "data.title",
        "data.document_type",
        "data.owner.kind",
        "data.authors[1].kind",
        "data.language",
        "data.license",
        "data.confidentiality",
        "data.tags[2]",
        "data.content_cid",
        "data.size_bytes",
        "data.media_type",
        "data.summary",
    )


def test_the_same_author_twice_is_malformed() -> None:
    ada = {"kind": "person", "id": "ada"}
    given(*DRAFT).when_sent("DescribeDocument", {"authors": [ada, ada]}, kind="document").then_invalid(
        "data.authors[1]"
    )


def test_a_submission_names_one_to_twenty_reviewers_once_each() -> None:
    for wrong in ([], [f"r-{n}" for n in range(21)]):
        given(*DRAFT).when_sent("SubmitDocument", {"reviewer_ids": wrong}, kind="document").then_invalid(
            "data.reviewer_ids"
        )
    given(*DRAFT).when_sent("SubmitDocument", {"reviewer_ids": ["a", "a"]}, kind="document").then_invalid(
        "data.reviewer_ids[1]"
    )


def test_sharing_says_what_one_may_do_or_null() -> None:
    grantee = {"kind": "location", "id": "l"}
    given(*DRAFT).when_sent("ShareDocument", {"grantee": grantee, "access": "own"}, kind="document").then_invalid(
        "data.grantee.kind", "data.access"
    )
    given(*DRAFT).when_sent("ShareDocument", {"grantee": {"kind": "agent", "id": "l"}}, kind="document").then_invalid(
        "data.access"
    )
