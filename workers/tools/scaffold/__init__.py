"""Writes the beginnings of what a developer adds to a checkout: an aggregate, or a new version of an event."""
