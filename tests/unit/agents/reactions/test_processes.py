"""What a reaction may ask for: ids, keys, timers, their order, and what it may not."""

from dataclasses import replace

import msgspec
import pytest

from annals.agents.aggregates import REGISTRY
from annals.agents.reacting.failures import ReactionFailedError
from annals.agents.reacting.processes import Processes
from annals.agents.reactions.reaction import (
    Reacted,
    Reaction,
    TimerFired,
    after,
    at,
    cancel,
    problem_of,
)
from annals.schemas.commands import command
from annals.schemas.kinds import person
from annals.schemas.reaction_rows import ProcessId, StateRow, TimerRow, decode_timer, state_key, timer_key
from annals.testing import given_reaction

ADA = person.PersonRegistered(name="Ada")
RENAME = command("person", "p-9", person.RenamePerson(name="A"))


class Seen(msgspec.Struct, frozen=True):
    count: int = 0


def made(react, **changes):
    return replace(
        Reaction("r", 1, "person", frozenset({person.PersonRegistered, person.PersonRenamed}), Seen, react), **changes
    )


def test_commands_of_one_name_to_one_aggregate_are_numbered_from_the_second_on():
    other = command("person", "p-8", person.RenamePerson(name="A"))
    given = given_reaction(made(lambda state, _: Reacted(state, [RENAME, other, RENAME]))).on("p-1", ADA)
    first, second, third = given.ids()
    assert first == second
    assert third == f"{first}:2"
    assert first.endswith(":RenamePerson")
    assert msgspec.json.decode(given.commands[0].value)["causation_id"] == first.removesuffix(":RenamePerson")
    assert msgspec.json.decode(given.commands[0].value)["correlation_id"] == "c-1"


def test_timers_fire_in_the_order_of_their_times_and_each_once():
    fired = []

    def react(state, event):
        if isinstance(event.message, TimerFired):
            fired.append(event.message.name)
            return Reacted(state)
        return Reacted(state, timers=[after("late", 20), at("early", "2026-01-01T00:00:10Z"), after("middle", 15)])

    given = given_reaction(made(react)).on("p-1", ADA)
    assert len(given.rows) == 3
    given.at("2026-01-01T00:01:00Z").at("2026-01-01T00:00:00Z").at("2026-01-01T00:02:00Z")
    assert fired == ["early", "middle", "late"]


def test_a_timer_that_is_set_again_for_a_time_at_which_it_has_fired_sends_another_command():
    """Where the next decider's clock is behind, its events have the time of the last one before. Goes red when they
    lead to one id: the second command would be a `duplicate`."""

    def react(state, event):
        if isinstance(event.message, TimerFired):
            return Reacted(state, [RENAME])
        return Reacted(state, timers=[after("t", 10)])

    given = given_reaction(made(react)).on("p-1", ADA).at("2026-01-01T00:00:10Z")
    first = given.ids()
    given.on("p-1", person.PersonRenamed(name="B")).then_timers({("p-1", "t"): "2026-01-01T00:00:10Z"})
    given.at("2026-01-01T00:00:10Z")
    second = given.ids()
    assert [len(first), len(second), len({*first, *second})] == [1, 1, 2]
    assert first == given_reaction(made(react)).on("p-1", ADA).at("2026-01-01T00:00:10Z").ids(), "redone it is the same"


def test_a_timer_that_was_due_comes_before_the_event_that_was_recorded_later():
    seen = []

    def react(state, event):
        seen.append(type(event.message).__name__)
        return Reacted(state, timers=[after("t", 10)] if len(seen) == 1 else [cancel("t")])

    given = given_reaction(made(react)).on("p-1", ADA)
    given.on("p-1", person.PersonRenamed(name="B"), recorded="2026-01-01T00:00:11Z")
    assert seen == ["PersonRegistered", "TimerFired", "PersonRenamed"]


