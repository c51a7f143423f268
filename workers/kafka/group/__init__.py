"""The consumer group under Faust: assignment, whole fetches, and a source per partition."""
