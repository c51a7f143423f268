"""What a shard finds out before it decides: whether all is there that was acknowledged, and what is next."""
