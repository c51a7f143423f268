"""A subscription with acknowledged delivery: one event cannot be taken, and only its own aggregate waits for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from annals.schemas.canonical import decode
from annals.schemas.cid import cid_of, cid_text
from annals.workers.tools.demo.asking import asked, found
from annals.workers.tools.demo.proofs import journal
from annals.workers.tools.demo.story import SCOUT
from annals.workers.tools.demo.subscriber import POISON, Taken, reason_of, subscriber
from annals.workers.tools.demo.teller import expect

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from annals.workers.client.api_client import ApiClient
    from annals.workers.settings import Settings
    from annals.workers.tools.demo.show import Show
    from annals.workers.tools.demo.subscriber import Subscriber

NAME: Final = "press-office"
KINDS: Final = ("agent", "document", "workflow")
PATH: Final = f"/v1/subscriptions/{NAME}"
SUBSCRIPTION: Final[Mapping[str, Any]] = {
    "kinds": list(KINDS),
    "start": "beginning",
    "delivery": "acknowledged",
    # Parked when the subscriber says so: however often a run is interrupted, and an answer does not come in time.
    "retry": {"max_attempts": 1_000, "first_delay_ms": 50, "max_delay_ms": 100},
}


class Plan(NamedTuple):
    """The journal's events of the subscription, and what is to become of them around the one that is poison."""

    wanted: dict[str, Taken]
    poison: Taken
    waiting: frozenset[str]
    """Later ones of its aggregate, by CID."""
    passing: frozenset[str]
    """All others but the poison."""
    later: int
    """How many of those that pass were recorded after the poison."""


async def subscribe(api: ApiClient, settings: Settings, folder: Path, show: Show, model: str) -> dict[str, Any]:
    """Tell it, and return what was found as JSON types. model: the agent's, which the subscriber does not know yet.

    Raises:
        DifferedError: an event was forgotten, doubled, overtaken or not parked, or others waited.
    """
    is_new = await _put(api)
    plan = await _plan(settings, model)
    show.line(
        "ok",
        (f"$ annals subscriptions put {NAME}: ", ""),
        ("agents, documents and workflows, until acknowledged" if is_new else "it goes on where it was", "dim"),
    )
    async with subscriber(settings, folder, NAME) as office:
        # In a run that goes on where it was interrupted it may have been replayed, and taken, before.
        parked = None if model in office.books.models else await _park(api, office, plan, model, show)
        office.books.know(model)
        await _replay(api)
        await office.until(lambda: _is_settled(api, office, plan), "not every event was taken")
        _check(office, plan)
    delivery = office.attempts.get(plan.poison.cid)
    if parked is not None:
        expect(
            delivery is not None and delivery > parked["attempts"], f"{plan.poison} was replayed, and not sent again"
        )
        show.line(
            "ok",
            (f"$ annals parked replay {NAME}: ", ""),
            (f"acknowledged at delivery {delivery}", "green"),
            (f", and then the {len(plan.waiting)} that waited, in their order", ""),
        )
    counted = f"{len(plan.wanted)} events in the journals, {len(plan.wanted)} taken: "
    show.line("ok", (counted, ""), ("each settled once, none forgotten, none overtaken", "green"))
    return {
        "events": len(plan.wanted),
        "parked": parked,
        "waited": len(plan.waiting),
        "delivery": delivery,
        "unsettled": 0,
    }


async def _put(api: ApiClient) -> bool:
    """Make the subscription where there is none; return whether it was made."""
    is_there = await found(api, PATH) is not None
    if not is_there:
        await asked(api, "PUT", PATH, SUBSCRIPTION)
    return not is_there


async def _plan(settings: Settings, model: str) -> Plan:
    """Read the journals, and say what is to come."""
    events = []
    for kind in KINDS:
        for _, _, block, _ in await journal(settings, kind):
            events.append((decode(block), cid_text(cid_of(block))))
    wanted = {cid: Taken(cid, f"{event['kind']}/{event['aggregate_id']}", event["version"]) for event, cid in events}
    poisonous = [
        (event, wanted[cid]) for event, cid in events if event["type"] == POISON and event["data"]["model"] == model
    ]
    expect(len(poisonous) == 1, f"one event of {SCOUT} should be of the model {model}: {poisonous}")
    event, poison = poisonous[0]
    waiting = {
        each.cid for each in wanted.values() if each.aggregate == poison.aggregate and each.version > poison.version
    }
    passing = wanted.keys() - waiting - {poison.cid}
    later = sum(other["recorded_at"] > event["recorded_at"] for other, cid in events if cid in passing)
    return Plan(wanted, poison, frozenset(waiting), frozenset(passing), later)


async def _park(api: ApiClient, office: Subscriber, plan: Plan, model: str, show: Show) -> dict[str, Any]:
    """Have the poison refused, delivered again and parked, while all others go on."""
    poison = plan.poison

    async def is_parked() -> bool:
        return plan.passing <= office.books.taken.keys() and await _deliveries(api) == (1, 0, 1)

    await office.until(is_parked, "the others were not taken, and the poison alone parked,")
    page = await asked(api, "GET", f"{PATH}/parked")
    (parked,) = page["parked"]
    expect(
        (parked["cid"], parked["reason"]) == (poison.cid, reason_of(model)) and parked["attempts"] > 1,
        f"{poison} should be parked by what the subscriber says, not at once: {parked}",
    )
    overtaken = plan.waiting & office.attempts.keys()
    expect(not overtaken, f"{len(overtaken)} events of {poison.aggregate} did not wait for version {poison.version}")
    whose = poison.aggregate.replace("/", " ")
    show.line(
        "no",
        (f"{POISON} v{poison.version} of {whose} refused, sent again, and parked: ", "yellow"),
        (parked["reason"], "dim"),
    )
    went_on = f"meanwhile {plan.later} later events of others are acknowledged; "
    show.line("ok", (went_on, ""), (f"{len(plan.waiting)} later ones of {whose} wait", ""))
    wanted = ("kind", "aggregate_id", "version", "cid", "reason", "attempts")
    return {name: parked[name] for name in wanted} | {"later_of_others": plan.later}


async def _replay(api: ApiClient) -> None:
    """Have what is parked delivered again; nothing is, if a run was interrupted after that."""
    page = await asked(api, "GET", f"{PATH}/parked")
    cids = [each["cid"] for each in page["parked"]]
    if cids:
        answer = await asked(api, "POST", f"{PATH}/parked/replay", {"cids": cids})
        expect(answer["accepted"] == len(cids), f"{len(cids)} parked events should be delivered again: {answer}")


async def _is_settled(api: ApiClient, office: Subscriber, plan: Plan) -> bool:
    return plan.wanted.keys() <= office.books.taken.keys() and await _deliveries(api) == (0, 0, 0)


async def _deliveries(api: ApiClient) -> tuple[int, int, int]:
    """Return how many events are not settled, and how many of them are in flight and parked."""
    counted = (await asked(api, "GET", PATH))["deliveries"]
    return counted["unsettled"], counted["in_flight"], counted["parked"]


def _check(office: Subscriber, plan: Plan) -> None:
    """Compare what was taken, in all runs together, with the journal; its order was checked at each event."""
    taken = office.books.taken
    expect(
        taken == plan.wanted,
        f"the journal has {len(plan.wanted)} events for {NAME}, and {len(taken)} were taken: "
        f"{_some(taken.keys() ^ plan.wanted.keys())}",
    )


def _some(cids: Iterable[str]) -> list[str]:
    return sorted(cids)[:3]
