"""Restore points: written while a shard decides, and read by a later owner that has no store.

`collecting` finds out what changed, `making` writes it beside the commands' transactions, `restoring` reads it back
into a `restored` store, and `full_fold` folds the whole journal behind that, compares, and takes its place. `behind` is
what the shard knows of all this.
"""
