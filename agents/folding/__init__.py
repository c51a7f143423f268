"""Folding: from the journal's records to the state of its aggregates, and the working set of a batch."""