def test_what_fires_before_an_event_may_set_cancel_and_replace_what_does_too():
    fired = []
    then = {"a": [at("d", "2026-01-01T00:00:03Z")], "d": [cancel("b"), at("c", "2026-01-01T00:00:05Z")]}

    def react(state, event):
        if isinstance(event.message, TimerFired):
            fired.append((event.message.name, event.message.due[17:19]))
            return Reacted(state, timers=then.get(event.message.name, []))
        return Reacted(state, timers=[after("a", 2), after("b", 4), after("c", 6)] if event.version == 1 else [])

    given = given_reaction(made(react)).on("p-1", ADA)
    given.on("p-1", person.PersonRenamed(name="B"), recorded="2026-01-01T00:00:07Z").then_timers({})
    assert fired == [("a", "02"), ("d", "03"), ("c", "05")]


def test_an_event_behind_thousands_of_timers_looks_through_them_once():
    """Goes red where each firing looks through all timers of the process: nothing else went on meanwhile."""
    looked = []

    class Looked(dict):
        def items(self):
            looked.append(len(self))
            return super().items()

    processes, process = Processes(made(lambda state, event: Reacted(state)), REGISTRY["person"]), ProcessId("p-1", "")
    for number in range(1_000):
        row = TimerRow(1, after("t", number / 1_000).due("2026-01-01T00:00:00.000000Z"), "cid", None)
        processes._keep_timer(process, f"t{number}", row)
    processes._timers[process] = Looked(processes._timers[process])
    (later,) = given_reaction(made(told)).events([("p-1", ADA, "2026-01-02T00:00:00Z")])
    processes.take(later, is_quiet=False)
    assert processes.timers == 0
    assert looked == [1_000]


def test_a_timer_may_set_itself_again_and_its_command_has_another_id():
    def react(state, event):
        is_timer = isinstance(event.message, TimerFired)
        return Reacted(state, [RENAME] if is_timer else [], [after("t", 10)])

    given = given_reaction(made(react)).on("p-1", ADA).at("2026-01-01T00:00:10Z")
    (first,) = given.ids()
    (second,) = given.at("2026-01-01T00:00:20Z").ids()
    assert first != second


def test_a_process_that_is_over_takes_its_timers_along():
    def react(state, event):
        return Reacted(state, timers=[after("t", 10)]) if event.version == 1 else Reacted(None, timers=[after("u", 1)])

    given = given_reaction(made(react)).on("p-1", ADA)
    assert given.rows
    given.on("p-1", person.PersonRenamed(name="B")).then_over()


def test_processes_are_kept_apart_by_correlation_or_by_a_member():
    def react(state, event):
        return Reacted(Seen(state.count + 1))

    given = given_reaction(made(react, key="correlation_id")).on("p-1", ADA)
    assert len(given.on("p-1", person.PersonRenamed(name="B"), correlation_id="c-2").rows) == 2
    by_name = given_reaction(made(react, key="data.name")).on("p-1", ADA, ADA)
    assert len(by_name.on("p-1", person.PersonRenamed(name="B")).rows) == 2
    assert given_reaction(made(react, key="data.locale")).on("p-1", ADA).rows == {}


def test_a_rekeyed_process_is_of_all_aggregates_whose_events_have_its_key():
    seen = []

    def react(state, event):
        seen.append(event.aggregate_id)
        return Reacted(Seen(state.count + 1), [RENAME], [after("later", 10)] if len(seen) < 3 else [])

    given = given_reaction(made(react, key="correlation_id", rekeyed=True)).on("p-1", ADA).on("p-2", ADA)
    given.then_timers({("c-1", "later"): "2026-01-01T00:00:10Z"})
    assert len(given.rows) == 2
    given.at("2026-01-01T00:01:00Z").then(RENAME).then_timers({})
    assert seen == ["p-1", "p-2", "c-1"]
    assert given_reaction(made(react, key="data.locale", rekeyed=True)).on("p-1", ADA).rows == {}


