"""Where it runs: the only package that knows Faust, Kafka, RocksDB, the environment and the time.

A map, in the order in which a reader needs it:

- `annals.workers.worker` and `annals.workers.app`: one process from its start to its exit, and its Faust app;
- `annals.workers.writing`: the shards of a worker, wired to Kafka and RocksDB;
- `annals.workers.reader` and `annals.workers.reading`: the process that reads, and its shards wired to Kafka and
  RocksDB; `annals.workers.reader_parts`: what rests on them, and `annals.workers.reader_api`: the API over all of it;
- `annals.workers.api`: the HTTP API: `http` (routes as data), `callers` (who asks), `serving` (the kernel),
  `routes`, and their wiring;
- `annals.workers.web`: what every process serves: health, metrics, schemas; the server below the API, too;
- `annals.workers.projections` and `annals.workers.rekeying`: which versions of projections answer, in their topic, and
  the projections over re-keyed streams;
- `annals.workers.publishing`: subscriptions in their topic, and the publishers wired to Kafka;
- `annals.workers.dead_letters`: commands that could not be decided: listed, sent again, discarded;
- `annals.workers.reacting`: which reactions run, in their topic, and the reactors wired to Kafka;
- `annals.workers.webhooks`: deliveries over HTTP;
- `annals.workers.schema_publisher`: the schemas of all messages, to their topic and to a registry;
- `annals.workers.kafka`: `group` (how batches come in), `write` (one transaction takes everything out), `read` (ranges
  and offsets), `admin` (topics), `protocol` (wire formats);
- `annals.workers.stores`: the fold of the journal on disk, with its position in the same write;
- `annals.workers.client`: send commands, await outcomes, read events;
- `annals.workers.audit` and `annals.workers.maintenance`: verify journals, count and migrate what is stored;
- `annals.workers.replay`: the journals once more, to a handler, a topic or a file;
- `annals.workers.jobs`: long work that was asked for over HTTP, which outlives its worker;
- `annals.workers.memory` and `annals.workers.testing`: Kafka's log and a worker's ports in memory, for tests (users'
  too, as `annals.testing`) and simulated histories;
- `annals.workers.settings` and `annals.workers.cli`: what an operator sets, and what an operator runs;
- `annals.workers.tools`: the embedded broker, the demo, the benchmarks, the scaffolds and the simulation.
"""

if __name__ == "workers":
    # Under its bare name this would be a second copy of every class, unequal to the first.
    raise ImportError("import annals.workers: the folder workers is part of the package annals")
