"""Projections over all partitions: global ones, their versions in a process, rebuilding, and questions to them."""
