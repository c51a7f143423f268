"""The histories of the first thousand seeds that come out wrong."""

# What is known to be wrong, and not mended: bench/SIMULATION.md says more. Whoever mends one deletes its line.
OPEN = {
    549: "the last command is forwarded and expires, and the group's offset is set back: the shard stops for a person",
}