def test_what_fails_says_where_and_no_value():
    def react(state, event):
        raise ValueError("secret")

    with pytest.raises(ReactionFailedError, match=r"person 'p-1' version 1, offset 0: ValueError at .*:\d+") as caught:
        given_reaction(made(react)).on("p-1", ADA)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "R"}, "name"),
        ({"version": 0}, "versions"),
        ({"key": "person_id"}, "neither aggregate_id nor correlation_id nor data.<member>"),
        ({"key": "data.a.b"}, "neither aggregate_id nor correlation_id nor data.<member>"),
        ({"rekeyed": True}, "re-keyed by aggregate_id"),
        ({"rekeyed": True, "key": "correlation_id", "deployment": "hr"}, "cannot be re-keyed"),
        ({"deployment": "HR"}, "deployment"),
        ({"deployment": ""}, "deployment"),
    ],
)
def test_a_reaction_that_cannot_be_run_is_refused(changes, said):
    assert said in problem_of(made(lambda state, _: Reacted(state), **changes))
    assert problem_of(made(lambda state, _: Reacted(state))) is None


def told(state, event):
    """Say by each event and each firing; a timer by each event."""
    return Reacted(state, [RENAME], [] if isinstance(event.message, TimerFired) else [after("later", 10)])


@pytest.mark.parametrize("deployment", [None, "hr"])
@pytest.mark.parametrize("before", [[], ["payroll", "sales"]])
def test_commands_name_the_deployments_that_their_cause_came_through_also_by_a_timer(deployment, before):
    through = [*before, *([] if deployment is None else [deployment])]
    given = given_reaction(made(told, deployment=deployment)).on("p-1", ADA, via=before).then_via(*through)
    given.at("2026-01-01T00:01:00Z").then(RENAME).then_via(*through)


def test_an_event_of_another_deployment_that_has_come_round_is_passed_over():
    given = given_reaction(made(told, deployment="hr"))
    for via in (["here"], ["payroll", "here"], list("abcdefgh")):
        given.on("p-1", ADA, via=via).then().then_passed_over(1).then_over()
    given.on("p-1", ADA, via=list("abcdefg")).then(RENAME).then_passed_over(0).then_via(*"abcdefg", "hr")
    own = given_reaction(made(told)).on("p-1", ADA, via=["here"])
    own.then(RENAME).then_via("here")


def test_a_reaction_knows_whose_event_it_is_handed():
    seen = []

    def react(state, event):
        seen.append(event.deployment)
        return told(state, event)

    given_reaction(made(react, deployment="hr")).on("p-1", ADA).at("2026-01-01T00:01:00Z")
    given_reaction(made(react)).on("p-1", ADA)
    assert seen == ["hr", "hr", None]


@pytest.mark.parametrize("via", ["HR", "hr,", ",".join(["x"] * 9), "hr\n"])
def test_a_timers_row_with_another_list_of_deployments_is_none(via):
    row = {"version": 1, "due": "2026-01-01T00:00:00.000000Z", "cause": "c", "correlation_id": None, "via": via}
    with pytest.raises(msgspec.ValidationError):
        decode_timer(msgspec.json.encode(row))


def at_second(second):
    return f"2026-01-01T00:00:{second:02}.000000Z"


def processes_of(react, *events):
    """Processes of a reaction, and events of persons: each a person's id and the second at which it was recorded."""
    first = made(react)
    said = [(aggregate_id, ADA, at_second(second)) for aggregate_id, second in events]
    return Processes(first, REGISTRY["person"]), given_reaction(first).events(said)


