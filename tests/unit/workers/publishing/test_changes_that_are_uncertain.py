"""A change of a subscription is made as it is answered: whole, once, and with what it needs of former definitions."""

import pytest
from aiokafka.errors import KafkaConnectionError

from annals.agents.aggregates import REGISTRY
from annals.agents.ports import UncertainError
from annals.agents.publishing.administration import Refused
from annals.schemas.delivery import PARKED, Row, encode_row, row_key
from annals.schemas.progress import LIVE, Progress, encode_progress, progress_key
from annals.topics.names import TopicNames
from annals.workers.kafka.connections import connect
from annals.workers.kafka.read import settled_ends
from annals.workers.memory.cluster import MemoryCluster, Topic
from annals.workers.publishing import service as services
from annals.workers.publishing.compacted_views import CompactedViews
from annals.workers.publishing.service import SubscriptionService
from annals.workers.publishing.subscriptions_topic import SubscriptionsWriter, read_known
from annals.workers.settings import Settings
from chained import chain
from networks import Cut
from publishing import World, shown

LARGE = [{"exact": {f"a{number}{each}": "x" * 1_000 for number in range(20)}} for each in range(15)]  # 300 kB


class CutOnce(Cut):
    """A network that loses the next request once it is down."""

    async def ask(self, request, serve):
        """Answer, or lose one."""
        was_down, self.is_down = self.is_down, False
        if was_down:
            raise KafkaConnectionError
        return await super().ask(request, serve)


@pytest.fixture
def world(monkeypatch):
    async def nothing(*_, **__):
        """The topics are there."""

    monkeypatch.setattr(services, "create_missing", nothing)
    made = World()
    roles = ("subscribers", "acks", "parked", "deliveries")
    topics = ["subscriptions", "progress", *(f"{role}.all" for role in roles), *(f"events.{kind}" for kind in REGISTRY)]
    made.model = MemoryCluster({name: Topic(1) for name in topics}, transaction_version=2)
    return made


def service_of(world, network=None):
    return SubscriptionService(Settings(), world.options(network), REGISTRY)


async def known(world):
    client = await connect(world.options(), [])
    try:
        return (await read_known(client, TopicNames(""), CompactedViews()))["all"].record
    finally:
        await client.close()


def uncertain_once(monkeypatch):
    """Have the first commit be carried out, and its answer lost."""
    commit, lost = SubscriptionsWriter.commit, []

    async def committed(self, *what):
        await commit(self, *what)
        if not lost:
            lost.append(True)
            raise UncertainError("the answer was lost")

    monkeypatch.setattr(SubscriptionsWriter, "commit", committed)


async def test_a_change_whose_answer_was_lost_is_answered_as_made(world, monkeypatch):
    """Goes red when it is tried again against its own result: 412 to a PUT, 404 to a DELETE."""
    asked = {"kinds": ["person"], "start": "now"}
    uncertain_once(monkeypatch)
    made = await service_of(world).put("all", asked)
    assert (made.is_new, made.body["status"]) == (True, "active")
    with monkeypatch.context() as patched:
        uncertain_once(patched)
        changed = await service_of(world).put("all", {"kinds": ["person"], "owner": "ada"}, made.etag)
    assert (changed.is_new, changed.body["owner"]) == (False, "ada")
    assert changed.etag != made.etag
    with monkeypatch.context() as patched:
        uncertain_once(patched)
        await service_of(world).delete("all", changed.etag)
    assert (await known(world)).is_deleted


async def test_a_change_that_cannot_be_read_back_at_first_is_answered_as_made(world, monkeypatch):
    """Goes red when it is answered 503 although it was made, or tried again against its own result: 412, 404."""
    network = CutOnce()
    service, commit, lost = service_of(world, network), SubscriptionsWriter.commit, []

    async def committed(self, *what):
        await commit(self, *what)
        lost.append(True)
        network.is_down = len(lost) == 1

    made = await service.put("all", {"kinds": ["person"]})
    monkeypatch.setattr(SubscriptionsWriter, "commit", committed)
    changed = await service.put("all", {"kinds": ["person"], "owner": "ada"}, made.etag)
    assert (changed.is_new, changed.body["owner"]) == (False, "ada")
    lost.clear()
    await service.delete("all", changed.etag)
    assert (await known(world)).is_deleted


async def test_of_two_who_make_the_same_at_once_one_is_told_that_it_made_it(world, monkeypatch):
    """Goes red when whoever was fenced takes for its own what the other one made."""
    commit, begun = SubscriptionsWriter.commit, []

    async def committed(self, *what):
        if not begun:
            begun.append(True)
            assert (await service_of(world).put("all", {"kinds": ["person"]})).is_new
        await commit(self, *what)

    monkeypatch.setattr(SubscriptionsWriter, "commit", committed)
    with pytest.raises(Refused) as refused:
        await service_of(world).put("all", {"kinds": ["person"]})
    assert (refused.value.status, refused.value.code) == (412, "etag_missing")


async def test_a_change_that_is_made_is_answered_while_a_reader_is_killed(world, monkeypatch):
    """Goes red when it waits for the transaction that the reader leaves: it was 504 after half a minute, and made."""

    async def killed(*_, **__):
        await world.leave_open(LIVE, Progress(7))
        monkeypatch.setattr(settled_ends, "SETTLED_WITHIN_S", 0.0)

    service = service_of(world)
    made = await service.put("all", {"kinds": ["person"]})
    monkeypatch.setattr(services, "create_missing", killed)
    changed = await service.put("all", {"kinds": ["person"], "owner": "ada"}, made.etag)
    assert changed.body["owner"] == "ada"


