"""Snapshots of states: which are kept in the reading store, when and how long; and recent states in memory."""