def test_a_timer_for_the_moment_of_an_event_fires_before_it_and_so_does_one_that_it_sets_for_that_moment():
    seen = []

    def react(state, event):
        seen.append(event.message.name)
        return Reacted(state, timers=[at(name, at_second(10)) for name in {"Ada": "a", "a": "b"}.get(seen[-1], "")])

    processes, (first, second) = processes_of(react, ("p-1", 0), ("p-1", 10))
    processes.take(first, is_quiet=False)
    processes.take(second, is_quiet=False)
    assert seen[:4] == ["Ada", "a", "b", "Ada"]


def by_timer(state, event):
    return Reacted(state, [RENAME]) if isinstance(event.message, TimerFired) else Reacted(state, timers=[after("t", 5)])


def test_timers_that_fire_before_an_event_send_nothing_where_that_is_to_send_nothing():
    processes, (first, second) = processes_of(by_timer, ("p-1", 0), ("p-1", 10))
    processes.take(first, is_quiet=False)
    processes.take(second, is_quiet=True)
    changes = processes.changes()
    assert (changes.fired, changes.commands) == (1, [])


@pytest.mark.parametrize(("quiet_until", "sent"), [(4, 1), (5, 0), (6, 0)])
def test_a_timer_that_was_set_in_quiet_sends_nothing_up_to_a_time(quiet_until, sent):
    processes, (first,) = processes_of(by_timer, ("p-1", 0))
    processes.take(first, is_quiet=True)
    assert not processes.fire(at_second(10), 10, quiet_due=at_second(quiet_until))
    changes = processes.changes()
    assert (changes.fired, len(changes.commands)) == (1, sent)


def test_how_far_timers_have_fired_is_the_latest_time_however_they_come():
    processes, (late, early, behind_late, behind_early) = processes_of(
        by_timer, ("p-1", 10), ("p-2", 0), ("p-1", 20), ("p-2", 21)
    )
    for event in (late, early, behind_late, behind_early):
        processes.take(event, is_quiet=False)
    assert processes.due_until == at_second(15)


def test_rows_of_another_version_say_nothing():
    process = ProcessId("p-1", "")
    row = TimerRow(1, at_second(5), "cid", None)
    for version in (1, 2):
        processes, (event,) = processes_of(lambda state, _: Reacted(Seen(state.count + 1)), ("p-1", 0))
        state = StateRow(version, msgspec.Raw(b'{"count":6}'))
        processes.load(state_key(process), msgspec.json.encode(state))
        processes.load(timer_key(process, "t"), msgspec.json.encode(msgspec.structs.replace(row, version=version)))
        assert processes.timers == (version == 1)
        processes.take(event, is_quiet=False)
        kept = msgspec.json.decode(processes.changes().rows[state_key(process)], type=StateRow)
        assert bytes(kept.state) == (b'{"count":7}' if version == 1 else b'{"count":1}')


def test_commands_of_timers_of_one_name_and_time_have_ids_of_their_own_in_each_process_and_reaction():
    """Else the second one is taken for the first one, sent again: its command is never decided."""

    def ids_of(**changes):
        reaction = made(by_timer, **changes)
        processes = Processes(reaction, REGISTRY["person"])
        for event in given_reaction(reaction).events([("p-1", ADA, at_second(0)), ("p-2", ADA, at_second(0))]):
            processes.take(event, is_quiet=False)
        processes.fire(at_second(10), 10)
        return [msgspec.json.decode(each.value)["id"] for each in processes.changes().commands]

    found = [*ids_of(), *ids_of(name="another")]
    assert len(set(found)) == len(found) == 4


def test_the_size_of_commands_is_that_of_all_that_were_not_asked_for_yet():
    processes, events = processes_of(lambda state, _: Reacted(state, [RENAME]), ("p-1", 0), ("p-2", 0), ("p-1", 1))
    for event in events[:2]:
        processes.take(event, is_quiet=False)
    size = processes.command_bytes
    commands = processes.changes().commands
    assert (size, len(commands)) == (sum(len(each.value) for each in commands), 2)
    processes.take(events[2], is_quiet=False)
    assert processes.command_bytes == len(processes.changes().commands[0].value)
