"""Projections of a worker that reads: the topic that says which version answers, and who acts on it."""
