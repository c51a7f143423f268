"""docs/how-to/write-a-reaction.md, as it stands: its reaction and its test run."""

import re
from pathlib import Path

from annals.agents.reactions.reaction import problem_of
from annals.schemas.kinds.document import ArchiveDocument, DocumentCreated, DocumentSubmitted
from annals.schemas.values.refs import OwnerRef

PAGE = Path(__file__).parents[4] / "docs/how-to/write-a-reaction.md"
CREATED = DocumentCreated(
    title="Notes",
    document_type="note",
    owner=OwnerRef(kind="person", id="p-1"),
    content_cid="bafyr4i",
    size_bytes=1,
    media_type="text/plain",
    confidentiality="internal",
    tags=[],
)


def test_the_page_runs_as_it_stands():
    written, tested = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    names = {"CREATED": CREATED, "ArchiveDocument": ArchiveDocument, "__name__": "archive_drafts"}
    exec(compile(written, str(PAGE), "exec"), names)
    assert problem_of(names["ARCHIVE_DRAFTS"]) is None
    exec(compile(tested, str(PAGE), "exec"), names)
    names["test_the_laws_hold"]()
    names["test_a_draft_is_archived_after_thirty_days"]()
    from annals.testing import given_reaction

    submitted = DocumentSubmitted(reviewer_ids=["p-2"])
    given_reaction(names["ARCHIVE_DRAFTS"]).on("d-1", CREATED, submitted).then_over()
