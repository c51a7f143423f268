"""A reading shard: it follows one journal partition, folds what counts, and answers on views of its rows."""
