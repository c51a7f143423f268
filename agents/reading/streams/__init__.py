"""Partitions that are read by themselves, beside no shard of a journal: re-keyed streams, folded and answered with."""
