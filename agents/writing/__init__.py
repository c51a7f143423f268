"""Writing: a partition's single writer, from the queue of commands to the committed transaction."""
