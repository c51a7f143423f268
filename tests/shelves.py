"""A subscription in memory of which events are parked, and who decides about them."""

from collections import Counter

import msgspec

from annals.agents.aggregates import REGISTRY
from annals.agents.publishing.delivering.choosing import FIRST, Choice
from annals.agents.publishing.delivering.ports import DeliveryWrites
from annals.agents.publishing.delivering.records import parked
from annals.agents.publishing.records import Outgoing
from annals.schemas.cid import cid_of, cid_text
from annals.schemas.delivery import PARKED, Row, row_key
from annals.schemas.progress import Progress
from annals.schemas.subscription import Definition, Record
from annals.workers.kafka.read import newest_records, settled_ends
from annals.workers.memory.cluster import MemoryCluster, Topic
from annals.workers.memory.partition import Rules
from annals.workers.publishing import compacted_views
from annals.workers.publishing.compacted_views import CompactedViews
from annals.workers.publishing.delivery_log import KafkaDeliveryLogs
from annals.workers.publishing.parked import ParkedService
from annals.workers.settings import Settings
from publishing import NAMES, World

PAGE = 20
DELIVERIES, KEPT = "deliveries.all", "parked.all"


class Shelf(World):
    """A subscription of which events are parked; read: how many records of each topic were read."""

    def __init__(self, monkeypatch, *, ordered=True, most_bytes=compacted_views.MOST_BYTES):
        super().__init__()
        topics = [f"{role}.all" for role in ("deliveries", "parked", "acks", "subscribers")]
        one = {name: Topic(1) for name in (*topics, "progress", "subscriptions", "audit", "dead-letters")}
        one[KEPT] = Topic(1, Rules(appends_time=True))
        journals = {f"events.{kind}": Topic(1) for kind in REGISTRY}
        self.now = 0.0
        self.model = MemoryCluster(one | journals, transaction_version=2, now=lambda: self.now)
        self.ordered = ordered
        definition = Definition("all", kinds=["person"], delivery="acknowledged", ordered=ordered, start="beginning")
        self.definition = definition
        self.put(1)
        self.views = CompactedViews(most_bytes=most_bytes)
        self.service = ParkedService(Settings(), self.options(), REGISTRY, self.views)
        self.read = Counter()
        for module in (newest_records, settled_ends):
            monkeypatch.setattr(module, "read_range", self.counting(module.read_range))

    def put(self, incarnation):
        record = Record(self.definition, incarnation, {"person": [0]})
        self.model.append(("subscriptions", 0), b"all", msgspec.json.encode(record))

    def drop_before(self, number):
        """Drop what was parked before an event, as retention does."""
        log, cid = self.model.logs[KEPT, 0], self.row(number).cid.encode()
        log.delete_before(next(each.base for each in log.entries if cid in each.data))

    def counting(self, read_range):
        async def read(client, where, *args, **options):
            async for records in read_range(client, where, *args, **options):
                self.read[where[0]] += len(records)
                yield records

        return read

    def row(self, number, state=PARKED, attempt=1, **changed):
        name = f"p-{number:04}"
        cid, kind = cid_text(cid_of(name.encode())), "PersonRenamed" if number % 3 else "PersonRegistered"
        more = {"attempt": attempt, "at": 1_000 * number, "reason": f"r{number % 7}", **changed}
        return Row("person", name, 1, cid, kind, number, ordered=self.ordered, state=state, **more)

    async def write(self, *rows, shown=(), settled=()):
        """Write rows, and what is parked with them, as a delivery shard does."""
        records = []
        for row in shown:
            attributes = {
                "id": row.cid,
                "source": "/annals/person",
                "subject": row.aggregate_id,
                "sequence": f"{1:020}",
            }
            headers = [(f"ce_{name}", value.encode()) for name, value in attributes.items()]
            records.append(parked(row, Outgoing(row.aggregate_id.encode(), b"{}", headers)))
        log = KafkaDeliveryLogs(self.options(), NAMES, "annals", "person", 0, 1, "none").delivering("all")
        await log.fence()
        changes = {row_key(row): row for row in rows} | {row_key(row): None for row in settled}
        await log.deliver(DeliveryWrites(changes, Progress(1, None, 1), 0, parked=records))
        await log.close()

    async def park(self, *numbers):
        rows = [self.row(number) for number in numbers]
        await self.write(*rows, shown=rows)

    async def pages(self, choice=None, limit=PAGE):
        """All pages, each as the numbers of what it shows and whether its records are there."""
        begin, found = FIRST, []
        while begin is not None:
            page, begin = await self.service.page("all", choice or Choice(), begin, limit)
            found.append([(each.offset is not None, int(each.aggregate_id[2:])) for each in page])
        return found
