"""Dead letters that are settled while others settle some, again and again."""

from annals.agents.dead_letters.selection import Selection
from annals.schemas.settlement import DISCARD
from annals.topics.names import topic_transactional_id
from annals.workers.dead_letters import settling
from annals.workers.dead_letters.reading import SettledTopic
from annals.workers.dead_letters.settling import Asked, Settling
from annals.workers.kafka.connections import connect
from annals.workers.kafka.write.transaction import TransactionalWriter
from annals.workers.memory.cluster import MemoryCluster, Topic
from publishing import NAMES, World

NUMBER = 2 * settling.ATTEMPTS


async def test_all_are_settled_by_whatever_number_of_attempts_if_each_settles_something(monkeypatch):
    """Goes red when attempts that settle something are counted, too: of very many a part was settled, then 503."""
    world = World()
    world.model = MemoryCluster({"audit": Topic(1), "dead-letters": Topic(1)}, transaction_version=2)
    for number in range(NUMBER):
        world.model.append(("dead-letters", 0), b"x", b"%d" % number)
    monkeypatch.setattr(settling, "BATCH", 1)
    monkeypatch.setattr(settling, "FIRST_RETRY_S", 0.0)
    commit = Settling._commit

    async def fenced_behind(self, *args):
        """Commit a batch; then somebody else begins to settle."""
        count = await commit(self, *args)
        other = TransactionalWriter(world.options(), topic_transactional_id(NAMES.dead_letters), [])
        await other.fence()
        await other.close()
        return count

    monkeypatch.setattr(Settling, "_commit", fenced_behind)
    asked = Asked(DISCARD, Selection(), "ada", "a request", "/", "sent by mistake")
    done = await Settling(world.options(), NAMES, "annals", {}).run(asked)
    assert done == (NUMBER, 0)
    settled = await SettledTopic("audit").read(await connect(world.options(), ["audit"]))
    assert all(settled.of(0, number) is not None for number in range(NUMBER))
