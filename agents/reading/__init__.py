"""Reading: followers of the journal, the rows that they keep, and what can be asked of a partition's rows.

A reading shard follows one journal partition and never owns it: it may be late, stale or gone, and no command waits for
it. The reader's rule runs once per record; the events that count go to *followers*, each of which changes rows of its
own. All rows and positions of one batch are written at once.

A map, from the store to those who ask:

- `annals.agents.reading.found` and `annals.agents.reading.ports`: what is found by asking, and what is asked of others;
- `annals.agents.reading.jobs` and `annals.agents.reading.replays`: long work that somebody asked for;
- `annals.agents.reading.keeping`: key spaces of a store, the index of events, and the newest states;
- `annals.agents.reading.projecting` and `annals.agents.reading.snapshots`: what else is kept there;
- `annals.agents.reading.queries`: questions to one partition's rows;
- `annals.agents.reading.gathering`: one answer from all partitions;
- `annals.agents.reading.following`: the shard of a partition, with its fold and its answers: read its `shard` first;
- `annals.agents.reading.streams`: partitions that are read by themselves, and the shards of re-keyed streams;
- `annals.agents.reading.ahead`: answers for publishers, from a restore point, until the shard has read as far;
- `annals.agents.reading.read_models`: projections over all partitions, their versions, and questions to them.

None of them imports one that stands further down, and a contract of import-linter holds that.
"""
