"""Writing: a partition's single writer, from the queue of commands to the committed transaction.

A map, from what decides to what decides with it:

- `annals.agents.writing.shards`: the shard, its phases, its queue, its transactions, and how many write at once: read
  `phase`, `shard` and `transactions` first;
- `annals.agents.writing.standby`: the fold of a partition that another worker decides;
- `annals.agents.writing.recovery`: from the fence to the first command: what was acknowledged, lost, and answered;
- `annals.agents.writing.batches`: a batch of commands, decided: the steps stand in `decision_plan`;
- `annals.agents.writing.restore`: restore points, written and read;
- `annals.agents.writing.shard_id`: which shard this is.

None of them imports one that stands further up, nor recovery the batches, nor a standby the shards; a contract of
import-linter holds that.
"""
