"""Shards: a partition's single writer, from what waits in its queue to the committed transaction."""
