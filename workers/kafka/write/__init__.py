"""Writing: transactions of one shard, their record batches, and the brokers that they go to."""
