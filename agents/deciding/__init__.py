"""Deciding: the parts that all aggregates share. Pure: no I/O, no clock, no randomness."""