async def test_what_the_topic_does_not_take_is_refused_and_nothing_is_changed(world):
    """Goes red when a change that was not written is answered as made."""
    service = service_of(world)
    with pytest.raises(Refused) as refused:
        await service.put("all", {"filters": LARGE * 4})
    assert (refused.value.status, refused.value.code) == (422, "invalid_subscription")
    with pytest.raises(Refused) as refused:
        await service.get("all")
    assert refused.value.status == 404
    made = await service.put("all", {"filters": LARGE})
    assert made.is_new
    # What it says when it is paused has its place all the same.
    assert (await service.pause("all", "x" * 2_000)).body["status"] == "paused"


async def test_one_whose_endpoint_was_changed_meanwhile_is_not_paused_for_the_former_one(world, tmp_path):
    """Goes red when whoever found that it is gone pauses what the topic has by then."""
    (tmp_path / "key").write_text("A" * 40)
    service = SubscriptionService(Settings(webhook_secrets_dir=tmp_path), world.options(), REGISTRY)
    url = "https://b.example/in"
    await service.put("all", {"kinds": ["person"], "delivery": "webhook", "webhook": {"url": url, "secrets": ["key"]}})
    assert (await service.pause("all", "http_410", "https://a.example/in")).body["status"] == "active"
    paused = (await service.pause("all", "http_410", url)).body
    assert (paused["status"], paused["reason"]) == ("paused", "http_410")


async def test_one_that_was_changed_meanwhile_is_not_paused_for_the_former_record_and_keeps_its_etag(world):
    """Goes red when the definition that mends a subscription is paused, or its owner's next change is refused (412)."""
    service = service_of(world)
    made = await service.put("all", {"kinds": ["person"]})
    mended = await service.put("all", {"kinds": ["person"], "owner": "ada"}, made.etag)
    left = await service.pause("all", "it failed", offset=int(made.etag))
    assert (left.body["status"], left.etag) == ("active", mended.etag)
    paused = await service.pause("all", "it failed", offset=int(mended.etag))
    assert (paused.body["status"], paused.body["reason"]) == ("paused", "it failed")


async def test_a_former_definition_is_kept_for_what_is_not_settled_and_no_longer(world):
    """Goes red when each change of a subscription that answers leaves one, until the topic takes no other."""
    service = service_of(world)
    asked = {"kinds": ["person"], "delivery": "acknowledged", "start": "beginning"}
    etag = (await service.put("all", asked)).etag
    (event,) = chain("p-1", 1)
    row = Row("person", "p-1", 1, shown([event])[0], "PersonRenamed", 0, ordered=True, state=PARKED, attempt=1)
    world.model.append(("events.person", 0), event.key, event.value)

    async def changed(number):
        nonlocal etag
        answered = await service.put("all", {**asked, "types": [], "filters": [{"prefix": {"id": str(number)}}]}, etag)
        etag = answered.etag
        return (await known(world)).former

    assert len(await changed(0)) == 1, "nothing is published yet"
    done = encode_progress(Progress(1, None, 1))
    world.model.append(("progress", 0), progress_key("all", "events.person", 0), done)
    world.model.append(("deliveries.all", 0), row_key(row).encode(), encode_row(row))
    assert len(await changed(1)) == 2, "an event of before is not settled"
    world.model.append(("deliveries.all", 0), row_key(row).encode(), None)
    assert len(await changed(2)) == 0
    for number in range(9):
        assert len(await changed(3 + number)) == 0


async def test_a_name_that_begins_anew_takes_no_answers_of_before(world):
    """Goes red when the answers to what was delivered under the name before settle what is delivered now."""
    service = service_of(world)
    asked = {"kinds": ["person"], "delivery": "acknowledged"}
    await service.put("all", asked)
    for _ in range(3):
        world.model.append(("acks.all", 0), b"p-1", b"{}")
    await service.delete("all")
    del world.model.topics["subscribers.all"], world.model.logs["subscribers.all", 0]
    again = await service.put("all", {**asked, "start": "beginning"})
    assert again.is_new
    client = await connect(world.options(), [])
    places = services.Places(client, TopicNames(""))
    assert (await places.progress_of("all", "events.person"))[0] == Progress(0, None, 2, 3)
    await client.close()


async def test_who_begins_one_that_another_gives_a_kind_at_once_is_answered_with_what_there_is(world, monkeypatch):
    """Goes red when what was made is answered 500."""
    commit, changed = SubscriptionsWriter.commit, []

    async def committed(self, *what):
        await commit(self, *what)
        if not changed:
            changed.append(True)
            other = service_of(world)
            await other.put("all", {"kinds": ["person", "policy"]}, (await other.get("all")).etag)

    monkeypatch.setattr(SubscriptionsWriter, "commit", committed)
    made = await service_of(world).put("all", {"kinds": ["person"], "start": "now"})
    assert (made.is_new, made.body["kinds"]) == (True, ["person", "policy"])
    assert made.body["positions"] == {"person": [0], "policy": [None]}
