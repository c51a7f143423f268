"""The histories of the first thousand seeds that come out wrong."""

# What is known to be wrong, and not mended: bench/SIMULATION.md says more. Whoever mends one deletes its line.
OPEN = {
    331: "the group's offset is deleted, and a forwarded command is forwarded once more",
    549: "the last command is forwarded and expires, and the group's offset is set back: the shard stops for a person",
    608: "a journal is cut while the group's offset is set by hand: its end is known nowhere, and the shard goes on",
}
