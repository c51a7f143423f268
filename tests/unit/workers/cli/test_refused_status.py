"""Commands that ask Kafka as the API does: exit status 1 where the answer is no, 2 where there is none now."""

import pytest
from click.testing import CliRunner

from annals.agents.dead_letters.letter import Letter
from annals.agents.publishing.administration import Refused
from annals.agents.publishing.delivering.choosing import Parked
from annals.workers.cli import dead_letters, parked, reactions, subscriptions
from annals.workers.cli.failures import CannotAskError
from annals.workers.dead_letters.service import DeadLetterService, Page
from annals.workers.dead_letters.settling import Done
from annals.workers.publishing.parked import ParkedService
from annals.workers.publishing.service import SubscriptionService
from annals.workers.reacting.service import ReactionService

COMMANDS = [
    (reactions.reactions, ["status", "assign-tasks"], ReactionService, "get"),
    (reactions.reactions, ["pause", "assign-tasks"], ReactionService, "pause"),
    (reactions.reactions, ["list"], ReactionService, "all"),
    (subscriptions.subscriptions, ["show", "all"], SubscriptionService, "get"),
    (subscriptions.subscriptions, ["pause", "all"], SubscriptionService, "pause"),
    (parked.parked, ["list", "all"], ParkedService, "page"),
]


@pytest.mark.parametrize(("status", "expected"), [(403, 2), (404, 1), (409, 1), (412, 1), (422, 1), (503, 2)])
@pytest.mark.parametrize(("group", "words", "service", "method"), COMMANDS)
def test_who_is_refused_now_has_no_answer(monkeypatch, group, words, service, method, status, expected):
    async def refuse(*_, **__):
        raise Refused(status, "said", "not this way")

    monkeypatch.setattr(service, method, refuse)
    found = CliRunner().invoke(group, words)
    assert found.exit_code == expected
    assert "annals: said: not this way" in found.output


ETAGS = [
    (
        "etag_missing",
        "all exists: to replace it, give its ETag with --if-match; `annals subscriptions show all` prints it",
    ),
    ("etag_differs", "all is not the one that --if-match names: it was changed meanwhile, or there is none; "),
]


@pytest.mark.parametrize(("code", "said"), ETAGS)
def test_who_did_not_send_headers_is_told_of_the_option(monkeypatch, tmp_path, code, said):
    """Goes red with the words of HTTP, `If-Match`, which nobody gave here."""

    async def refuse(*_, **__):
        raise Refused(412, code, "give the ETag in If-Match")

    monkeypatch.setattr(SubscriptionService, "put", refuse)
    (tmp_path / "all.json").write_text("{}")
    found = CliRunner().invoke(subscriptions.subscriptions, ["put", "all", str(tmp_path / "all.json")])
    assert found.exit_code == 1
    assert f"annals: {code}: {said}" in found.output
    assert "If-Match" not in found.output


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"kinds": ["person"], "kinds": ["agent"]}', "kinds is named twice: only one can be meant"),
        ("{", "not JSON"),
        ("[]", "must be a JSON object"),
    ],
)
def test_a_subscription_whose_file_says_two_things_is_not_put(monkeypatch, tmp_path, text, said):
    """Goes red when the last of two members of one name counts."""
    monkeypatch.setattr(SubscriptionService, "put", None)
    file = tmp_path / "all.json"
    file.write_text(text)
    with pytest.raises(CannotAskError) as caught:
        subscriptions.subscriptions.main(["put", "all", str(file)], standalone_mode=False)
    assert str(caught.value).startswith(f"{file}: {said}")


NONE = Page([], None, 0)
NOTHING_SET_ASIDE = [
    (parked.parked, ["list", "all", "--type", "PersonRenamd"], ParkedService, "page", ([], None), "PersonRenamed"),
    (parked.parked, ["replay", "all", "--all", "--type", "PersonRenamd"], ParkedService, "replay", 0, "PersonRenamed"),
    (dead_letters.dead_letters, ["list", "--type", "RenamePersn"], DeadLetterService, "page", NONE, "RenamePerson"),
    (dead_letters.dead_letters, ["list", "--reason", "not_jsn"], DeadLetterService, "page", NONE, "not_json"),
    (
        dead_letters.dead_letters,
        ["replay", "--all", "--type", "RenamePersn"],
        DeadLetterService,
        "settle",
        Done(0, 0),
        "RenamePerson",
    ),
]


@pytest.mark.parametrize(("group", "words", "service", "method", "answer", "meant"), NOTHING_SET_ASIDE)
def test_a_type_or_reason_that_there_is_not_is_refused_where_nothing_of_it_was_set_aside(
    monkeypatch, group, words, service, method, answer, meant
):
    """Goes red when a misspelt type is told as if nothing of it had been set aside."""

    async def nothing(*_, **__):
        return answer

    monkeypatch.setattr(service, method, nothing)
    monkeypatch.setattr(parked, "_record", nothing)
    with pytest.raises(CannotAskError, match=f"Is {meant} meant"):
        group.main(words, standalone_mode=False)


@pytest.mark.parametrize(("offset", "shown"), [(4711, "2-4711"), (None, "2--")])
def test_a_parked_event_is_listed_with_the_offset_that_stop_at_takes(monkeypatch, offset, shown):
    """Goes red when --stop-at takes what a list does not show: it had to be asked for as JSON."""
    event = Parked("bafy", "person", "p-1", 1, "PersonRenamed", None, 3, "2026-11-30T08:00:00.000000Z", 2, offset)

    async def one(*_, **__):
        return [event], None

    monkeypatch.setattr(ParkedService, "page", one)
    found = CliRunner().invoke(parked.parked, ["list", "all"])
    assert found.exit_code == 0
    assert found.output.split("  ") == [
        "bafy",
        "person",
        "p-1",
        "1",
        "PersonRenamed",
        "-",
        "2026-11-30T08:00:00.000000Z",
        "3 attempts",
        f"{shown}\n",
    ]


def test_what_another_release_set_aside_is_listed_whatever_its_type(monkeypatch):
    letter = Letter(0, 7, "no_id", "why", "person", "p-1", None, "ForgetPerson", "commands.person", 0, 3, None)

    async def one(*_, **__):
        return Page([letter], None, 8)

    monkeypatch.setattr(DeadLetterService, "page", one)
    found = CliRunner().invoke(dead_letters.dead_letters, ["list", "--type", "ForgetPerson"])
    assert (found.exit_code, "ForgetPerson" in found.output) == (0, True)
