"""The role `read`: a reading shard for each journal partition, and what its members know of one another."""
