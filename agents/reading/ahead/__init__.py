"""What publishes and reacts begins from a restore point where a reading shard would have to read the journal first.

`unwinding` finds out where chains ended somewhat before it, `folding` reads the journal from there into a store beside
the shard's, `head_start` answers from that store until the shard has come as far.
"""
